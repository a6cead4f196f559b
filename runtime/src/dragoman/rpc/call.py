"""One gRPC call on a stream of HTTP/2: messages in, messages out, and how it ends.

The protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dragoman.body import BodyLimit, decoded
from dragoman.dialects.dialect import Request
from dragoman.errors import BadRequest, CallError, RequestTimeout, TooLarge
from dragoman.exchange import CLIENT_LEFT, Worker, request_id
from dragoman.http2.fields import block_of
from dragoman.http2.frames import Code
from dragoman.http2.stream import Stream
from dragoman.rpc.status import Status, status_of, trailers

_ENCODINGS = ("identity", "deflate", "gzip")
_SMALL = BodyLimit(4096, "the limit of this method")
_PREFIX_BYTES = 5  # of a message: whether it is compressed, and its length
_WAITING_BYTES = 1024 * 1024  # of the replies of a stream that its client does not take: with more of them the call ends
_HEAD = b"\x88" + block_of(("content-type", "application/grpc"), ("grpc-accept-encoding", ",".join(_ENCODINGS)))  # 0x88: `:status: 200`
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

Drop = Callable[[], Any] | None  # what is done where nobody wants the answer any more; None: it is given


@dataclass(frozen=True, slots=True)
class Method:
    """One that takes one message has `act`; one that takes a stream of them `converse`, which is told each, and then None."""

    act: Callable[[Call, bytes], Drop] | None = None
    converse: Callable[[Call, bytes | None], None] | None = None
    dialect: str = ""  # under whose name its calls are counted
    limit: BodyLimit = _SMALL  # of one message
    timeout_seconds: float = 60.0  # in which the one message has to be whole
    is_stream: bool = False  # it has no end of its own: nobody waits for it to end
    before: Callable[[Request], None] | None = None  # asked before any message; raises what keeps the call out


@dataclass(frozen=True, slots=True)
class Asked:
    """What the header fields of a call say. Where there is no method, `refused` is the whole reply, as a header block."""

    path: str
    headers: Mapping[str, str]
    method: Method | None = None
    timeout_seconds: float = math.inf  # the client's own
    encoding: str = "identity"
    refused: bytes = b""


def asked_of(fields: Mapping[str, str], methods: Mapping[str, Method]) -> Asked:
    path = fields[":path"]
    headers = {name: value for name, value in fields.items() if not name.startswith(":")}
    if fields[":method"] != "POST":
        return Asked(path, headers, refused=block_of((":status", "405"), ("allow", "POST")))
    if not re.match(r"application/grpc($|[+;])", headers.get("content-type", "")):
        return Asked(path, headers, refused=block_of((":status", "415")))
    method = methods.get(path)
    if method is None:
        return Asked(path, headers, refused=_HEAD + trailers(Status.UNIMPLEMENTED, f"there is no method {path} here"))
    encoding = headers.get("grpc-encoding", "identity")
    if encoding not in _ENCODINGS:
        return Asked(path, headers, refused=_HEAD + trailers(Status.UNIMPLEMENTED, f"messages cannot be compressed by {encoding!r} here"))
    timeout = math.inf
    if "grpc-timeout" in headers:
        found = _TIMEOUT.fullmatch(headers["grpc-timeout"])
        if found is None:
            message = f"grpc-timeout is {headers['grpc-timeout']!r}: at most 8 digits and a unit are expected"
            return Asked(path, headers, refused=_HEAD + trailers(Status.INVALID_ARGUMENT, message))
        timeout = int(found[1]) * _SECONDS[found[2]]
    return Asked(path, headers, method, timeout, encoding)


class Call:
    """Tells a method what has come whole, and the client what the method answers."""

    __slots__ = (
        "_asked",
        "_begun",
        "_drop",
        "_held",
        "_method",
        "_received",
        "_replied",
        "_stream",
        "_timer",
        "_worker",
        "request",
        "started",
    )

    def __init__(self, stream: Stream, asked: Asked, method: Method, worker: Worker) -> None:
        self._stream, self._asked, self._method, self._worker = stream, asked, method, worker
        self.started = time.monotonic()
        self.request = Request("POST", asked.path, asked.headers, b"", request_id=request_id(asked.headers), started=self.started)
        self._received = bytearray()  # of what has not come whole
        self._held = 0  # bytes of it that are counted in
        self._begun = self._replied = False
        self._drop: Drop = None
        self._timer: asyncio.TimerHandle | None = None
        if method.before is not None:
            try:
                method.before(self.request)
            except CallError as error:
                self.refuse(error)

    @property
    def timeout_seconds(self) -> float:
        """The client's own; infinite where it has none."""
        return self._asked.timeout_seconds

    @property
    def is_stream(self) -> bool:
        """It has no end of its own."""
        return self._method.is_stream

    # --- what the stream tells ---

    def data(self, part: bytes, ended: bool) -> None:
        try:
            if self._method.converse is not None:
                self._take_each(self._method.converse, part, ended)
            elif ended:
                self._act(part)
            else:
                self._keep(part)
        except CallError as error:
            self.refuse(error)

    def left(self) -> None:
        self._clear()
        if self._drop is not None:
            self._drop()
        elif not self._begun:
            self._worker.observe("", self._method.dialect, CLIENT_LEFT, self.started, self.request)

    def _act(self, last: bytes) -> None:
        """The one message is here. Raises a `CallError`."""
        if self._received:
            last = b"".join((self._received, last))
            self._clear()
        elif self._timer is not None:
            self._timer.cancel()
        end = self._end_of_first(last)
        if end is None or len(last) < end:
            raise BadRequest("the message is cut short" if last else "the method takes one message, and there is none")
        if len(last) > end:
            raise BadRequest("the method takes one message, and there are more")
        assert self._method.act is not None
        message = self._message(last, end)
        self._begun = True
        drop = self._method.act(self, message)
        if not self._stream.ended:
            self._drop = drop

    def _keep(self, part: bytes) -> None:
        """Until the rest is here. Raises a `CallError`."""
        self._received += part
        end = self._end_of_first(self._received)
        if end is not None and len(self._received) > end:
            raise BadRequest("the method takes one message, and there are more")
        self._hold()
        if self._timer is None:
            due = min(self._method.timeout_seconds, self.timeout_seconds)
            self._timer = asyncio.get_running_loop().call_later(due, self._is_late)

    def _take_each(self, converse: Callable[[Call, bytes | None], None], part: bytes, ended: bool) -> None:
        """Raises a `CallError`."""
        received = self._received
        received += part
        self._begun = True
        while (end := self._end_of_first(received)) is not None and len(received) >= end:
            message = self._message(received, end)
            del received[:end]
            converse(self, message)
            if self._stream.ended:
                return
        if ended and received:
            raise BadRequest("the last message is cut short")
        self._hold()
        if ended:
            converse(self, None)

    def _end_of_first(self, received: bytes | bytearray) -> int | None:
        """Where the first message ends; None: that has not come yet. Raises `TooLarge`."""
        if len(received) < _PREFIX_BYTES:
            return None
        size, limit = int.from_bytes(received[1:_PREFIX_BYTES], "big"), self._method.limit
        if size > limit.bytes:
            raise TooLarge(f"the message is larger than {limit.bytes} bytes ({limit.said_by}): {size} bytes were announced")
        return _PREFIX_BYTES + size

    def _message(self, received: bytes | bytearray, end: int) -> bytes:
        message = bytes(received[_PREFIX_BYTES:end])
        if not received[0]:
            return message
        if self._asked.encoding == "identity":
            raise BadRequest("the message is said to be compressed, and there is no grpc-encoding")
        return decoded(message, {"content-encoding": self._asked.encoding}, self._method.limit)

    def _is_late(self) -> None:
        self.refuse(RequestTimeout(f"the request did not arrive in time: {len(self._received)} bytes came before the deadline"))

    # --- how much is held ---

    def _hold(self) -> None:
        """Counts in what waits for the rest. Raises `Overloaded`."""
        size = len(self._received)
        if size < self._held:
            self._worker.admission.release(self._held - size)
        else:
            self._worker.admission.hold(size - self._held)
        self._held = size

    def _clear(self) -> None:
        self._worker.admission.release(self._held)
        self._held = 0
        self._received = bytearray()
        if self._timer is not None:
            self._timer.cancel()

    # --- what the method answers ---

    def reply(self, message: bytes) -> None:
        """One of several messages."""
        if not self._replied:
            self._replied = True
            self._stream.head(_HEAD)
        self._stream.data(_prefixed(message))
        if len(self._stream.body) > _WAITING_BYTES:
            self._stream.reset(Code.ENHANCE_YOUR_CALM)

    def answer(self, message: bytes) -> None:
        """The only message, and the end."""
        self._stream.whole(_HEAD, _prefixed(message), trailers(Status.OK, request_id=self.request.request_id))

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        if self._held or self._timer is not None:
            self._clear()
        block = trailers(status, message, self.request.request_id)
        self._stream.tail(block if self._replied else _HEAD + block)

    def fail(self, error: CallError) -> None:
        self.end(status_of(error), error.message)

    def refuse(self, error: CallError) -> None:
        """It never came to what its method does; counted as such."""
        self._worker.note(error, self.request, entered=False)
        self._worker.observe("", self._method.dialect, error.status, self.started, self.request)
        self.fail(error)


def _prefixed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message
