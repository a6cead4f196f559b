"""A CSV file in blocks of bytes that end where a row ends: a newline inside quotes ends none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from dragoman.errors import InvalidInput

BLOCK_BYTES = 2 * 1024 * 1024
ROW_BYTES = 64 * 1024 * 1024  # a longer row is a quote that was never closed, or no CSV at all
_QUOTE, _NEWLINE = b'"', b"\n"


@dataclass(frozen=True)
class Block:
    """Whole rows. `line` is the file's line, from 1, on which the first of them begins; `end` the bytes up to the last one's end."""

    content: bytes
    line: int
    end: int


def blocks(file: IO[bytes], size: int) -> Iterator[Block]:
    """Every byte of the file, in order. Raises `InvalidInput` for a row of more than `ROW_BYTES`."""
    held, line, end = b"", 1, 0
    while more := file.read(size):
        held += more
        cut = _row_end(held)
        if cut:
            end += cut
            yield Block(held[:cut], line, end)
            line += held.count(_NEWLINE, 0, cut)
            held = held[cut:]
        elif len(held) > ROW_BYTES:
            raise InvalidInput(f'line {line}: a row of more than {ROW_BYTES >> 20} MiB begins here: is a quote (") not closed?')
    if held:
        yield Block(held, line, end + len(held))


def _row_end(content: bytes) -> int:
    """How many bytes are whole rows: up to the last newline before which quotes come in pairs (RFC 4180 doubles a quote in quotes)."""
    at = content.rfind(_NEWLINE)
    if _QUOTE not in content:
        return at + 1
    quotes = content.count(_QUOTE, 0, at + 1)
    while at >= 0 and quotes % 2:
        before = content.rfind(_NEWLINE, 0, at)
        quotes -= content.count(_QUOTE, before + 1, at)
        at = before
    return at + 1
