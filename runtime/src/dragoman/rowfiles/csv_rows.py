"""Reads rows from a CSV file, in bounded memory, strictly: the signature says what each column is.

Blocks that are numbers throughout go straight into an array, or through numpy's own reader. All others go through the standard library's,
cell by cell, which gives the same values, and knows on which line each row stands.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dragoman.errors import InvalidInput
from dragoman.json_matrix import matrix_of_lines
from dragoman.rowfiles.blocks import BLOCK_BYTES, ROW_BYTES, Block, blocks
from dragoman.rowfiles.cells import guessed, values
from dragoman.rowfiles.chunk import Chunk, Layout
from dragoman.rowfiles.columns import Arranged, Note, arranged
from dragoman.signature import FieldType, Signature
from dragoman.table import Array, Table

if TYPE_CHECKING:
    from _csv import Reader

_BOM = b"\xef\xbb\xbf"


def read_csv(path: Path, signature: Signature, layout: Layout, note: Note, block_bytes: int = BLOCK_BYTES) -> Iterator[Chunk]:
    """The file's rows. Raises `InvalidInput`, naming the line, or the column, that is wrong; `OSError`."""
    with path.open("rb") as file:
        found = blocks(file, block_bytes)
        first = next(found, None)
        if first is not None:
            first = replace(first, content=first.content.removeprefix(_BOM))
        if first is None or not first.content.strip():
            raise InvalidInput("the file is empty" + (": its first line must name the columns" if layout.header else ""))
        names, first = _header(first, layout) if layout.header else (None, first)
        sheet = _Sheet(signature, names, layout, note)
        start = 0
        for block in itertools.chain([first], found):
            if block.content.strip():
                chunk = sheet.read(block, start)
                start += chunk.table.rows
                yield chunk


def read_tsv(path: Path, signature: Signature, layout: Layout, note: Note) -> Iterator[Chunk]:
    """As `read_csv`, with tabs between the columns."""
    return read_csv(path, signature, replace(layout, delimiter=layout.delimiter or "\t"), note)


class _Sheet:
    """One CSV file while it is read: its columns are settled by its header, or by its first row."""

    def __init__(self, signature: Signature, names: tuple[str, ...] | None, layout: Layout, note: Note) -> None:
        self._signature, self._names, self._layout, self._note = signature, names, layout, note
        self._arranged: Arranged | None = None if names is None else self._arrange(len(names))
        self._types: list[FieldType] = []  # of the columns that are read; settled by the first block where the signature knows none

    def read(self, block: Block, start: int) -> Chunk:
        """Raises `InvalidInput`."""
        array = self._numbers(block)
        named = self._arranged.names if self._arranged else None
        table = self._cells(block, start) if array is None else Table.of_array(array, named)
        return Chunk(table, start, block.end, partial(_lines, block, self._layout))

    def _arrange(self, width: int) -> Arranged:
        found = arranged(self._names, self._signature, self._layout, width)
        if found.note:
            self._note(found.note)
        return found

    def _numbers(self, block: Block) -> Array | None:
        """Shape (rows, columns read), where every cell is a number; else None."""
        known = self._arranged
        if known is None or b'"' in block.content or len(known.columns) != known.width or self._layout.missing:
            return None
        if any(c.field is None or c.field.type not in ("number", "integer") for c in known.columns):
            return None
        delimiter = self._layout.delimiter or ","
        array = matrix_of_lines(block.content) if delimiter == "," else None
        try:
            if array is None:
                array = np.loadtxt(io.StringIO(block.content.decode()), dtype=np.float64, delimiter=delimiter, comments=None, ndmin=2)
        except ValueError:  # a missing value, or something wrong: the other way will tell
            return None
        order = [c.index for c in known.columns]
        return None if array.shape[1] != known.width else array if order == sorted(order) else array[:, order]

    def _cells(self, block: Block, start: int) -> Table:
        rows = [row for _, row in _rows(block, self._layout)]
        arranged = self._arranged = self._arranged or self._arrange(len(rows[0]))
        for i, row in enumerate(rows):
            if len(row) != arranged.width:
                kind = "the header" if self._names else "the first row"
                chunk = Chunk(Table.of_columns({}, len(rows)), start, block.end, partial(_lines, block, self._layout))
                raise chunk.refuse(i, f"has {len(row)} columns, {kind} has {arranged.width}")
        cells = list(zip(*rows, strict=True))
        if not self._types:
            missing = self._layout.missing
            self._types = [guessed(cells[c.index], missing) if c.field is None else c.field.type for c in arranged.columns]
        columns = tuple(values(cells[c.index], t, self._layout.missing) for c, t in zip(arranged.columns, self._types, strict=True))
        table = Table(None, columns, arranged.names, len(rows))
        if not self._signature.inputs:
            self._refuse_changed(Chunk(table, start, block.end, partial(_lines, block, self._layout)), arranged)
        return table

    def _refuse_changed(self, chunk: Chunk, arranged: Arranged) -> None:
        """Where nothing is known of the inputs, a column stays what its first rows were."""
        for column, type_, array in zip(arranged.columns, self._types, chunk.table.columns, strict=True):
            if type_ == "number" and array.dtype == object:
                at = next(i for i, value in enumerate(array) if isinstance(value, str))
                name = f"column {column.index + 1}" if column.name is None else repr(column.name)
                raise chunk.refuse(
                    at, f'{name} must be a number as in the rows before, got "{array[at]}"; spec.model.inputs can declare it a string'
                )


def _header(block: Block, layout: Layout) -> tuple[tuple[str, ...], Block]:
    """The first row that is not blank, and the block without it."""
    text = io.StringIO(_decoded(block), newline="")
    reader = _reader(text, layout)
    names: list[str] = []
    while not names:
        names = _next(reader, block) or []
    rest = b"".join(line.encode() for line in text)
    return tuple(name.strip() for name in names), Block(rest, block.line + reader.line_num, block.end)


def _rows(block: Block, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the line of the file on which it begins."""
    csv.field_size_limit(ROW_BYTES)
    reader = _reader(io.StringIO(_decoded(block), newline=""), layout)
    while True:
        line = block.line + reader.line_num
        row = _next(reader, block)
        if row is None:
            return
        if row:
            yield line, row


def _lines(block: Block, layout: Layout) -> Sequence[int]:
    return [line for line, _ in _rows(block, layout)]


def _reader(text: io.StringIO, layout: Layout) -> Reader:
    return csv.reader(text, delimiter=layout.delimiter or ",", strict=True)


def _next(reader: Reader, block: Block) -> list[str] | None:
    line = block.line + reader.line_num
    try:
        return next(reader, None)
    except csv.Error as error:
        raise InvalidInput(f"line {line}: not CSV: {error}") from None


def _decoded(block: Block) -> str:
    try:
        return block.content.decode()
    except UnicodeDecodeError as error:
        line = block.line + block.content.count(b"\n", 0, error.start)
        raise InvalidInput(f"line {line}: is not UTF-8 (byte 0x{block.content[error.start]:02x}): save the file as UTF-8") from None
