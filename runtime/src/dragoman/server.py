"""The HTTP server: uvicorn on a socket that all workers share, with what it lacks: a drain that loses nothing, and bounds on slow clients.

Drain (stock uvicorn loses 1 to 8 requests): from the first moment every reply carries `Connection: close`, while new connections are
still taken; after the grace the listener closes, with what already waits in its queue accepted first; requests in flight finish; idle
connections close last.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dragoman.asgi import TASK, App

KEEP_ALIVE_SECONDS = 75.0  # longer than the 60 s of usual load balancers, so that they close first
HEAD_SECONDS = 20.0  # a request's headers must be whole by then
HEAD_BYTES = 64 * 1024
_BACKLOG = 2048


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the request's head bounded in time and size, and the handler cancelled when its client leaves."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        head_due = self.timeout_keep_alive_task if self._head_bytes else None
        if head_due is not None:
            self.timeout_keep_alive_task = None  # a head that has begun keeps its own due time, however it trickles
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_bytes = 0
            if head_due is not None:
                head_due.cancel()
        elif not self.transport.is_closing() and self.timeout_keep_alive_task is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("Request headers are too large.")
            elif head_due is not None:
                self.timeout_keep_alive_task = head_due
            else:
                self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        left = self.cycle is not None and not self.cycle.response_complete
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if left:
            task = self.cycle.scope.get(TASK)
            if isinstance(task, asyncio.Task):
                task.cancel()

    def _wait_for_head(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)


class HttpServer:
    """One worker's HTTP server on the shared socket."""

    def __init__(self, app: App, sock: socket.socket) -> None:
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,  # type: ignore[arg-type]
            backlog=_BACKLOG,
        )
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

    async def drain(self, grace_seconds: float, timeout_seconds: float) -> None:
        """Stop without losing a request; at most `grace_seconds` + `timeout_seconds`."""
        self.close_after_reply()
        await asyncio.sleep(grace_seconds)
        await self._close_listener()
        deadline = time.monotonic() + timeout_seconds
        state = self._server.server_state
        await asyncio.sleep(0.05)  # what was accepted last has its first bytes by now
        while any(_busy(c) for c in state.connections) and time.monotonic() < deadline:
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


def _busy(connection: Any) -> bool:
    """Whether a request is being answered, or has begun to arrive."""
    cycle = connection.cycle
    return (cycle is not None and not cycle.response_complete) or bool(getattr(connection, "_head_bytes", 0))
