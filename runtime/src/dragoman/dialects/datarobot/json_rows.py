"""Reads a JSON body: an array of objects, or one object for one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dragoman import json
from dragoman.dialects.datarobot.dataset import Dataset, Wanted, array_of, objects, sources, table_of
from dragoman.errors import BadRequest
from dragoman.signature import Field
from dragoman.table import Array, Table, column_of, kind_of


def read_json(body: bytes, wanted: Wanted) -> Dataset:
    """`body` is UTF-8. Raises `BadRequest`, which names the row, and a 422 for features that are in no row."""
    document = json.decode(body)
    rows: list[Any] = [document] if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise BadRequest(f"the body must be an array of objects, got {kind_of(document)}")
    names = _names(rows)
    if len(names) * len(rows) > _MOST_SPARSE_CELLS and len(names) > 2 * len(rows[0]):
        raise BadRequest(f"rows of {len(rows)} objects with {len(names)} different keys between them: send the same keys in each")
    kept = _kept(rows, names, None if not wanted.fields else wanted.keep)
    if not wanted.fields:
        return Dataset(names, Table.of_rows(rows) if rows else Table.of_columns({}), kept)
    if not rows:
        return Dataset(names, Table.of_columns({field.name: objects([]) for field in wanted.fields}), kept)
    found = [None if source is None else names[source] for source in sources(names, wanted)]
    numbers = _matrix(rows, found)
    if numbers is not None:
        return Dataset(names, Table.of_array(numbers, [field.name for field in wanted.fields]), kept)
    columns: dict[str, Array | None] = {}
    for field, name in zip(wanted.fields, found, strict=True):
        columns[field.name] = None if name is None else _column([row.get(name) for row in rows], field)
    return Dataset(names, table_of(columns, wanted, len(rows)), kept)


def _names(rows: Sequence[Any]) -> tuple[str, ...]:
    """Every key of every row, in the order in which they come first."""
    names: dict[str, None] = {}
    first: Any = None
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequest(f"row {i}: must be an object of features, got {kind_of(row)}")
        if first is None or row.keys() != first:
            names.update(dict.fromkeys(row))
            first = row.keys()
    return tuple(names)


def _matrix(rows: Sequence[dict[str, Any]], names: Sequence[str | None]) -> Array | None:
    """Shape (rows, names), where every value is a number; else None."""
    values = [row.get(name) for row in rows for name in names]  # type: ignore[arg-type]  # None is no key
    if not _NUMBERS.issuperset(map(type, values)):
        return None
    try:
        return np.array(values, dtype=np.float64).reshape(len(rows), len(names))
    except OverflowError:  # an integer that no float can hold
        return None


def _kept(rows: Sequence[dict[str, Any]], names: Sequence[str], keep: frozenset[str] | None) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in names if keep is None or name in keep}


def _column(values: list[Any], field: Field) -> Array:
    """One feature's values. As in CSV, where everything is text, a number may be sent as text and a text as a number."""
    kinds = set(map(type, values))
    if field.type == "string":
        return objects([_text(value) for value in values]) if kinds & {int, float} else column_of(values)
    if str not in kinds:
        return column_of(values)
    return objects([array_of([value], field)[0] if isinstance(value, str) else value for value in values])


def _text(value: Any) -> Any:
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


_MOST_SPARSE_CELLS = 1_000_000  # as tables of every dialect
_NUMBERS = frozenset({int, float})
