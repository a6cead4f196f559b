"""Reads a CSV body: commas, a header, and quotes as RFC 4180 has them.

A body of nothing but numbers is read by a JSON parser, at once; any other by the csv module, some thousand rows at a time, so that the
texts of a large body are never all in memory. Both read numbers exactly.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from dragoman.dialects.datarobot.dataset import Dataset, Wanted, array_of, flat_numbers, sources, table_of
from dragoman.errors import BadRequest
from dragoman.table import Array, Table

_BLOCK_ROWS = 4096
_BLOCK_BYTES = 1024 * 1024
_FIELD_BYTES = 2**31 - 1  # the body's own limit is the smaller one
_COMMA, _LINE_END = 44, 10


def read_csv(body: bytes, wanted: Wanted) -> Dataset:
    """`body` is UTF-8. Raises `BadRequest`, which names the line, and a 422 for columns that are missing."""
    found = _of_numbers(body, wanted)
    return _of_texts(body, wanted) if found is None else found


# --- nothing but numbers -----------------------------------------------------------------------------------------


def _of_numbers(body: bytes, wanted: Wanted) -> Dataset | None:
    """None where a field is quoted, empty or no number, a row is shorter or longer than the header, or the reply needs the texts."""
    if wanted.keep is None or wanted.keep or not wanted.fields or any(f.type not in ("number", "integer") for f in wanted.fields):
        return None
    end = body.find(b"\n")
    header = body[:end].rstrip(b"\r")
    if end < 0 or b'"' in header or b"\r" in header:
        return None
    rest = body[end + 1 :].rstrip(b"\r\n")
    names = _names(header.decode().split(","))
    columns = [source for source in sources(names, wanted) if source is not None]
    if len(columns) != len(wanted.fields) or not rest:
        return None
    numbers = _matrix(rest, len(names))
    if numbers is None:
        return None
    if columns != list(range(len(names))):
        numbers = numbers[:, columns]
    return Dataset(names, Table.of_array(numbers, [f.name for f in wanted.fields]))


def _matrix(text: bytes, width: int) -> Array | None:
    """Shape (rows, width), of lines of numbers; None where they are not."""
    blocks = []
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + _BLOCK_BYTES)
        block = text[start : len(text) if end < 0 else end]
        if block.count(b"\r") != block.count(b"\r\n") + block.endswith(b"\r") or not _rectangular(block, width):
            return None
        found = flat_numbers(block.replace(b"\n", b","))
        if found is None:
            return None
        try:
            blocks.append(np.frombuffer(array("d", found)).reshape(-1, width))
        except (OverflowError, ValueError):  # an integer that no float can hold
            return None
        start += len(block) + 1
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _rectangular(block: bytes, width: int) -> bool:
    """Whether every line has as many commas."""
    content = np.frombuffer(block, dtype=np.uint8)
    commas, ends = np.flatnonzero(content == _COMMA), np.flatnonzero(content == _LINE_END)
    if len(commas) != (width - 1) * (len(ends) + 1):
        return False
    return bool((np.searchsorted(commas, ends) == np.arange(1, len(ends) + 1) * (width - 1)).all())


# --- anything ----------------------------------------------------------------------------------------------------


def _of_texts(body: bytes, wanted: Wanted) -> Dataset:
    csv.field_size_limit(_FIELD_BYTES)
    reader = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
    rows = _rows(reader)
    header = next(rows, None)
    if header is None:
        raise BadRequest("the body is empty, CSV with a header was expected")
    names = _names(header)
    columns = _Columns(names, wanted)
    while block := list(islice(rows, _BLOCK_ROWS)):
        if set(map(len, block)) != {len(names)}:
            _refuse_ragged(block, columns.rows, len(names))
        columns.add(block)
    return columns.dataset()


class _Columns:
    """The columns of a CSV body while it is read: those that the model takes as arrays, those that the reply shows as texts."""

    def __init__(self, names: tuple[str, ...], wanted: Wanted) -> None:
        self.names, self.rows = names, 0
        self._wanted = wanted
        self._sources = sources(names, wanted)
        kept = range(len(names)) if wanted.keep is None or not wanted.fields else [i for i, n in enumerate(names) if n in wanted.keep]
        self._texts: dict[int, list[str]] = {i: [] for i in kept}
        self._arrays: list[list[Array]] = [[] for _ in wanted.fields]

    def add(self, block: list[list[str]]) -> None:
        cells = list(zip(*block, strict=True))
        for i, texts in self._texts.items():
            texts += cells[i]
        for field, source, arrays in zip(self._wanted.fields, self._sources, self._arrays, strict=True):
            if source is not None:
                arrays.append(array_of(cells[source], field))
        self.rows += len(block)

    def dataset(self) -> Dataset:
        kept = {self.names[i]: texts for i, texts in self._texts.items()}
        if not self._wanted.fields:
            table = Table.of_columns({name: array_of(texts, None) for name, texts in kept.items()}, self.rows)
            return Dataset(self.names, table, kept, of_text=True)
        found: dict[str, Array | None] = {}
        for field, source, arrays in zip(self._wanted.fields, self._sources, self._arrays, strict=True):
            column = None if source is None else _joined(arrays)
            found[field.name] = column
        return Dataset(self.names, table_of(found, self._wanted, self.rows), kept, of_text=True)


def _joined(arrays: Sequence[Array]) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=object)


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Every row that is not blank. Raises `BadRequest`."""
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise BadRequest(f"line {getattr(reader, 'line_num', 0)}: not CSV: {error}") from None


def _names(header: Sequence[str]) -> tuple[str, ...]:
    """The header's names; a column without one is called by its place, as in pandas. Raises `BadRequest` for one that is there twice."""
    names = tuple(name.strip() or f"Unnamed: {i}" for i, name in enumerate(header))
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise BadRequest(f"two columns are called {twice!r}: give each a name of its own")
    return names


def _refuse_ragged(block: Sequence[Sequence[str]], before: int, width: int) -> None:
    row, cells = next((i, cells) for i, cells in enumerate(block) if len(cells) != width)
    raise BadRequest(f"row {before + row}: has {len(cells)} columns, the header has {width}")
