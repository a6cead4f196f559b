"""A load that does not wait for replies: requests are due by schedule, as those of many clients who know nothing of each other.

One thread, epoll and prebuilt bytes: the cheapest that Python has. A request's time counts from when it was due, so a server (or this
generator) that falls behind cannot make its own figures better; how late requests were sent is told beside them.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from bench.wrk import Question

_MAX_REPLY = 1 << 20
_GRACE_SECONDS = 10.0  # for replies that are still to come when the last request was due


@dataclass
class Offered:
    """What came of a load. Times are in seconds, from when a request was due to the last byte of its reply."""

    seconds: float  # during which requests were counted
    due: int
    unanswered: int = 0  # or not even sent, since every connection was waiting for a reply
    replies: dict[int, int] = field(default_factory=dict)  # that came in these seconds, by status
    times: dict[int, list[float]] = field(default_factory=dict)  # of those requests, by status
    late: list[float] = field(default_factory=list)  # how long after it was due each request was sent

    def per_second(self, status: int) -> float:
        return self.replies.get(status, 0) / self.seconds

    def quantile(self, status: int, share: float) -> float:
        """In milliseconds; NaN where no reply had the status."""
        return 1e3 * quantile(self.times.get(status, []), share)

    def add(self, other: Offered) -> None:
        self.seconds += other.seconds
        self.due += other.due
        self.unanswered += other.unanswered
        self.late += other.late
        for status, count in other.replies.items():
            self.replies[status] = self.replies.get(status, 0) + count
        for status, times in other.times.items():
            self.times.setdefault(status, []).extend(times)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def request_bytes(question: Question) -> bytes:
    lines = [f"POST {question.path} HTTP/1.1", "host: bench", *(f"{name}: {value}" for name, value in question.headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(question.body)}", "", ""]).encode() + question.body


def offer(port: int, request: bytes, rate: float, seconds: float, connections: int, settle: float = 1.0) -> Offered:
    """`rate` requests a second for so many seconds over so many kept connections; what was due in the first `settle` is not counted."""
    with _Connections(port, len(request), connections) as made:
        return _Schedule(rate, seconds, settle).drive(made, request)


class _Connections:
    """Kept open; one that the server closes is opened anew."""

    def __init__(self, port: int, request_size: int, count: int) -> None:
        self._port, self._buffer = port, 2 * request_size + 65536
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}
        self.idle: deque[int] = deque()
        for _ in range(count):
            self._open()

    def __enter__(self) -> _Connections:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()

    def send(self, request: bytes) -> int:
        """On an idle connection, which is told."""
        number = self.idle.popleft()
        if self._sockets[number].send(request) != len(request):
            raise SystemExit("a request did not fit into the socket's buffer: raise net.core.wmem_max, or offer smaller ones")
        return number

    def replies(self, pause: float) -> list[tuple[int, int]]:
        """(connection, status) of the replies that are whole now; a status of 0 stands for a connection that was closed without one."""
        found = []
        for number, _ in self._epoll.poll(pause):
            text = self._parts.pop(number, b"") + self._received(number)
            end = text.find(b"\r\n\r\n")
            head = text[:end].lower()
            if not text:
                found.append((number, 0))
                self._reopen(number)
            elif end < 0 or len(text) < end + 4 + _length(head):
                self._parts[number] = text
            else:
                found.append((number, int(text[9:12])))
                if b"connection: close" in head:
                    self._reopen(number)
                else:
                    self.idle.append(number)
        return found

    def _received(self, number: int) -> bytes:
        try:
            return self._sockets[number].recv(_MAX_REPLY)
        except ConnectionError:
            return b""

    def _reopen(self, number: int) -> None:
        self._epoll.unregister(number)
        self._sockets.pop(number).close()
        self._open()

    def _open(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer)
        sock.connect(("127.0.0.1", self._port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock, select.EPOLLIN)
        self.idle.append(sock.fileno())


@dataclass
class _Schedule:
    rate: float
    seconds: float
    settle: float

    def drive(self, made: _Connections, request: bytes) -> Offered:
        total, counted_from = int(self.rate * (self.seconds + self.settle)), int(self.rate * self.settle)
        found = Offered(self.seconds, total - counted_from)
        waiting: dict[int, float] = {}  # by connection: when its request was due
        clock, step, sent = time.perf_counter, 1 / self.rate, 0
        began = clock()
        counted, end = began + counted_from * step, began + total * step
        while (sent < total or waiting) and clock() < end + _GRACE_SECONDS:
            while sent < total and made.idle and (due := began + sent * step) <= clock():
                waiting[made.send(request)] = due
                sent += 1
                if sent > counted_from:
                    found.late.append(clock() - due)
            pause = max(0.0, began + sent * step - clock()) if sent < total and made.idle else 0.05
            for number, status in made.replies(pause if pause > 0.0005 else 0):
                due, now = waiting.pop(number, 0.0), clock()
                if due >= counted:
                    found.times.setdefault(status, []).append(now - due)
                if counted <= now < end:
                    found.replies[status] = found.replies.get(status, 0) + 1
        found.unanswered = found.due - sum(map(len, found.times.values()))
        return found


def _length(head: bytes) -> int:
    at = head.find(b"content-length: ") + 16
    end = head.find(b"\r", at)
    return int(head[at : end if end > 0 else len(head)])
