"""Table: the rows of a request, either one 2-D array or named columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dragoman.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]


class Table(msgspec.Struct, frozen=True, eq=False):
    """Rows in one of two forms, never both:

    - `array`, shape (rows, features): one dtype for all; `names`, where known, are the features' names;
    - `columns`, one array of shape (rows,) a name, each with a dtype of its own (object for strings and for missing values).
    """

    array: Array | None
    columns: tuple[Array, ...]
    names: tuple[str, ...] | None
    rows: int

    @classmethod
    def of_array(cls, array: Array, names: Sequence[str] | None = None) -> Table:
        """From an array of shape (rows, features)."""
        return cls(array, (), None if names is None else tuple(names), array.shape[0])

    @classmethod
    def of_columns(cls, columns: Mapping[str, Array], rows: int | None = None) -> Table:
        """From named arrays of one length each; `rows` is needed only where there is no column."""
        arrays = tuple(columns.values())
        return cls(None, arrays, tuple(columns), len(arrays[0]) if arrays else (rows or 0))

    @classmethod
    def of_rows(cls, rows: Sequence[Any]) -> Table:
        """From decoded JSON rows: lists of one length, objects, or scalars (one feature). `InvalidInput` names the row that differs."""
        if not rows:
            return cls(np.empty((0, 0)), (), None, 0)
        if isinstance(rows[0], dict):
            return _of_objects(rows)
        if not isinstance(rows[0], list):
            rows = _scalars(rows)
        return _of_lists(rows)

    @property
    def width(self) -> int:
        """How many features a row has."""
        return self.array.shape[1] if self.array is not None else len(self.columns)

    def column(self, index: int) -> Array:
        """One feature's values, shape (rows,)."""
        return self.array[:, index] if self.array is not None else self.columns[index]

    def slice(self, start: int, stop: int) -> Table:
        """The rows from `start` up to, not including, `stop`: views where numpy can."""
        if self.array is not None:
            return Table(self.array[start:stop], (), self.names, max(0, min(stop, self.rows) - start))
        return Table(None, tuple(c[start:stop] for c in self.columns), self.names, max(0, min(stop, self.rows) - start))

    def to_numpy(self, dtype: Any = None) -> Array:
        """Shape (rows, features); without `dtype`, the columns' common one (object where they mix strings and numbers)."""
        if self.array is not None:
            return self.array if dtype is None else self.array.astype(dtype, copy=False)
        if not self.columns:
            return np.empty((self.rows, 0), dtype=dtype or float)
        kinds = {c.dtype.kind for c in self.columns}
        common = dtype if dtype is not None else (object if kinds - set("biuf") else None)
        stacked = np.empty((self.rows, len(self.columns)), dtype=common or np.result_type(*self.columns))
        for i, column in enumerate(self.columns):
            stacked[:, i] = column
        return stacked

    def to_frame(self) -> pd.DataFrame:
        """As a pandas DataFrame, its columns named where names are known, each with its own dtype."""
        import pandas as pd

        if self.array is not None:
            return pd.DataFrame(self.array, columns=None if self.names is None else list(self.names))
        names: Sequence[Any] = range(len(self.columns)) if self.names is None else self.names
        return pd.DataFrame(dict(zip(names, self.columns, strict=True)), index=range(self.rows))


def concat(tables: Sequence[Table]) -> Table:
    """One table of all rows, in order. `ValueError` where they do not have the same features: unchecked tables may not."""
    if len(tables) == 1:
        return tables[0]
    first, rows = tables[0], sum(t.rows for t in tables)
    if any(t.names != first.names or t.width != first.width for t in tables):
        raise ValueError("tables of different columns")
    if first.array is not None:
        return Table(np.concatenate([t.to_numpy() for t in tables]), (), first.names, rows)
    columns = tuple(np.concatenate([t.column(i) for t in tables]) for i in range(len(first.columns)))
    return Table(None, columns, first.names, rows)


def column_of(values: Sequence[Any]) -> Array:
    """One feature's JSON values as an array: numeric or boolean where all are; object (None for null) otherwise."""
    kinds = set(map(type, values))
    if kinds <= {int, float}:
        try:
            return np.asarray(values, dtype=np.int64 if kinds == {int} else np.float64)
        except OverflowError:
            return _objects(values)
    if kinds == {bool}:
        return np.asarray(values, dtype=bool)
    return _objects(values)


def _objects(values: Sequence[Any]) -> Array:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _scalars(rows: Sequence[Any]) -> list[list[Any]]:
    for i, row in enumerate(rows):
        if isinstance(row, list | dict):
            raise InvalidInput(f"row {i}: must be a single value as row 0 is, got {kind_of(row)}")
    return [[row] for row in rows]


def _of_lists(rows: Sequence[Any]) -> Table:
    # The types first: numpy would take true for 1, and give every cell of a table with strings the room of the longest.
    try:
        if _NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
            array = np.asarray(rows)
            if array.ndim == 2 and array.dtype.kind in "iuf":
                return Table(array, (), None, len(rows))
    except (TypeError, ValueError):  # a row that is no list, rows of different lengths
        pass
    width = len(rows[0])
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidInput(f"row {i}: must be a list as row 0 is, got {kind_of(row)}")
        if len(row) != width:
            raise InvalidInput(f"row {i}: has {len(row)} values, row 0 has {width}")
    columns = tuple(column_of([row[j] for row in rows]) for j in range(width))
    for j, column in enumerate(columns):
        _refuse_nested(column, str(j))
    return Table(None, columns, None, len(rows))


def _of_objects(rows: Sequence[Any]) -> Table:
    names: dict[str, None] = {}
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInput(f"row {i}: must be an object as row 0 is, got {kind_of(row)}")
        names.update(dict.fromkeys(row))
    if len(names) * len(rows) > _MAX_SPARSE_CELLS and len(names) > 2 * len(rows[0]):
        raise InvalidInput(f"rows of {len(rows)} objects with {len(names)} different keys between them: send the same keys in each")
    columns: dict[str, Array] = {}
    for name in names:
        column = column_of([row.get(name, MISSING) for row in rows])
        _refuse_nested(column, repr(name))
        columns[name] = column
    return Table.of_columns(columns, len(rows))


def _refuse_nested(column: Array, name: str) -> None:
    if column.dtype == object:
        for i, value in enumerate(column):
            if isinstance(value, list | dict):
                raise InvalidInput(f"row {i}: {name} must be a single value, got {kind_of(value)}")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words for a message."""
    if value is MISSING:
        return "nothing"
    return _KINDS.get(type(value), type(value).__name__)


class _Missing:
    """A key that an object row does not have, as against one that is null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
_MAX_SPARSE_CELLS = 1_000_000
_NUMBERS = frozenset({int, float})
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
