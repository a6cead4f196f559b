"""Reading the wire format of protocol buffers, field by field, without generated code.

Enough to tell an ONNX file from others, and to find a few attributes in it, without importing anything and without reading what is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireField(NamedTuple):
    number: int
    wire: int  # wire type
    value: int  # of a varint; 0 otherwise
    start: int  # where its bytes are in the buffer, from `start` up to, not including, `end`
    end: int


def fields(buffer: bytes | mmap, start: int = 0, end: int | None = None) -> Iterator[WireField]:
    """The fields of the message between two places of a buffer. `ValueError` where there is none."""
    at, stop = start, len(buffer) if end is None else end
    while at < stop:
        key, at = _varint(buffer, at, stop)
        number, wire = key >> 3, key & 7
        value, size = 0, 0
        if wire == VARINT:
            first = at
            value, at = _varint(buffer, at, stop)
            yield WireField(number, wire, value, first, at)
            continue
        if wire == BYTES:
            size, at = _varint(buffer, at, stop)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError(f"wire type {wire}")
        if number == 0 or at + size > stop:
            raise ValueError("no message, or one that is cut short")
        yield WireField(number, wire, value, at, at + size)
        at += size


def varints(buffer: bytes | mmap, start: int, end: int) -> Iterator[int]:
    """Packed varints."""
    while start < end:
        value, start = _varint(buffer, start, end)
        yield value


def signed(value: int) -> int:
    """An int64 of its varint."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(buffer: bytes | mmap, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= stop or shift > 63:
            raise ValueError("cut short")
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
