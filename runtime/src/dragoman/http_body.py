"""The rest of a body whose request was looked at already: read past the HTTP parser, into the very bytes that it will be, or into nothing.

While it comes, one of these is the transport's protocol in place of its connection, and reads no byte of what follows the body. The parser
would copy it, asyncio would make bytes of each part, and joining those is another copy.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Iterable
from typing import Any

_SCRATCH = memoryview(bytearray(256 * 1024))  # of all connections: nobody looks at what was dropped


class RestOfBody(asyncio.BufferedProtocol):
    """`missing` bytes are still to come; then `on_end` is called. All but reading is for the connection."""

    def __init__(self, connection: asyncio.Protocol, missing: int, on_end: Callable[[Any], None]) -> None:
        """`on_end` is given this object: one that it knew of already would keep it, and its bytes, until the collector looks."""
        self._connection, self.missing, self._on_end = connection, missing, on_end

    def get_buffer(self, sizehint: int) -> memoryview:
        return _SCRATCH[: self.missing]

    def buffer_updated(self, nbytes: int) -> None:
        self.missing -= nbytes
        if not self.missing:
            self._on_end(self)

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


class GatheredBody(RestOfBody):
    """Keeps it, behind the parts that were there."""

    def __init__(self, connection: asyncio.Protocol, parts: Iterable[bytes], length: int, on_end: Callable[[Any], None]) -> None:
        self._file = io.BytesIO(bytes(length))  # whose `getvalue` gives these bytes, and no copy
        for part in parts:
            self._file.write(part)
        super().__init__(connection, length - self._file.tell(), on_end)
        self._length = length
        self._rest = self._room = self._file.getbuffer()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._rest = self._room[-self.missing :]
        return self._rest

    @property
    def came(self) -> int:
        return self._length - self.missing

    def whole(self) -> bytes:
        """To be asked for once, at the end."""
        self._rest.release()  # whoever read into it may hold it still: then the bytes would be copied
        self._room.release()
        return self._file.getvalue()


def drop_waiting(transport: asyncio.Transport, most: int) -> int:
    """Drops what the kernel holds of these bytes, on Linux without copying it; gives how many there were."""
    shared = transport.get_extra_info("socket")
    if shared is None:
        return 0
    dropped = 0
    with shared.dup() as sock:
        sock.setblocking(False)
        while dropped < most:
            try:
                count = sock.recv_into(_SCRATCH, min(most - dropped, len(_SCRATCH)), socket.MSG_TRUNC)
            except OSError:
                break
            if not count:
                break
            dropped += count
    return dropped


def announced(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The body's length by `Content-Length`; None where its parts say theirs."""
    found = dict(headers)
    length = found.get(b"content-length", b"")
    return int(length) if length.isdigit() and b"transfer-encoding" not in found else None
