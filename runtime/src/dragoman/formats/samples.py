"""Training data that an author shows: what it says of the inputs, and a few rows of it to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dragoman.signature import Field, FieldType


def fields_of(example: Any) -> tuple[tuple[Field, ...], bool]:
    """A field a column, and whether they have names. `TypeError` where the example is no table, or holds what no request can (dates)."""
    columns, named = _columns(example)
    return tuple(_field(name, values) for name, values in columns), named


def spread(example: Any, count: int) -> Any:
    """At most `count` rows, spread evenly: data is often sorted by class."""
    rows = len(example)
    where = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, count)).astype(int))
    return example.iloc[where] if hasattr(example, "iloc") else np.asarray(example)[where]


def rows_of(example: Any, inputs: Sequence[Field]) -> tuple[tuple[Any, ...], ...]:
    """Its rows as JSON values in the order of the inputs, null where missing; none where the columns are not the inputs'."""
    columns, named = _columns(example)
    if named:
        by_name = dict(columns)
        if any(field.name not in by_name for field in inputs):
            return ()
        chosen = [by_name[field.name] for field in inputs]
    else:
        chosen = [values for _, values in columns]
    if len(chosen) != len(inputs) or not chosen:
        return ()
    return tuple(zip(*chosen, strict=True))


def _columns(example: Any) -> tuple[list[tuple[str, list[Any]]], bool]:
    if hasattr(example, "columns") and hasattr(example, "to_dict"):
        return [(str(name), _plain(example[name].tolist())) for name in example.columns], True
    array = np.asarray(example)
    if array.ndim != 2:
        raise TypeError(f"example must be a DataFrame or a 2-D array of rows and features, got {array.ndim} dimensions")
    return [(f"f{i}", _plain(array[:, i].tolist())) for i in range(array.shape[1])], False


def _plain(values: list[Any]) -> list[Any]:
    return [None if _missing(v) else v.item() if isinstance(v, np.generic) else v for v in values]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")


def _field(name: str, values: list[Any]) -> Field:
    present = [v for v in values if v is not None]
    return Field(name=name, type=_type(name, present), nullable=len(present) < len(values), example=_short(present[0]) if present else None)


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _type(name: str, values: list[Any]) -> FieldType:
    kinds = {type(v) for v in values}
    if kinds <= {str}:
        return "string" if kinds else "number"
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "integer"
    if kinds <= {int, float}:
        return "number"
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise TypeError(f"column {name!r} of the example holds {names}: a request can hold numbers, strings and booleans")
