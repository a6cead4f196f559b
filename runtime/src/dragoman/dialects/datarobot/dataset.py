"""The data set of a request: the rows that the model takes, and of other columns what the reply shows again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
import orjson

from dragoman.dialects.datarobot.refusals import Unprocessable
from dragoman.signature import Field
from dragoman.table import Array, Table

_NO_NUMBER = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None"})  # missing, where a number is expected
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_OF_NUMBERS = bytes.maketrans(b"", b""), b"0123456789+-.eE,\r\n "


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of a data set.

    `fields` are the model's inputs that come from it, in the model's order; empty, where nothing is known of them, for every column.
    `named` False: the model knows them by position only. `optional` are inputs that may be absent though the model wants them: they
    are null then. `keep` names the columns that the reply shows again; None for all.
    """

    fields: tuple[Field, ...] = ()
    named: bool = True
    optional: frozenset[str] = frozenset()
    keep: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`kept`: columns as they were sent, texts from CSV and values from JSON."""

    names: tuple[str, ...]
    table: Table
    kept: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    of_text: bool = False

    @property
    def rows(self) -> int:
        return self.table.rows

    def values(self, name: str, type_: str | None = None) -> list[Any]:
        """A kept column for a JSON reply. From CSV: None for an empty field, and numbers where all others are (or `type_` says so)."""
        column = self.kept.get(name, ())  # no rows, no columns: []
        return values_of(column, type_) if self.of_text else list(column)

    def texts(self, name: str) -> list[str]:
        """A kept column for a CSV reply: from CSV exactly as it was sent."""
        column = self.kept.get(name, ())
        return list(column) if self.of_text else [text_of(value) for value in column]


def sources(names: Sequence[str], wanted: Wanted) -> list[int | None]:
    """Where each wanted field is among the columns; None for one that is absent and may be. Raises a 422 that names those that may not."""
    where = {name: i for i, name in enumerate(names)}
    if not wanted.named and len(names) == len(wanted.fields) and not where.keys() & {f.name for f in wanted.fields}:
        return list(range(len(names)))
    missing = [f.name for f in wanted.fields if f.name not in where and f.required and f.name not in wanted.optional]
    if missing:
        raise Unprocessable(f"columns do not match the model's features, features expected but not found: {missing}")
    return [where.get(f.name) for f in wanted.fields]


def table_of(columns: Mapping[str, Array | None], wanted: Wanted, rows: int) -> Table:
    """The rows as the signature's check takes them; a column that is None was not there."""
    present: dict[str, Array] = {}
    for name, column in columns.items():
        if column is not None:
            present[name] = column
        elif name in wanted.optional:
            present[name] = np.full(rows, None, dtype=object)
    return Table.of_columns(present, rows)


# --- texts as values ---------------------------------------------------------------------------------------------


def array_of(cells: Sequence[str], of: Field | None) -> Array:
    """Texts as a field's values: floats (NaN where missing), booleans or strings (None where missing).

    What is no such value stays text: the signature's check names it with its row. `of` None: numbers where all texts are.
    """
    if of is None:
        numbers = _numbers(cells)
        return numbers if numbers.dtype.kind == "f" else objects([cell or None for cell in cells])
    if of.type in ("number", "integer"):
        return _numbers(cells)
    if of.type == "boolean":
        return objects([_BOOLEANS.get(cell.strip().lower(), cell) if cell else None for cell in cells])
    return objects([cell or None for cell in cells] if of.nullable or not of.required else cells)


def _numbers(cells: Sequence[str]) -> Array:
    if "_" not in "".join(cells):  # Python would take 1_000 for a number
        try:
            return np.array([float(cell) if cell else nan for cell in cells])
        except ValueError:
            pass
    found = [nan if cell.strip() in _NO_NUMBER else _number(cell) for cell in cells]
    return objects(found) if any(isinstance(value, str) for value in found) else np.array(found, dtype=np.float64)


def _number(cell: str) -> float | str:
    try:
        return cell if "_" in cell else float(cell)
    except ValueError:
        return cell


def objects(values: Sequence[Any]) -> Array:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def flat_numbers(body: bytes) -> Any:
    """The JSON numbers in a text of nothing but numbers, commas and line ends, as one list; None where there is anything else.

    Exact, and faster than any reader of CSV: a parser of JSON reads them.
    """
    if body.translate(*_OF_NUMBERS):
        return None
    try:
        return orjson.loads(b"[" + body + b"]")
    except orjson.JSONDecodeError:  # 007, +1, .5, an empty field: for the other way
        return None


def values_of(cells: Sequence[str], type_: str | None) -> list[Any]:
    """Texts as a JSON reply shows them."""
    if type_ == "string":
        return [cell or None for cell in cells]
    if type_ == "boolean":
        return [_BOOLEANS.get(cell.strip().lower(), cell) if cell else None for cell in cells]
    numbers = flat_numbers(",".join(cells).encode()) if all(cells) else _numbers_with_gaps(cells)
    if numbers is not None and len(numbers) == len(cells):
        return list(numbers)
    if type_ is None:
        return [cell or None for cell in cells]
    return [None if cell.strip() in _NO_NUMBER else _number(cell) for cell in cells]


def _numbers_with_gaps(cells: Sequence[str]) -> list[Any] | None:
    there = [cell for cell in cells if cell]
    numbers = flat_numbers(",".join(there).encode())
    if not there or numbers is None or len(numbers) != len(there):
        return None
    found = iter(numbers)
    return [next(found) if cell else None for cell in cells]


def text_of(value: Any) -> str:
    """A JSON value as a field of CSV: nothing for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else orjson.dumps(value).decode()
