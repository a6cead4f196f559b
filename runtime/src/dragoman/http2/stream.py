"""One stream of a session: a request, and its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dragoman.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, Code, frame

if TYPE_CHECKING:
    from dragoman.http2.session import Session


class Receiver(Protocol):
    """What is told of a request as it comes."""

    def data(self, part: bytes, ended: bool) -> None: ...

    def left(self) -> None:
        """The client takes it back, or is gone: nothing of the reply is heard any more."""


class Stream:
    """A request is answered by `whole`; or by `head`, any number of `data`, and `tail`. After the end each does nothing."""

    __slots__ = ("__weakref__", "_session", "body", "ended", "expected", "id", "receiver", "request_ended", "taken", "trailers", "window")

    def __init__(self, session: Session, identity: int, window: int) -> None:
        self.id = identity
        self.window = window  # bytes that the client still takes
        self.taken = 0  # bytes of the request that the client was not told yet that it may send again
        self.expected = -1  # bytes of the request that are to come, where its fields say
        self.request_ended = self.ended = False
        self.receiver: Receiver | None = None
        self.body = bytearray()  # of the reply, that waits for a window
        self.trailers: bytes | None = None  # what ends the reply, and waits with it
        self._session = session

    def whole(self, head: bytes, body: bytes, tail: bytes) -> None:
        """The whole reply: two header blocks with what is between them."""
        if self.ended:
            return
        sending, size = self._session.sending, len(body)
        if size <= self.window and size <= sending.window and size <= sending.max_frame:
            self.window -= size
            sending.window -= size
            self._session.end(
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
            self._session.sending.send(frame(HEADERS, END_HEADERS, self.id, block))

    def data(self, part: bytes) -> None:
        if not self.ended:
            self.body += part
            self._session.sending.held += len(part)
            self._session.sending.body(self)

    def tail(self, block: bytes) -> None:
        """The end of the reply. Where nothing was sent before, it is the whole of it."""
        if self.ended:
            return
        if self.body:
            self.trailers = block
        else:
            self._session.end(self, frame(HEADERS, END_HEADERS | END_STREAM, self.id, block))

    def reset(self, code: Code) -> None:
        if not self.ended:
            self._session.reset(self, code)
