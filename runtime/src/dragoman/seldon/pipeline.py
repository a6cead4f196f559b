"""Saved scikit-learn pipelines, alone or with a data handler for rows packed in messages of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from dragoman import formats
from dragoman.authoring import Model, save
from dragoman.check import Checker
from dragoman.errors import InvalidData, ModelFailed, ModelLoadFailed
from dragoman.formats.format import LoadedModel, ModelFiles, Settings
from dragoman.seldon.handler import BadDataError, CustomDataHandler
from dragoman.signature import Signature
from dragoman.table import Table, concat

INVALID = "Invalid data"  # what clients of the API check for


class Pipeline(Model):
    """A saved pipeline with a data handler: subclass it in a .py file, and save the pipeline into a folder beside that.

    ```python
    import pandas as pd
    from dragoman.seldon import BadDataError, CustomDataHandler, Pipeline

    from iris_pb2 import IrisPredictRequest


    class IrisHandler(CustomDataHandler):
        def get_data(self, request):
            flower = IrisPredictRequest()
            if not request.data.Unpack(flower):
                raise BadDataError
            return pd.DataFrame([{"f1": flower.f1, "f2": flower.f2}])


    class Iris(Pipeline):
        data_handler = IrisHandler()
    ```

    Without a handler no class is needed: the folder that `save_pipeline` writes is a model by itself.
    """

    pipeline: ClassVar[str] = "pipeline"  # the folder (or file) of the saved pipeline, beside the .py file
    data_handler: ClassVar[CustomDataHandler | None] = None

    def as_loaded(self, file: str, settings: Settings) -> LoadedModel:
        loaded = self._loaded(settings)
        if self.data_handler is None:
            return loaded
        inner: Any = loaded.predictor
        signature = msgspec.structs.replace(inner.signature, unpacks=True)
        predictor = UnpackingPredictor(inner, self._unpack, signature, inner.rows_independent)
        return dataclasses.replace(loaded, predictor=predictor, authored={"seldon": {}})

    def load(self, folder: Path) -> None:
        self._folder = folder

    def _loaded(self, settings: Settings) -> LoadedModel:
        """As the pipeline alone would be."""
        saved = self._folder / self.pipeline
        if not saved.exists():
            raise ModelLoadFailed(f"{type(self).__name__}.pipeline says {self.pipeline!r}, which is not in the model's folder")
        return formats.load(ModelFiles(saved, saved.name, ""), settings=settings)

    def _unpack(self, request: Any) -> Any:
        assert self.data_handler is not None
        return self.data_handler.get_data(request)


@dataclass(frozen=True)
class UnpackingPredictor:
    """Around another predictor: with the argument `unpack`, its rows come as messages, in one column, that the author's handler unpacks."""

    inner: Any
    unpack: Callable[[Any], Any]  # a message to a data frame; the first row counts
    signature: Signature
    rows_independent: bool

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`InvalidData` for a message that the handler does not take; `InvalidInput` for a row that the pipeline does not."""
        rest = {name: value for name, value in arguments.items() if name != "unpack"}
        if arguments.get("unpack"):
            table = concat([self._check(self._unpacked(message)) for message in table.column(0).tolist()])
        given: Mapping[str, Any] = self.inner.predict(table, outputs, rest)
        return given

    @cached_property
    def _check(self) -> Checker:
        return Checker(self.signature)

    def _unpacked(self, message: Any) -> Table:
        try:
            frame = self.unpack(message)
            columns = {str(name): np.asarray(frame[name])[:1] for name in frame.columns}
        except BadDataError as error:
            raise InvalidData(INVALID) from error
        except Exception as error:  # the author's own code may raise anything: the log has it
            raise ModelFailed(INVALID) from error
        if len(frame) == 0:
            raise InvalidData(INVALID)
        table = Table.of_columns(columns)
        return table if self.signature.named else msgspec.structs.replace(table, names=None)


def save_pipeline(pipeline: Any, folder: str | Path, *, example: Any = None) -> str:
    """Writes a fitted pipeline to a folder that can be served, as `dragoman.save` does; `example` is training data. Its digest."""
    return save(pipeline, folder, example=example)
