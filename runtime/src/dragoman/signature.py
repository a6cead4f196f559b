"""Signature: what a model takes and gives, declared in the manifest, saved with the model, or inferred from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from dragoman.errors import InvalidInput, SignatureMismatch
from dragoman.table import MISSING, Array, Table, kind_of

FieldType = Literal["number", "integer", "string", "boolean"]


class Field(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """One input of a model: a feature."""

    name: str
    type: FieldType = "number"
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Any, ...] | None = None
    nullable: bool = False  # null, NaN and, for strings, None are accepted: the model deals with missing values
    required: bool = True  # False: the column may be absent, and is then null
    dtype: str | None = None  # the model's own, as numpy names it, where it is not the type's usual one: "float32"
    example: Any = None


class Output(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """One output of a model: a method of it."""

    name: str  # predict, predict_proba, explain, …
    type: Literal["number", "integer", "string", "boolean", "object"] = "number"
    width: int | None = None  # values a row: None for one value, n for a list of n, -1 where it is not known
    dtype: str | None = None  # as numpy names it


class Signature(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Inputs in the model's order, and outputs.

    `inputs` is empty where nothing is known of them: then every table passes as it is.
    `named` is False where the model knows its features by position only; their names are then `f0`, `f1`, ….
    """

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Output, ...] = ()
    classes: tuple[Any, ...] | None = None  # the labels, in the order of predict_proba's columns
    target: str | None = None  # what is predicted: "species"
    named: bool = True
    extra_columns: Literal["refuse", "ignore"] = "refuse"

    def checker(self) -> Callable[[Table], Table]:
        """A function that gives the rows as the model takes them: the declared columns in the declared order, each of its type.

        All inputs numeric: one float array (float32 where every field says so), with the names; else columns. It raises `InvalidInput`
        with a message that names the row and the field: ``row 3: 'petal_width' must be a number, got "wide"``. Make it once a model.
        """
        return _Checker(self)

    def example_row(self) -> dict[str, Any]:
        """A row that passes the check: each field's example, first enum value, or a plain value inside its bounds."""
        return {field.name: example_of(field) for field in self.inputs}


def example_of(field: Field) -> Any:
    """A value that the field accepts."""
    if field.example is not None:
        return field.example
    if field.enum:
        return field.enum[0]
    if field.type == "string":
        return "text"
    if field.type == "boolean":
        return True
    low = field.minimum if field.minimum is not None else min(0.0, field.maximum if field.maximum is not None else 0.0)
    return math.ceil(low) if field.type == "integer" else float(low)


def declare(inferred: Signature, inputs: Sequence[Field], outputs: tuple[str | None, Sequence[Any] | None]) -> Signature:
    """The model's own signature with what the manifest declares laid over it; `SignatureMismatch` where the two cannot both be true.

    `outputs` is (target, classes) of `spec.model.outputs`. Declared inputs take the model's names, in any order; a declared field
    keeps what it does not say itself (dtype, enum, …) from the inferred one only where both have the same name.
    """
    target, classes = outputs
    changes: dict[str, Any] = {}
    if target is not None:
        changes["target"] = target
    if classes is not None:
        if inferred.classes is not None and len(classes) != len(inferred.classes):
            raise SignatureMismatch(
                f"spec.model.outputs.classes names {len(classes)} classes, the model has {len(inferred.classes)}: {list(inferred.classes)}"
            )
        changes["classes"] = tuple(classes)
    if inputs:
        changes["inputs"] = _merge_inputs(inferred, tuple(inputs))
        changes["named"] = True
    return msgspec.structs.replace(inferred, **changes)


def _merge_inputs(inferred: Signature, declared: tuple[Field, ...]) -> tuple[Field, ...]:
    known = {f.name: f for f in inferred.inputs}
    if inferred.inputs and len(inferred.inputs) != len(declared):
        raise SignatureMismatch(f"spec.model.inputs declares {len(declared)} inputs, the model takes {len(inferred.inputs)}")
    if not known or not inferred.named:
        order = declared
    else:
        unknown = [f.name for f in declared if f.name not in known]
        if unknown:
            raise SignatureMismatch(f"spec.model.inputs declares {unknown[0]!r}, the model takes {list(known)}")
        by_name = {f.name: f for f in declared}
        order = tuple(by_name[name] for name in known)
    merged = []
    for position, field in enumerate(order):
        base = known.get(field.name) or (inferred.inputs[position] if inferred.inputs else None)
        merged.append(field if base is None else msgspec.structs.replace(field, dtype=field.dtype or base.dtype))
    return tuple(merged)


class _Checker:
    """A signature made ready: what `check` looks up for each request is worked out once."""

    def __init__(self, signature: Signature) -> None:
        self.fields = signature.inputs
        self.names = tuple(f.name for f in self.fields)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.ignore_extra = signature.extra_columns == "ignore"
        self.positional = not signature.named
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
        columns = [table.column(where[f.name]) if f.name in where else np.full(table.rows, None, dtype=object) for f in self.fields]
        return Table(None, tuple(columns), self.names, table.rows)

    def _cast(self, array: Array) -> Array:
        if array.dtype == self.dtype:
            return array
        with np.errstate(over="ignore"):
            return array.astype(self.dtype)

    def _check_array(self, array: Array) -> None:
        if self.finite:
            # One sum is cheaper than isfinite().all(); where it is not finite, the slow look decides.
            with np.errstate(over="ignore", invalid="ignore"):
                total = float(array.sum())
            if not math.isfinite(total):
                self._refuse_non_finite(array, allow_nan=False)
        else:
            self._refuse_non_finite(array, allow_nan=True)
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


def _column(field: Field, values: Array) -> Array:
    """One column of a table that is not all numbers, as the field's type."""
    if field.type in ("number", "integer"):
        column = _numbers(field, values, np.float64)
        _check_finite(field, column)
        _check_bounds(field, column)
        if field.type == "integer" and not field.nullable:
            return column.astype(np.int64)
        return column
    accepted: type | tuple[type, ...] = bool if field.type == "boolean" else str
    if field.type == "boolean" and values.dtype == bool:
        return values
    checked = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        if value is None or value is MISSING or (isinstance(value, float) and math.isnan(value)):
            _refuse_null(field, i, value)
            checked[i] = None
        elif isinstance(value, accepted) or (field.type == "boolean" and isinstance(value, np.bool_)):
            checked[i] = value
        else:
            raise InvalidInput(f"row {i}: {field.name!r} must be a {field.type}, got {shown(value)}")
    _check_enum(field, checked)
    if field.type == "boolean" and not field.nullable:
        return checked.astype(bool)
    return checked


def _numbers(field: Field, values: Array, dtype: Any) -> Array:
    if values.dtype.kind in "iuf":
        return values.astype(dtype, copy=False)
    numbers = np.empty(len(values), dtype=dtype)
    for i, value in enumerate(values):
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
    return numbers


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
    allowed = set(field.enum)
    for i, value in enumerate(column.tolist()):
        if value not in allowed and not (value is None or value != value):
            raise InvalidInput(f"row {i}: {field.name!r} must be one of {_listed(field.enum)}, got {shown(value)}")


def shown(value: Any) -> str:
    """A value as a message shows it: JSON's own words, cut short."""
    if isinstance(value, str):
        return '"' + (value if len(value) <= 40 else value[:37] + "…") + '"'
    if isinstance(value, bool | np.bool_):
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


def inputs_of(mapping: Mapping[str, FieldType]) -> tuple[Field, ...]:
    """Fields from names and types, for authors: `inputs_of({"age": "integer"})`."""
    return tuple(Field(name=name, type=type_) for name, type_ in mapping.items())
