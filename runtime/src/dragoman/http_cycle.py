"""One HTTP request on its connection, from its headers to its reply: through ASGI in a task of its own, or directly.

Replies are whole: their parts are collected, and written in one go. Whoever answers says their length.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dragoman.asgi import TASK, App, Headers, Message, Scope

HIGH_WATER_BYTES = 64 * 1024  # of a body that nobody has asked for yet: more waits in the kernel
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FAILED = b"Internal Server Error"
_FAILED_HEADERS = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_FAILED)), (b"connection", b"close"))

logger = logging.getLogger("dragoman.http")


class InvalidReply(Exception):
    """A reply that cannot be written: its headers would split it."""


class Connection(Protocol):
    """What a request needs of its connection."""

    def write_reply(self, cycle: Cycle, status: int, headers: Headers, body: bytes) -> None:
        """A whole reply in one write. Raises `InvalidReply`, and has written nothing then."""

    def write_interim(self, data: bytes) -> None: ...
    def pause_request(self) -> None: ...
    def resume_request(self) -> None: ...
    def abandon(self) -> None:
        """It cannot be answered any more: the connection closes."""

    async def writable(self) -> None:
        """Returns once the client has taken most of what was written to it, or has left."""


class Cycle:
    """What connections know of a request that is being answered."""

    disconnected = False  # the client has left: nothing can be sent any more
    response_complete = False
    keep_alive = True  # the connection stays after the reply
    more_body = False  # is to come

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def disconnect(self) -> None:
        """The client has left."""
        self.disconnected = True


class DirectCycle(Cycle):
    """A request that came whole and is answered without a task."""

    drop: Callable[[], Any] | None = None  # what is to be done should the client leave

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.response_complete = True
        if self.disconnected:
            return
        try:
            self.connection.write_reply(self, status, headers, body)
        except InvalidReply as error:
            logger.error("%s", error)  # noqa: TRY400  the message says all
            self.connection.abandon()

    def disconnect(self) -> None:
        super().disconnect()
        if self.drop is not None:
            self.drop()


class TaskCycle(Cycle):
    """A request that is answered by an ASGI application, in a task."""

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        super().__init__(connection)
        self.scope, self.keep_alive, self.more_body = scope, keep_alive, True
        self._expects_continue = expects_continue
        self._news = asyncio.Event()
        self._parts: list[bytes] = []  # of the body, not asked for yet
        self._waiting_bytes = 0
        self._start: Mapping[str, Any] | None = None
        self._reply: list[bytes] = []

    # --- the connection's side ---

    def feed(self, part: bytes) -> None:
        """More of the body."""
        if self.response_complete:
            return
        self._parts.append(part)
        self._waiting_bytes += len(part)
        if self._waiting_bytes > HIGH_WATER_BYTES:
            self.connection.pause_request()
        self._news.set()

    def end(self) -> None:
        """That was the body."""
        if not self.response_complete:
            self.more_body = False
            self._news.set()

    def give_up_reading(self) -> None:
        """Its reader is told that the client has left; what is sent is dropped."""
        self.disconnected = True
        self._news.set()

    def disconnect(self) -> None:
        self.give_up_reading()
        task = self.scope.get(TASK)
        if isinstance(task, asyncio.Task):
            task.cancel()

    async def run(self, app: App) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self.disconnected:
                raise
        except Exception:
            logger.exception("a handler failed: %s %s", self.scope["method"], self.scope["path"])
        if not self.response_complete and not self.disconnected:
            self.connection.write_reply(self, 500, _FAILED_HEADERS, _FAILED)

    # --- the application's side ---

    async def receive(self) -> Message:
        if self._expects_continue and not self.response_complete:
            self.connection.write_interim(_CONTINUE)
        self._expects_continue = False
        if not self.disconnected and not self.response_complete:
            self.connection.resume_request()
            await self._news.wait()
            self._news.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._parts, self._waiting_bytes = b"".join(self._parts), [], 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Raises `InvalidReply`."""
        await self.connection.writable()
        if self.disconnected:
            return
        if self.response_complete:
            raise InvalidReply("the reply was complete already")
        if message["type"] == "http.response.start":
            self._start = message
            self._expects_continue = False
            return
        self._reply.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        if self._start is None:
            raise InvalidReply("a reply's body came before its status")
        body = b"" if self.scope["method"] == "HEAD" else b"".join(self._reply)
        self.connection.write_reply(self, self._start["status"], self._start["headers"], body)
        self._news.set()
