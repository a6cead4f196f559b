"""Reads rows from JSON: an array of objects or of arrays; or JSON Lines, one of them a line, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from dragoman.errors import InvalidInput
from dragoman.rowfiles.blocks import ROW_BYTES
from dragoman.rowfiles.chunk import Chunk, Layout
from dragoman.rowfiles.columns import Note
from dragoman.signature import Signature
from dragoman.table import Table, kind_of

CHUNK_BYTES = 1024 * 1024


def read_json(path: Path, signature: Signature, layout: Layout, note: Note) -> Iterator[Chunk]:
    """One chunk: an array is one value, and is read whole. Raises `InvalidInput`, `OSError`."""
    content = path.read_bytes()
    try:
        rows = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not valid JSON: {error}") from None
    if not isinstance(rows, list):
        raise InvalidInput(f"must be an array of rows, objects or arrays, got {kind_of(rows)}; for one row a line, call the file .jsonl")
    if rows:
        yield _chunk(rows, [], 0, len(content))


def read_json_lines(path: Path, signature: Signature, layout: Layout, note: Note) -> Iterator[Chunk]:
    """A row a line; blank lines are none. Raises `InvalidInput`, naming the line, and `OSError`."""
    with path.open("rb") as file:
        start = line = end = 0
        first: Any = None
        while more := file.readlines(CHUNK_BYTES):
            rows, lines = [], []
            for text in more:
                line, end = line + 1, end + len(text)
                if not text.strip():
                    continue
                rows.append(_row(text, line))
                lines.append(line)
                first = rows[0] if first is None else first
                if type(rows[-1]) is not type(first):
                    raise InvalidInput(
                        f"row {start + len(rows)} (line {line}): must be {kind_of(first)} as row 1 is, got {kind_of(rows[-1])}"
                    )
            if rows:
                yield _chunk(rows, lines, start, end)
                start += len(rows)


def _row(text: bytes, line: int) -> Any:
    if len(text) > ROW_BYTES:
        raise InvalidInput(f"line {line}: has more than {ROW_BYTES >> 20} MiB: JSON Lines has one row a line")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"line {line}: not valid JSON: {error}; JSON Lines has one row a line") from None


def _chunk(rows: list[Any], lines: list[int], start: int, end: int) -> Chunk:
    empty = Chunk(Table.of_columns({}, len(rows)), start, end, partial(list, lines))
    width = len(rows[0]) if isinstance(rows[0], list) else None
    for i, row in enumerate(rows):
        if width is not None and isinstance(row, list) and len(row) != width:
            raise empty.refuse(i, f"has {len(row)} values, {empty.place(0)} has {width}")
    try:
        table = Table.of_rows(rows)
    except InvalidInput as error:
        raise InvalidInput(empty.located(error.message).replace("as row 0 is", f"as {empty.place(0)} is")) from None
    return Chunk(table, start, end, empty.lines)
