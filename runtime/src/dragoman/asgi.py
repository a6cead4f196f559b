"""The few names of ASGI that the servers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TASK = "dragoman.task"  # in a request's scope: the task to cancel when its client leaves
BODY_ARRIVING = "dragoman.body_arriving"  # in a request's scope: its body was not whole when its handler started

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case
Respond = Callable[[int, Headers, bytes], None]  # status, headers, body: called once, now or later


class Direct(Protocol):
    """What answers requests that came whole without a task of their own: an ASGI task, its events and its messages cost more than a row."""

    def begin(self, headers: Headers, body: bytes, respond: Respond) -> Callable[[], Any] | None:
        """Answers the request; gives what drops it, should its client leave. None: it is not begun, and needs a task."""

    def admit(self, headers: Headers, length: int, respond: Respond) -> Admitted | None:
        """Lets in a request with a body of that length that has not all come. None: it is answered already, or needs a task."""


class Admitted(Protocol):
    """A request that waits for the rest of its body."""

    seconds: float  # within which it is to come

    def begin(self, body: bytes) -> Callable[[], Any]:
        """It is here whole: answers the request; gives what drops it, should its client leave."""

    def late(self, came: int) -> None:
        """It did not come within `seconds`, but so many bytes of it: says so to the client."""

    def drop(self) -> None:
        """The client has left."""


class HasDirect(Protocol):
    """An application, some of whose paths are answered directly."""

    def direct(self, method: bytes, url: bytes) -> Direct | None: ...
