"""The HTTP server: uvicorn on a socket that all workers share, with what it lacks: a drain that loses nothing.

Drain (stock uvicorn loses 1 to 8 requests): from the first moment every reply carries `Connection: close`, while new connections are
still taken; after the grace the listener closes, with what already waits in its queue accepted first; requests in flight finish; idle
connections close last.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import uvicorn

from dragoman.asgi import App
from dragoman.http_protocol import HttpConfig, Protocol

_BACKLOG = 2048


class HttpServer:
    """One worker's HTTP server on the shared socket."""

    def __init__(self, app: App, sock: socket.socket, head_seconds: float = 20.0, keep_alive_seconds: float = 75.0) -> None:
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
            backlog=_BACKLOG,
        )
        config.head_seconds = head_seconds
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._config, self._socket = config, sock
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._server.on_tick(0)
        self._queue = self._socket.dup()  # the last hand on the accept queue when the listener closes
        self._queue.setblocking(False)
        await self._server.startup(sockets=[self._socket])
        self._ticking = asyncio.create_task(self._tick())

    def only_client(self) -> bool:
        return len(self._server.server_state.connections) == 1

    async def drain(self, grace_seconds: float, timeout_seconds: float) -> None:
        """Stop without losing a request; at most `grace_seconds` + `timeout_seconds`."""
        self.close_after_reply()
        await asyncio.sleep(grace_seconds)
        await self._close_listener()
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

    async def _close_listener(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self._server.servers:
            server.close()
        waiting: list[socket.socket] = []
        with contextlib.suppress(BlockingIOError):
            while len(waiting) < _BACKLOG:
                waiting.append(self._queue.accept()[0])
        self._queue.close()
        for sock in waiting:
            sock.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, sock)

    def _protocol(self) -> Protocol:
        return Protocol(config=self._config, server_state=self._server.server_state, app_state={})

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self._server.on_tick(0)
