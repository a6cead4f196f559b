"""Frames of HTTP/2, and what is wrong with them. Numbers in brackets are sections of RFC 9113."""

from __future__ import annotations

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16_384  # bytes of a payload, until the other side says that it takes more (4.2)
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535

HEAD = struct.Struct(">HBBBL")  # of a frame: its payload's length in two parts, its kind, its flags, its stream
HEAD_BYTES = 9
_SETTING = struct.Struct(">HL")


# Kinds of frames (6)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

# Flags, by what they say in one kind or another
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Why a stream or a connection ends (7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The connection cannot go on (5.4.1)."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


class StreamFault(Exception):
    """One stream cannot go on (5.4.2)."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def settings_of(payload: bytes) -> list[tuple[int, int]]:
    """Raises `ConnectionFault` for what a client may not ask (6.5)."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"settings of {len(payload)} bytes")
    found = list(_SETTING.iter_unpack(payload))
    for name, value in found:
        if name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if name == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        if name == Setting.MAX_FRAME_SIZE and not MAX_FRAME <= value < 2**24:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
    return found


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def reset(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: Code, why: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + why.encode()[:256])


def content_of(payload: bytes, flags: int, *, prioritised: bool) -> tuple[bytes, int]:
    """A DATA or HEADERS frame's own bytes, without padding and priority; and the stream that it says to depend on (-1: none)."""
    begin, end, parent = 0, len(payload), -1
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a padded frame without its padding's length")
        begin, end = 1, end - payload[0]
    if prioritised and flags & PRIORITISED:
        if len(payload) < begin + 5:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame that is too short for its priority")
        parent = int.from_bytes(payload[begin : begin + 4], "big") & MAX_WINDOW
        begin += 5
    if end < begin:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame with more padding than payload")
    return payload[begin:end], parent
