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

import uvicorn

from dragoman.accepting import BACKLOG, Acceptor
from dragoman.asgi import App
from dragoman.http_protocol import Protocol
from dragoman.http_timeouts import HttpConfig


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
        config = HttpConfig(
            app,
            http=Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,  # type: ignore[arg-type]
            backlog=BACKLOG,
        )
        config.head_seconds = head_seconds
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._config = config
        self._acceptor = Acceptor(sock, self._protocol, others, tell)
        config.on_end = self._acceptor.ended
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._server.on_tick(0)
        self._acceptor.start()
        self._ticking = asyncio.create_task(self._tick())

    def only_client(self) -> bool:
        return len(self._server.server_state.connections) == 1

    async def drain(self, grace_seconds: float, timeout_seconds: float) -> None:
        """Stop without losing a request; at most `grace_seconds` + `timeout_seconds`."""
        self.close_after_reply()
        await asyncio.sleep(grace_seconds)
        await self._acceptor.close()
        deadline = time.monotonic() + timeout_seconds
        state = self._server.server_state
        await asyncio.sleep(0.05)  # what was accepted last has its first bytes by now
        while any(isinstance(c, Protocol) and c.busy for c in state.connections) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(state.connections):
            connection.shutdown()
        while state.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._ticking is not None:
            self._ticking.cancel()

    def close_after_reply(self) -> None:
        """From now on every reply carries `Connection: close`."""
        closing = (b"connection", b"close")
        self._config.encoded_headers.append(closing)
        state = self._server.server_state
        state.default_headers.append(closing)  # the list that requests in flight hold, too
        for connection in state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None:
                cycle.keep_alive = False

    def _protocol(self) -> Protocol:
        return Protocol(config=self._config, server_state=self._server.server_state, app_state={})

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self._server.on_tick(0)
