"""Reads a CSV body: commas, a header, and quotes as RFC 4180 has them.

Without a quote in it, a body is a grid: split at once, and where it is all numbers read by a parser of JSON, which is exact and the
fastest there is. Any other goes through the csv module. Both go some thousand rows at a time, so that the texts of a large body are
never all in memory.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from dragoman.dialects.datarobot.dataset import Dataset, Wanted, array_of, flat_numbers, sources, table_of
from dragoman.errors import BadRequest
from dragoman.table import Array, Table

_BLOCK_ROWS = 4096
_BLOCK_BYTES = 1024 * 1024
_FIELD_BYTES = 2**31 - 1  # the body's own limit is the smaller one
_MOST_COLUMNS = 100_000
_COMMA, _LINE_END = 44, 10


def read_csv(body: bytes, wanted: Wanted) -> Dataset:
    """`body` is UTF-8. Raises `BadRequest`, which names the row or line, and a 422 for columns that are missing."""
    plain = _plain(body)
    return _of_lines(body, wanted) if plain is None else _of_grid(*plain, wanted)


# --- no quotes, and as many commas in every line -----------------------------------------------------------------


def _plain(body: bytes) -> tuple[tuple[str, ...], bytes] | None:
    """The header's names, and the lines after it, ended by line feeds; None for a body that only the csv module can read."""
    if b'"' in body:
        return None
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
        if b"\r" in body:
            return None
    header, _, lines = body.partition(b"\n")
    lines = lines.rstrip(b"\n")
    width = header.count(b",") + 1
    if (
        not header
        or not lines
        or (width == 1 and b"\n\n" in b"\n" + lines)
        or not all(_rectangular(block, width) for block in _blocks(lines))
    ):
        return None
    return _names(header.decode().split(",")), lines


def _blocks(lines: bytes) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time."""
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", start + _BLOCK_BYTES)
        yield lines[start : len(lines) if end < 0 else end]
        start = len(lines) if end < 0 else end + 1


def _rectangular(block: bytes, width: int) -> bool:
    """Whether every line has as many commas."""
    content = np.frombuffer(block, dtype=np.uint8)
    commas, ends = np.flatnonzero(content == _COMMA), np.flatnonzero(content == _LINE_END)
    if len(commas) != (width - 1) * (len(ends) + 1):
        return False
    return bool((np.searchsorted(commas, ends) == np.arange(1, len(ends) + 1) * (width - 1)).all())


def _of_grid(names: tuple[str, ...], lines: bytes, wanted: Wanted) -> Dataset:
    numbers = _matrix(names, lines, wanted)
    if numbers is not None:
        return Dataset(names, Table.of_array(numbers, [f.name for f in wanted.fields]))
    columns, width = _Columns(names, wanted), len(names)
    for block in _blocks(lines):
        cells = block.decode().replace("\n", ",").split(",")
        columns.add([cells[i::width] for i in range(width)])
    return columns.dataset()


def _matrix(names: tuple[str, ...], lines: bytes, wanted: Wanted) -> Array | None:
    """Shape (rows, fields), read by a parser of JSON; None where a field is empty or no number, or the reply needs the texts."""
    if wanted.keep is None or wanted.keep or not wanted.fields or any(f.type not in ("number", "integer") for f in wanted.fields):
        return None
    columns = [source for source in sources(names, wanted) if source is not None]
    if len(columns) != len(wanted.fields):
        return None
    blocks = []
    for block in _blocks(lines):
        found = flat_numbers(block.replace(b"\n", b","))
        if found is None:
            return None
        try:
            blocks.append(np.frombuffer(array("d", found)).reshape(-1, len(names)))
        except (OverflowError, ValueError):  # an integer that no float can hold; "1 2"
            return None
    numbers = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return numbers if columns == list(range(len(names))) else numbers[:, columns]


# --- anything ----------------------------------------------------------------------------------------------------


def _of_lines(body: bytes, wanted: Wanted) -> Dataset:
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
        columns.add(list(zip(*block, strict=True)))
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

    def add(self, cells: Sequence[Sequence[str]]) -> None:
        """Some rows more, by column."""
        for i, texts in self._texts.items():
            texts += cells[i]
        for field, source, arrays in zip(self._wanted.fields, self._sources, self._arrays, strict=True):
            if source is not None:
                arrays.append(array_of(cells[source], field))
        self.rows += len(cells[0])

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
    if len(header) > _MOST_COLUMNS:
        raise BadRequest(f"the header has {len(header)} columns, more than {_MOST_COLUMNS}")
    names = tuple(name.strip() or f"Unnamed: {i}" for i, name in enumerate(header))
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BadRequest(f"two columns are called {twice!r}: give each a name of its own")
    return names


def _refuse_ragged(block: Sequence[Sequence[str]], before: int, width: int) -> None:
    row, cells = next((i, cells) for i, cells in enumerate(block) if len(cells) != width)
    raise BadRequest(f"row {before + row}: has {len(cells)} columns, the header has {width}")
