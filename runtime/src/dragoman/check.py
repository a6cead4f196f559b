"""Checking rows against a signature: types, ranges, enums, nulls, missing and extra columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dragoman.errors import InvalidInput
from dragoman.signature import Field, Signature
from dragoman.table import MISSING, Array, Table, kind_of

_FEW = 1024  # values; of more a sum is as fast, and no BLAS thread is woken for it


class Checker:
    """A signature made ready to check rows; made once a model, called for each request.

    A call gives the rows as the model takes them: the declared columns in the declared order, each of its type. All inputs numeric:
    one float array (float32 where every field says so), with the names; else columns. It raises `InvalidInput` with a message that
    names the row and the field: ``row 3: 'petal_width' must be a number, got "wide"``.
    """

    def __init__(self, signature: Signature) -> None:
        self.fields = signature.inputs
        self.names = tuple(f.name for f in self.fields)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.ignore_extra = signature.extra_columns == "ignore"
        self.numeric = bool(self.fields) and all(f.type in ("number", "integer") for f in self.fields)
        dtypes = {f.dtype for f in self.fields}
        self.dtype: Any = np.dtype("float32") if dtypes == {"float32"} else np.dtype("float64")
        self.finite = not any(f.nullable for f in self.fields)
        self.bounded = [
            (i, f) for i, f in enumerate(self.fields) if f.minimum is not None or f.maximum is not None or f.enum or f.type == "integer"
        ]
        self.mixed_null = self.numeric and not self.finite and not all(f.nullable for f in self.fields)

    def __call__(self, table: Table) -> Table:
        if not self.fields:
            return table
        if table.rows == 0:
            return self._empty()
        table = self._arranged(table)
        if not self.numeric:
            columns = tuple(_column(field, table.column(i)) for i, field in enumerate(self.fields))
            return Table(None, columns, self.names, table.rows)
        if table.array is not None and table.array.dtype.kind in "iuf":
            array = self._cast(table.array)
        else:
            array = np.empty((table.rows, len(self.fields)), dtype=self.dtype)
            for i, field in enumerate(self.fields):
                array[:, i] = _numbers(field, table.column(i), self.dtype)
        self._check_array(array)
        return Table(array, (), self.names, table.rows)

    def _empty(self) -> Table:
        if self.numeric:
            return Table(np.empty((0, len(self.fields)), dtype=self.dtype), (), self.names, 0)
        return Table(None, tuple(np.empty(0, dtype=object) for _ in self.fields), self.names, 0)

    def _arranged(self, table: Table) -> Table:
        """The declared columns in the declared order."""
        if table.names is None or table.names == self.names:
            if table.width != len(self.fields):
                raise InvalidInput(f"row 0: has {table.width} values, the model takes {len(self.fields)}: {_listed(self.names)}")
            return table
        where = {name: i for i, name in enumerate(table.names)}
        if not self.ignore_extra:
            for name in table.names:
                if name not in self.index:
                    raise InvalidInput(f"column {name!r} is not one of the model's inputs: {_listed(self.names)}")
        for field in self.fields:
            if field.name not in where and field.required:
                raise InvalidInput(f"column {field.name!r} is missing: the model takes {_listed(self.names)}")
        columns = [table.column(where[f.name]) if f.name in where else np.full(table.rows, MISSING, dtype=object) for f in self.fields]
        return Table(None, tuple(columns), self.names, table.rows)

    def _cast(self, array: Array) -> Array:
        if array.dtype == self.dtype:
            return array
        with np.errstate(over="ignore"):
            return array.astype(self.dtype)

    def _check_array(self, array: Array) -> None:
        if not looks_finite(array):
            self._refuse_non_finite(array, allow_nan=not self.finite)
        for i, field in self.bounded:
            _check_bounds(field, array[:, i])

    def _refuse_non_finite(self, array: Array, *, allow_nan: bool) -> None:
        bad = np.isinf(array) if allow_nan else ~np.isfinite(array)
        if self.mixed_null:
            strict = [i for i, f in enumerate(self.fields) if not f.nullable]
            bad[:, strict] |= np.isnan(array[:, strict])
        if bad.any():
            row, column = (int(x) for x in np.argwhere(bad)[0])
            value = float(array[row, column])
            what = "null" if math.isnan(value) else "a value too large for " + str(self.dtype)
            raise InvalidInput(f"row {row}: {self.names[column]!r} must be a finite number, got {what}")


def looks_finite(array: Array) -> bool:
    """False where some value is not finite, or where this look overflows: a slow one decides then. Cheaper than `isfinite().all()`."""
    if array.size <= _FEW:
        return math.isfinite(np.vdot(array, array))  # of a row or a few a quarter of what a sum costs, which has to be kept from warning
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(array.sum())


def _column(field: Field, values: Array) -> Array:
    """One column of a table that is not all numbers, as the field's type."""
    if field.type in ("number", "integer"):
        column = _numbers(field, values, np.float64)
        _check_finite(field, column)
        _check_bounds(field, column)
        if field.type == "integer" and not np.isnan(column).any():
            _refuse(field, column, np.abs(column) >= 2.0**63, "must be an integer of at most 64 bits")
            if not field.nullable and field.required:  # else a column's type would depend on its values
                return column.astype(np.int64)
        return column
    accepted: type | tuple[type, ...] = bool if field.type == "boolean" else str
    if field.type == "boolean" and values.dtype == bool and not field.enum:
        return values
    checked = np.empty(len(values), dtype=object)
    for i, value in enumerate(values.tolist()):  # Python's own values, also of an array of numpy's
        if value is None or value is MISSING or (isinstance(value, float) and math.isnan(value)):
            _refuse_null(field, i, value)
            checked[i] = None
        elif isinstance(value, accepted) or (field.type == "boolean" and isinstance(value, np.bool_)):
            checked[i] = value
        else:
            raise InvalidInput(f"row {i}: {field.name!r} must be a {field.type}, got {shown(value)}")
    _check_enum(field, checked)
    if field.type == "boolean" and not field.nullable and field.required:
        return checked.astype(bool)
    return checked


def _numbers(field: Field, values: Array, dtype: Any) -> Array:
    if values.dtype.kind in "iuf":
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
            return values.astype(dtype, copy=False)
    numbers = np.empty(len(values), dtype=np.float64)
    for i, value in enumerate(values.tolist()):
        if value is None or value is MISSING:
            _refuse_null(field, i, value)
            numbers[i] = np.nan
        elif isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool | np.bool_):
            try:
                numbers[i] = value
            except OverflowError as error:
                raise InvalidInput(f"row {i}: {field.name!r} must be a finite number, got {shown(value)}") from error
        else:
            raise InvalidInput(f"row {i}: {field.name!r} must be {_article(field.type)}, got {shown(value)}")
    with np.errstate(over="ignore"):
        return numbers.astype(dtype, copy=False)


def _refuse_null(field: Field, row: int, value: Any) -> None:
    if value is MISSING:
        if field.required:
            raise InvalidInput(f"row {row}: {field.name!r} is missing")
    elif not field.nullable:
        raise InvalidInput(f"row {row}: {field.name!r} must be {_article(field.type)}, got null")


def _check_finite(field: Field, column: Array) -> None:
    bad = np.isinf(column) if field.nullable or not field.required else ~np.isfinite(column)
    if bad.any():
        row = int(np.argmax(bad))
        what = "null" if math.isnan(float(column[row])) else "infinity"
        raise InvalidInput(f"row {row}: {field.name!r} must be a finite number, got {what}")


def _check_bounds(field: Field, column: Array) -> None:
    if field.type == "integer":
        with np.errstate(invalid="ignore"):
            _refuse(field, column, np.trunc(column) != column, "must be an integer")
    if field.minimum is not None:
        _refuse(field, column, column < field.minimum, f"must be at least {_number(field.minimum)}")
    if field.maximum is not None:
        _refuse(field, column, column > field.maximum, f"must be at most {_number(field.maximum)}")
    if field.enum:
        _check_enum(field, column)


def _refuse(field: Field, column: Array, bad: Array, rule: str) -> None:
    bad = bad & ~np.isnan(column)
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInput(f"row {row}: {field.name!r} {rule}, got {_number(float(column[row]))}")


def _check_enum(field: Field, column: Array) -> None:
    if not field.enum:
        return
    # 0.1 in a column of 32-bit floats is not the 0.1 of 64
    numbers = [value for value in field.enum if isinstance(value, int | float)]
    allowed = set(np.asarray(numbers, dtype=column.dtype).tolist()) if column.dtype.kind == "f" else set(field.enum)
    for i, value in enumerate(column.tolist()):
        if value not in allowed and not (value is None or value != value):
            raise InvalidInput(f"row {i}: {field.name!r} must be one of {_listed(field.enum)}, got {shown(value)}")


def shown(value: Any) -> str:
    """A value as a message shows it: JSON's own words, cut short."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return '"' + (value if len(value) <= 40 else value[:37] + "…") + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of more than 40 digits"
        return text if len(text) <= 44 else text[:40] + "…"
    return kind_of(value)


def _article(type_: str) -> str:
    return "an integer" if type_ == "integer" else f"a {type_}"


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else repr(value)


def _listed(names: Sequence[Any]) -> str:
    shown_names = ", ".join(repr(n) for n in names[:20])
    return shown_names if len(names) <= 20 else f"{shown_names} and {len(names) - 20} more"
