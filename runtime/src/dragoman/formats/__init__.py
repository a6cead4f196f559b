"""The model formats, one module each, and the three things that a loader does with them: detect, load, probe.

Importing this package, and detecting, imports neither numpy nor a model library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dragoman.formats.cloudpickle import Cloudpickle
from dragoman.formats.compiled import CompiledFormat
from dragoman.formats.detection import find
from dragoman.formats.format import CodePolicy, Format, Found, LoadedModel, ModelFiles, Settings
from dragoman.formats.lightgbm import Lightgbm
from dragoman.formats.loaded import with_signature
from dragoman.formats.loading import allow, load_found
from dragoman.formats.mlflow import Mlflow
from dragoman.formats.onnx import Onnx
from dragoman.formats.python import Python
from dragoman.formats.sklearn import Sklearn
from dragoman.formats.xgboost import Xgboost
from dragoman.signature import Field

if TYPE_CHECKING:
    from dragoman.formats.probe import Probed

__all__ = ["FORMATS", "CodePolicy", "Format", "Found", "LoadedModel", "ModelFiles", "Settings", "detect", "load", "probe", "with_signature"]

_ALL: tuple[Format, ...] = (CompiledFormat(), Mlflow(), Python(), Sklearn(), Xgboost(), Lightgbm(), Onnx(), Cloudpickle())
FORMATS: dict[str, Format] = {f.name: f for f in _ALL}


def detect(files: ModelFiles, declared: str | None = None) -> Found:
    """Which format the files are, and which file is the model; `declared` is `spec.model.format`. Raises `UnsupportedFormat`."""
    return find(tuple(FORMATS.values()), files, declared)


def load(
    files: ModelFiles,
    declared: str | None = None,
    *,
    policy: CodePolicy = "Allow",
    pinned: bool = False,
    inputs: Sequence[Field] = (),
    outputs: tuple[str | None, Sequence[Any] | None] = (None, None),
    settings: Settings | None = None,
) -> LoadedModel:
    """The model, ready to predict, its signature settled: inferred, then saved (model.json), then declared. It has not predicted.

    `pinned`: the manifest has a digest, and these bytes have it. `inputs` and `outputs` (target, classes) are `spec.model`'s.
    Raises a `ServeError`: `UnsupportedFormat`, `PolicyViolation` (before anything is imported), `MissingLibrary`, `ModelLoadFailed`,
    `SignatureMismatch`. It starts no OpenMP threads, so that the process can be forked.
    """
    found = detect(files, declared)
    allow(found, policy, pinned=pinned)
    return load_found(found, files, inputs, outputs, settings or Settings())


def probe(loaded: LoadedModel) -> Probed:
    """The signature with its outputs refined, and warnings, by predicting the example row. Only in a short-lived child."""
    from dragoman.formats.probe import probe as predict_example

    return predict_example(loaded.predictor)
