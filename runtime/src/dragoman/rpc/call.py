"""One gRPC call on a stream of HTTP/2: messages in, messages out, and how it ends.

The protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dragoman.body import BodyLimit, decoded
from dragoman.dialects.dialect import Request
from dragoman.errors import BadRequest, CallError, RequestTimeout, TooLarge
from dragoman.exchange import Worker, request_id
from dragoman.http2.fields import block_of
from dragoman.http2.stream import Receiver, Stream
from dragoman.rpc.status import Status, status_of, trailers

ENCODINGS = ("identity", "deflate", "gzip")
_SMALL = BodyLimit(64 * 1024, "the limit of this method")
_PREFIX_BYTES = 5  # of a message: whether it is compressed, and its length
_HEAD = b"\x88" + block_of(("content-type", "application/grpc"), ("grpc-accept-encoding", ",".join(ENCODINGS)))  # 0x88: `:status: 200`
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Behaviour(Protocol):
    """What a method does with the messages of one call; each may answer by the call's `reply` and `end`."""

    def message(self, sent: bytes) -> None: ...

    def whole(self) -> None:
        """The client sends no more."""

    def left(self) -> None:
        """The client is gone, or wants no answer any more."""


@dataclass(frozen=True, slots=True)
class Method:
    begin: Callable[[Call], Behaviour]
    dialect: str = ""  # under whose name its calls are counted
    limit: BodyLimit = _SMALL  # of one message
    timeout_seconds: float | None = 60.0  # in which the request has to be whole; None: it is a stream, and may go on for ever
    before: Callable[[Request], None] | None = None  # asked before any message; raises what keeps the call out


@dataclass(frozen=True, slots=True)
class Asked:
    """What the header fields of a call say. Where there is no method, `refused` is the whole reply, as a header block."""

    path: str
    headers: Mapping[str, str]
    method: Method | None = None
    timeout_seconds: float | None = None
    encoding: str = "identity"
    refused: bytes = b""


def asked(fields: Mapping[str, str], methods: Mapping[str, Method]) -> Asked:
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
    if encoding not in ENCODINGS:
        return Asked(path, headers, refused=_HEAD + trailers(Status.UNIMPLEMENTED, f"messages cannot be compressed by {encoding!r} here"))
    timeout = None
    if "grpc-timeout" in headers:
        found = _TIMEOUT.fullmatch(headers["grpc-timeout"])
        if found is None:
            message = f"grpc-timeout is {headers['grpc-timeout']!r}: at most 8 digits and a unit are expected"
            return Asked(path, headers, refused=_HEAD + trailers(Status.INVALID_ARGUMENT, message))
        timeout = int(found[1]) * _SECONDS[found[2]]
    return Asked(path, headers, method, timeout, encoding)


class Refused:
    """The receiver of a request that its header fields were enough to answer."""

    def data(self, part: bytes, ended: bool) -> None:
        pass

    def left(self) -> None:
        pass


class Call:
    """What came whole is told to a method's behaviour; what it answers goes out."""

    __slots__ = (
        "_asked",
        "_behaviour",
        "_held",
        "_method",
        "_parts",
        "_replied",
        "_size",
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
        self._parts: list[bytes] = []  # of a message that has not come whole
        self._size = self._held = 0
        self._replied = False
        self._timer: asyncio.TimerHandle | None = None
        self._behaviour = method.begin(self)
        if method.before is not None:
            try:
                method.before(self.request)
            except CallError as error:
                self.refuse(error)

    @property
    def timeout_seconds(self) -> float:
        """The client's own; infinite where it has none."""
        return self._asked.timeout_seconds if self._asked.timeout_seconds is not None else float("inf")

    @property
    def is_stream(self) -> bool:
        """It has no end of its own."""
        return self._method.timeout_seconds is None

    # --- what the stream tells ---

    def data(self, part: bytes, ended: bool) -> None:
        try:
            if part:
                self._take(part)
            if ended:
                if self._parts:
                    raise BadRequest("the last message is cut short")
                if self._timer is not None:
                    self._timer.cancel()
                if not self._stream.ended:
                    self._behaviour.whole()
            elif self._timer is None and self._method.timeout_seconds is not None and not self._stream.ended:
                due = min(self._method.timeout_seconds, self.timeout_seconds)
                self._timer = asyncio.get_running_loop().call_later(due, self._is_late)
        except CallError as error:
            self.refuse(error)

    def left(self) -> None:
        self._clear()
        self._behaviour.left()

    def _take(self, part: bytes) -> None:
        """Raises a `CallError`."""
        parts = self._parts
        if parts:
            parts.append(part)
            self._size += len(part)
            if self._size < self._wanted(parts):
                self._hold()
                return
            part = b"".join(parts)
            parts.clear()
            self._size = 0
        while len(part) >= _PREFIX_BYTES:
            size = int.from_bytes(part[1:_PREFIX_BYTES], "big")
            if size > self._method.limit.bytes:
                limit = self._method.limit
                raise TooLarge(f"the message is larger than {limit.bytes} bytes ({limit.said_by}): {size} bytes were announced")
            end = _PREFIX_BYTES + size
            if len(part) < end:
                break
            if self._held:
                self._release()
            message = part[_PREFIX_BYTES:end]
            self._behaviour.message(self._decompressed(message) if part[0] else message)
            if self._stream.ended:
                return
            part = part[end:]
        if part:
            parts.append(part)
            self._size = len(part)
            self._hold()

    @staticmethod
    def _wanted(parts: list[bytes]) -> int:
        """How many bytes there have to be before it is worth while to look at them again."""
        first = parts[0]
        return _PREFIX_BYTES + int.from_bytes(first[1:_PREFIX_BYTES], "big") if len(first) >= _PREFIX_BYTES else 0

    def _decompressed(self, message: bytes) -> bytes:
        if self._asked.encoding == "identity":
            raise BadRequest("the message is said to be compressed, and there is no grpc-encoding")
        return decoded(message, {"content-encoding": self._asked.encoding}, self._method.limit)

    def _is_late(self) -> None:
        self.refuse(RequestTimeout(f"the request did not arrive in time: {self._size} bytes came before the deadline"))

    # --- how much is held ---

    def _hold(self) -> None:
        """Of what is here and makes no message yet. Raises `Overloaded`."""
        self._worker.admission.hold(self._size - self._held)
        self._held = self._size

    def _release(self) -> None:
        self._worker.admission.release(self._held)
        self._held = 0

    def _clear(self) -> None:
        self._release()
        self._parts.clear()
        if self._timer is not None:
            self._timer.cancel()

    # --- what the behaviour answers ---

    def reply(self, message: bytes) -> None:
        """One of several messages."""
        if not self._replied:
            self._replied = True
            self._stream.head(_HEAD)
        self._stream.data(_prefixed(message))

    def answer(self, message: bytes) -> None:
        """The only message, and the end."""
        self._stream.whole(_HEAD, _prefixed(message), trailers(Status.OK, request_id=self.request.request_id))

    def end(self, status: Status = Status.OK, message: str = "") -> None:
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


def refuse(stream: Stream, block: bytes) -> Receiver:
    stream.tail(block)
    return Refused()


def _prefixed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message
