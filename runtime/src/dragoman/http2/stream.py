"""One stream of a connection: a request, and its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dragoman.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, Code, frame

if TYPE_CHECKING:
    from dragoman.http2.connection import Connection


class Receiver(Protocol):
    """What is told of a request as it comes."""

    def data(self, part: bytes, ended: bool) -> None: ...

    def left(self) -> None:
        """The client takes it back, or is gone: nothing of the reply is heard any more."""


class Stream:
    """A request is answered by `whole`; or by `head`, any number of `data`, and `tail`. After the end each does nothing."""

    __slots__ = ("_connection", "body", "ended", "id", "receiver", "request_ended", "taken", "trailers", "window")

    def __init__(self, connection: Connection, identity: int, window: int) -> None:
        self.id = identity
        self.window = window  # bytes that the client still takes
        self.taken = 0  # bytes of the request that the client was not told yet that it may send again
        self.request_ended = self.ended = False
        self.receiver: Receiver | None = None
        self.body = bytearray()  # of the reply, that waits for a window
        self.trailers: bytes | None = None  # what ends the reply, and waits with it
        self._connection = connection

    def whole(self, head: bytes, body: bytes, tail: bytes) -> None:
        """The whole reply: two header blocks with what is between them."""
        if self.ended:
            return
        connection, size = self._connection, len(body)
        if size <= self.window and size <= connection.window and size <= connection.max_frame:
            self.window -= size
            connection.window -= size
            connection.end(
                self,
                b"".join(
                    (
                        frame(HEADERS, END_HEADERS, self.id, head),
                        frame(DATA, 0, self.id, body),
                        frame(HEADERS, END_HEADERS | END_STREAM, self.id, tail),
                    )
                ),
            )
        else:
            self.head(head)
            self.data(body)
            self.tail(tail)

    def head(self, block: bytes) -> None:
        if not self.ended:
            self._connection.send(frame(HEADERS, END_HEADERS, self.id, block))

    def data(self, part: bytes) -> None:
        if not self.ended:
            self.body += part
            self._connection.send_body(self)

    def tail(self, block: bytes) -> None:
        """The end of the reply. Where nothing was sent before, it is the whole of it."""
        if self.ended:
            return
        if self.body:
            self.trailers = block
        else:
            self._connection.end(self, frame(HEADERS, END_HEADERS | END_STREAM, self.id, block))

    def reset(self, code: Code) -> None:
        if not self.ended:
            self._connection.reset(self, code)
