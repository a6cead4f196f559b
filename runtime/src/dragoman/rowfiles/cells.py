"""A CSV column's texts as values of a field's type. What is no such value stays text: the signature's check names it with its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dragoman.signature import FieldType
from dragoman.table import Array

NO_NUMBER = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None"})  # no number could be meant by them
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
Cells = Sequence[str]


def values(cells: Cells, type_: FieldType, missing: frozenset[str]) -> Array:
    """Shape (rows,): floats (NaN where missing), booleans or strings (None where missing); an object array where a text is left over."""
    return _PARSERS[type_](cells, missing)


def guessed(cells: Cells, missing: frozenset[str]) -> FieldType:
    """What a column of which nothing is known holds: strings where any cell is no number."""
    return "number" if values(cells, "number", missing).dtype.kind == "f" else "string"


def _numbers(cells: Cells, missing: frozenset[str]) -> Array:
    try:
        if not any("_" in cell for cell in cells):  # Python would take 1_000 for a number
            return np.array([float(cell) for cell in cells])
    except ValueError:
        pass
    none = missing | NO_NUMBER
    found: list[float | str] = [np.nan if cell.strip() in none else _number(cell) for cell in cells]
    if any(isinstance(value, str) for value in found):
        return _objects([None if isinstance(value, float) and value != value else value for value in found])
    return np.array(found, dtype=np.float64)


def _number(cell: str) -> float | str:
    try:
        return cell if "_" in cell else float(cell)
    except ValueError:
        return cell


def _booleans(cells: Cells, missing: frozenset[str]) -> Array:
    return _objects([None if not cell or cell in missing else _BOOLEANS.get(cell.strip().lower(), cell) for cell in cells])


def _strings(cells: Cells, missing: frozenset[str]) -> Array:
    return _objects([None if not cell or cell in missing else cell for cell in cells])


def _objects(found: Sequence[object]) -> Array:
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


_PARSERS: Mapping[FieldType, Callable[[Cells, frozenset[str]], Array]] = {
    "number": _numbers,
    "integer": _numbers,
    "boolean": _booleans,
    "string": _strings,
}
