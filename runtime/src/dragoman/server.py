"""The HTTP server: uvicorn on a socket that all workers share, with what it lacks: a drain that loses nothing.

Drain (stock uvicorn loses 1 to 8 requests): from the first moment every reply carries `Connection: close`, while new connections are
still taken; after the grace the listener closes, with what already waits in its queue accepted first; requests in flight finish; idle
connections close last.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence

from dragoman.accepting import Acceptor
from dragoman.asgi import App
from dragoman.http_protocol import Protocol, Shared

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class HttpServer:
    """One worker's HTTP server on the shared socket. `others` and `tell`: see `Acceptor`."""

    def __init__(
        self,
        app: App,
        sock: socket.socket,
        head_seconds: float = 20.0,
        keep_alive_seconds: float = 75.0,
        others: Callable[[], Sequence[int]] = lambda: (),
        tell: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._shared = Shared(app, head_seconds, keep_alive_seconds)
        self._closing: list[tuple[bytes, bytes]] = []
        self._acceptor = Acceptor(sock, self._protocol, others, tell)
        self._shared.on_end = self._acceptor.ended
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._renew_headers()
        self._acceptor.start()
        self._ticking = asyncio.create_task(self._tick())

    def only_client(self) -> bool:
        return len(self._shared.connections) == 1

    async def drain(self, grace_seconds: float, timeout_seconds: float) -> None:
        """Stop without losing a request; at most `grace_seconds` + `timeout_seconds`."""
        self.close_after_reply()
        await asyncio.sleep(grace_seconds)
        await self._acceptor.close()
        deadline = time.monotonic() + timeout_seconds
        connections = self._shared.connections
        await asyncio.sleep(0.05)  # what was accepted last has its first bytes by now
        while any(connection.busy for connection in connections) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(connections):
            connection.close_when_idle()
        while connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._ticking is not None:
            self._ticking.cancel()

    def close_after_reply(self) -> None:
        """From now on every reply carries `Connection: close`."""
        self._closing = [(b"connection", b"close")]
        self._renew_headers()
        for connection in self._shared.connections:
            connection.close_after_reply()

    def _renew_headers(self) -> None:
        self._shared.headers = [(b"date", http_date(time.time())), *self._closing]

    def _protocol(self) -> Protocol:
        return Protocol(self._shared)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._renew_headers()


def http_date(seconds: float) -> bytes:
    """As the `Date` header has it: RFC 9110, 5.6.7. In English, whatever locale a model's code sets."""
    t = time.gmtime(seconds)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT".encode()
