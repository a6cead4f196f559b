"""What an author of a model uses: `Model`, to serve Python code, and `save`, to write a model with what it cannot say itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dragoman.signature import Field, FieldType, Output, Signature

if TYPE_CHECKING:
    from dragoman.formats.format import LoadedModel, Settings
    from dragoman.table import Table


class Model:
    """A model in Python: subclass it in a .py file, and serve the file or its folder.

    ```python
    from dragoman import Model, Table

    class Doubles(Model):
        inputs = {"x": "number"}

        def predict(self, table: Table):
            return table.to_numpy()[:, 0] * 2
    ```

    Beside `predict` it may have `predict_proba`, `explain` and `recommend`, which are called the same way. Each gives one item a row:
    an array, a list, a Series or a DataFrame. Keyword arguments of theirs may be given by requests.
    """

    inputs: ClassVar[Mapping[str, FieldType] | Sequence[Field]] = ()  # empty: rows come as they were sent
    outputs: ClassVar[Sequence[Output]] = ()  # types and widths where they are known; else they are probed
    classes: ClassVar[Sequence[Any] | None] = None  # labels, in the order of predict_proba's columns
    target: ClassVar[str | None] = None  # what is predicted
    rows_independent: ClassVar[bool] = False  # True: a row's answer never depends on the rows beside it, so requests may share a predict

    def load(self, folder: Path) -> None:
        """Called once, before the first predict, with the folder of the model's files. It must not predict."""

    def predict(self, table: Table) -> Any:
        """One item a row of the table, whose columns are the declared inputs in their order."""
        raise NotImplementedError

    def as_loaded(self, file: str, settings: Settings) -> LoadedModel | None:
        """For base classes of other ways to write models (`dragoman.seldon`): how one, `load` called, is served. None: as it is."""
        return None


def save(
    model: Any,
    folder: str | Path,
    *,
    signature: Signature | None = None,
    example: Any = None,
    background: Any = None,
    name: str | None = None,
    rows_independent: bool | None = None,
) -> str:
    """Writes a model to a folder, with a model.json of its signature and of the versions of its packages; gives the folder's digest.

    scikit-learn estimators and boosters in their shape are written by joblib, any other object with a `predict` by cloudpickle.
    `example` is training data (a DataFrame or a 2-D array): it tells the names and types of the inputs where `signature` does not,
    and 100 rows of it are kept. `background` is what explanations compare a row with, in the same form: 100 rows of it are kept; without
    it they compare with the example. `rows_independent` says that a row's answer never depends on the rows beside it.
    Raises `TypeError` where the model has no `predict`, `ValueError` where the background has not the model's inputs. The folder is made;
    files of an earlier save in it are replaced.
    """
    from dragoman.formats.saving import save_model

    return save_model(
        model,
        Path(folder),
        signature=signature,
        example=example,
        background=background,
        name=name,
        rows_independent=rows_independent,
    )
