"""A request on its connection, as far as uvicorn's protocol knows one: what stands for its own cycle, flow and transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from dragoman.asgi import Headers


class Connection(Protocol):
    """What these know of their connection."""

    transport: asyncio.Transport
    cycle: Any
    pipeline: Any

    def write_reply(self, status: int, headers: Headers, body: bytes, *, keep_alive: bool) -> None: ...
    def leave(self) -> None: ...


class DirectCycle:
    """A request that is answered directly: without a task, and by one reply."""

    more_body = disconnected = response_started = response_complete = False
    keep_alive = True
    scope: Mapping[str, Any] = {}
    message_event = asyncio.Event()  # nobody waits for it

    def __init__(self, connection: Connection, *, more_body: bool = False) -> None:
        self._connection = connection
        self.more_body = more_body  # is to come
        self.on_drop: Callable[[], Any] | None = None  # called once, unless there was a reply

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.response_started = self.response_complete = True
        self.on_drop = None
        if not self.disconnected:
            self._connection.write_reply(status, headers, body, keep_alive=self.keep_alive)

    def drop(self) -> None:
        """Nobody waits for the reply any more."""
        self.disconnected = True
        on_drop, self.on_drop = self.on_drop, None
        if on_drop is not None:
            on_drop()


class Flow(FlowControl):
    """Reads on only while no request waits for another's reply: that of a client which pipelines without end waits in the kernel."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.pipeline:
            super().resume_reading()


class Lingering:
    """The transport of a request whose body has not all come: closing it lets the client read its reply first."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, written: bytes) -> None:
        self._connection.transport.write(written)

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()

    def close(self) -> None:
        if self._connection.cycle.more_body:
            self._connection.leave()
        else:
            self._connection.transport.close()
