"""Which columns of a file are the model's inputs: settled once, before a row is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dragoman.errors import InvalidInput
from dragoman.rowfiles.chunk import Layout
from dragoman.signature import Field, Signature

Note = Callable[[str], None]  # told once, where it is worth knowing
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


@dataclass(frozen=True)
class Column:
    """One column that is read. `index` counts the file's columns from 0; `field` is None where nothing is known of the inputs."""

    index: int
    name: str | None
    field: Field | None


@dataclass(frozen=True)
class Arranged:
    """The columns that are read, in the model's order, of a file that is `width` columns wide."""

    columns: tuple[Column, ...]
    width: int
    note: str | None = None  # worth telling, once

    @property
    def names(self) -> tuple[str, ...] | None:
        named = tuple(c.name for c in self.columns if c.name is not None)
        return named or None


def arranged(names: Sequence[str] | None, signature: Signature, layout: Layout, width: int) -> Arranged:
    """The file's columns as the model's. `names` are the file's own, None where it has none; then they stand in the model's order.

    Raises `InvalidInput` for a column that is missing, is there twice, or is none of the model's, unless `layout.ignore_extra`.
    """
    fields = signature.inputs
    if names is None:
        return _by_position(fields, width)
    _refuse_doubles(names)
    if not fields:
        return Arranged(tuple(Column(i, name, None) for i, name in enumerate(names)), len(names))
    known = {f.name: f for f in fields}
    if not signature.named and len(names) == len(fields) and not known.keys() & set(names):
        found = _by_position(fields, len(names))
        return Arranged(found.columns, found.width, "the model knows its inputs by position only; columns are taken in the file's order")
    where = {name: i for i, name in enumerate(names)}
    missing = [f.name for f in fields if f.required and f.name not in where]
    extra = [name for name in names if name not in known]
    if missing:
        raise InvalidInput(_missing(missing, extra, names, fields, layout))
    if extra and not layout.ignore_extra and signature.extra_columns == "refuse":
        raise InvalidInput(
            f"column {extra[0]!r} is not one of the model's inputs: {listed([f.name for f in fields])}; --ignore-extra passes over it"
        )
    return Arranged(tuple(Column(where[f.name], f.name, f) for f in fields if f.name in where), len(names))


def _by_position(fields: Sequence[Field], width: int) -> Arranged:
    if not fields:
        return Arranged(tuple(Column(i, None, None) for i in range(width)), width)
    if width != len(fields):
        raise InvalidInput(f"the first row has {width} columns, the model takes {len(fields)}: {listed([f.name for f in fields])}")
    return Arranged(tuple(Column(i, f.name, f) for i, f in enumerate(fields)), width)


def _refuse_doubles(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(f"two columns are called {name!r}: give each a name of its own")
        seen.add(name)


def _missing(missing: Sequence[str], extra: Sequence[str], names: Sequence[str], fields: Sequence[Field], layout: Layout) -> str:
    takes = f"the model takes {listed([f.name for f in fields])}"
    what = (
        f"column {missing[0]!r} is missing"
        if len(missing) == 1
        else f"{len(missing)} columns are missing, {missing[0]!r} the first of them"
    )
    if all(_NUMBER.fullmatch(name) for name in names):
        return f"{what}: the first line must name the columns, and this one holds numbers; --no-header takes them in the model's order"
    near = difflib.get_close_matches(missing[0], extra, n=1)
    if near:
        return f"{what}: is it the one called {near[0]!r}? {takes}"
    other = next((d for d in (";", "\t", "|", ",") if len(names) == 1 and d in names[0] and d != (layout.delimiter or ",")), None)
    if other is not None:
        return f"{what}: the columns seem to be separated by {other!r}; say so with --delimiter"
    return f"{what}: {takes}"


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first of them, where there are many."""
    shown = ", ".join(repr(name) for name in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
