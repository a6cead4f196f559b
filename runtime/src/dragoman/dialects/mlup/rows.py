"""Row transformers: what the rows of a request become before the model sees them.

numpy: positions count, and objects are read in the order of `columns`, else of the first row's keys. pandas: names count. src: as sent.
Where the columns are the model's own, they carry its names, so that the rows of several requests can share a predict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dragoman.dialects.mlup.refusals import TransformFailed
from dragoman.errors import InvalidInput
from dragoman.mlup_options import Mlup
from dragoman.signature import Signature
from dragoman.table import Array, Table, column_of, kind_of


def table_of(rows: list[Any], options: Mlup, signature: Signature) -> Table:
    """Raises `TransformFailed`."""
    if not rows:
        return Table.of_rows(rows)
    names = tuple(column.name for column in options.columns)
    table = _TRANSFORMERS[options.data_transformer_for_predict](rows, names)
    if options.dtype_for_predict is not None:
        table = _cast(table, options.dtype_for_predict)
    return _named(table, tuple(field.name for field in signature.inputs))


def _numpy(rows: list[Any], names: Sequence[str]) -> Table:
    if isinstance(rows[0], dict):
        rows = _positions(rows, names or tuple(rows[0]))
    elif not isinstance(rows[0], list):
        raise TransformFailed(f"row 0: must be a list or an object, got {kind_of(rows[0])}")
    try:
        return Table.of_rows(rows)
    except InvalidInput as error:
        array = _deep(rows)
        if array is None:
            raise TransformFailed(error.message) from None
        return Table.of_array(array)


def _positions(rows: list[Any], names: Sequence[str]) -> list[list[Any]]:
    read = []
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise TransformFailed(f"row {i}: must be an object as row 0 is, got {kind_of(row)}")
        try:
            read.append([row[name] for name in names])
        except KeyError as error:
            raise TransformFailed(f"row {i}: has no {error.args[0]!r}") from None
    return read


def _deep(rows: list[Any]) -> Array | None:
    """Rows of lists of numbers, such as images: shape (rows, …). None where they are not all of one shape."""
    try:
        array = np.asarray(rows)
    except ValueError:
        return None
    return array if array.ndim > 2 and array.dtype.kind in "iuf" else None


def _pandas(rows: list[Any], names: Sequence[str]) -> Table:
    found: list[Mapping[str, Any]] = []
    for i, row in enumerate(rows):
        if isinstance(row, list):
            if not names:
                raise TransformFailed("If input data have type list, than need set columns.")
            if len(row) < len(names):
                raise TransformFailed(f"row {i}: has {len(row)} values, columns names {len(names)}")
            row = dict(zip(names, row, strict=False))
        elif not isinstance(row, dict):
            raise TransformFailed(f"row {i}: must be a list or an object, got {kind_of(row)}")
        if found and row.keys() != found[0].keys():
            name = sorted(row.keys() ^ found[0].keys())[0]
            raise TransformFailed(f"row {i}: {'has no' if name in found[0] else 'alone has'} {name!r}")
        found.append(row)
    return Table.of_columns({name: _cells([row[name] for row in found]) for name in found[0]}, len(rows))


def _src(rows: list[Any], names: Sequence[str]) -> Table:
    if all(isinstance(row, dict) for row in rows):
        keys = dict.fromkeys(key for row in rows for key in row)
        return Table.of_columns({key: _cells([row.get(key) for row in rows]) for key in keys}, len(rows))
    try:
        return Table.of_rows(rows)
    except InvalidInput:  # nothing that has columns: each row is one value, whatever it is
        return Table(None, (_objects(rows),), None, len(rows))


_TRANSFORMERS: Mapping[str, Callable[[list[Any], Sequence[str]], Table]] = {"numpy": _numpy, "pandas": _pandas, "src": _src}


def _cells(values: list[Any]) -> Array:
    return _objects(values) if any(isinstance(value, list | dict) for value in values) else column_of(values)


def _objects(values: list[Any]) -> Array:
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column


# pandas' nullable types, as the numpy types that a table's columns have
_PANDAS_DTYPES: Mapping[str, Any] = {
    "Float32Dtype": np.float32,
    "Float64Dtype": np.float64,
    "Int8Dtype": np.int8,
    "Int16Dtype": np.int16,
    "Int32Dtype": np.int32,
    "Int64Dtype": np.int64,
    "StringDtype": object,
    "BooleanDtype": np.bool_,
}


def _cast(table: Table, name: str) -> Table:
    try:
        if name not in _PANDAS_DTYPES:
            return Table.of_array(table.to_numpy(np.dtype(name.rstrip("_"))))
        columns = tuple(_nullable(column, _PANDAS_DTYPES[name]) for column in table.columns)
        return Table(None, columns, table.names, table.rows)
    except (TypeError, ValueError, OverflowError) as error:
        raise TransformFailed(f"the rows cannot be {name}: {error}") from error


def _nullable(column: Array, dtype: Any) -> Array:
    """null stays null, in a column of objects."""
    if dtype is object:
        return _objects([None if value is None else str(value) for value in column.tolist()])
    if column.dtype == object and any(value is None for value in column):
        return _objects([None if value is None else dtype(value) for value in column])
    return column.astype(dtype)


def _named(table: Table, names: tuple[str, ...]) -> Table:
    """With the model's own names, in its own order, where the columns are those."""
    if table.width != len(names) or table.names == names:
        return table
    if table.names is None:
        return Table(table.array, table.columns, names, table.rows)
    where = {name: i for i, name in enumerate(table.names)}
    if where.keys() != set(names):
        return table
    return Table(None, tuple(table.column(where[name]) for name in names), names, table.rows)
