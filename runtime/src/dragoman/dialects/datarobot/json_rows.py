"""Reads a JSON body: an array of objects, or one object for one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    names: dict[str, None] = {}
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequest(f"row {i}: must be an object of features, got {kind_of(row)}")
        names.update(dict.fromkeys(row))
    if not wanted.fields:
        table = Table.of_rows(rows) if rows else Table.of_columns({})
        return Dataset(tuple(names), table, _kept(rows, names, None))
    columns: dict[str, Array | None] = {}
    if rows:
        listed = tuple(names)
        for field, source in zip(wanted.fields, sources(listed, wanted), strict=True):
            name = None if source is None else listed[source]
            columns[field.name] = None if name is None else _column([row.get(name) for row in rows], field)
    else:
        columns = {field.name: objects([]) for field in wanted.fields}
    return Dataset(tuple(names), table_of(columns, wanted, len(rows)), _kept(rows, names, wanted.keep))


def _kept(rows: Sequence[dict[str, Any]], names: dict[str, None], keep: frozenset[str] | None) -> dict[str, list[Any]]:
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
