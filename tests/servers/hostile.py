"""An HTTP server that misbehaves as it is told: it speaks over raw sockets, since no proper server can be made to."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from tests.servers.behaviour import GOOD, Behaviour

HOST = "127.0.0.1"
CHUNK = 64 * 1024
IDLE_SECONDS = 60.0  # a connection on which nothing is asked for so long is closed

Content = bytes | Path
# one content, or successive ones: the first request for it sees the first, the next the second, …; the last one stays
Versions = Content | Sequence[Content]


@dataclass(frozen=True)
class Request:
    """What a client asked. Names of headers are in lower case."""

    method: str
    path: str  # decoded, without the leading slash and the query: a key of `files`
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class HostileServer:
    """A running server. `requests` grows as they arrive."""

    endpoint: str  # http://127.0.0.1:40001
    requests: list[Request] = field(default_factory=list)
    _resumed: threading.Event = field(default_factory=threading.Event)

    def uri(self, path: str = "") -> str:
        return f"{self.endpoint}/{path}"

    def count(self, method: str = "GET") -> int:
        """How many requests there were with this method."""
        return sum(request.method == method for request in tuple(self.requests))

    def resume(self) -> None:
        """Lets answers that stalled go on, and later ones not stall."""
        self._resumed.set()


@contextmanager
def hostile_http(
    files: Mapping[str, Versions], behaviour: Behaviour | Sequence[Behaviour] = GOOD, host: str = HOST
) -> Iterator[HostileServer]:
    """Serves `files` by path until the block ends, at an address of this machine.

    One behaviour is that of every answer; several are those of successive answers, after which all are good. A HEAD request
    neither shows nor uses up what shows only in a body. A path that is not in `files` is 404, and uses up nothing.
    """
    with socket.create_server((host, 0)) as listener:
        server = HostileServer(f"http://{host}:{listener.getsockname()[1]}")
        script = _Script(files, behaviour)
        connections: list[socket.socket] = []
        threads: list[threading.Thread] = []
        closing = threading.Event()

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                if closing.is_set():
                    connection.close()
                    return
                connection.settimeout(IDLE_SECONDS)
                connections.append(connection)
                thread = threading.Thread(target=_converse, args=(connection, server, script, closing), daemon=True)
                threads.append(thread)
                thread.start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield server
        finally:
            closing.set()
            server.resume()
            socket.create_connection(listener.getsockname()).close()  # wakes accept
            acceptor.join()
            for connection in connections:
                with suppress(OSError):  # it may be closed already
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


class _Script:
    """Which content and which behaviour the next request meets."""

    def __init__(self, files: Mapping[str, Versions], behaviour: Behaviour | Sequence[Behaviour]) -> None:
        self._versions = {path: [held] if isinstance(held, bytes | Path) else list(held) for path, held in files.items()}
        self._after, self._next = (behaviour, []) if isinstance(behaviour, Behaviour) else (GOOD, list(behaviour))
        self._lock = threading.Lock()

    def meets(self, request: Request) -> tuple[Content, Behaviour] | None:
        """None: there is no such path."""
        with self._lock:
            versions = self._versions.get(request.path)
            if versions is None:
                return None
            content = versions.pop(0) if len(versions) > 1 else versions[0]
            behaviour = self._next[0] if self._next else self._after
            if request.method == "HEAD" and behaviour.in_the_body:
                return content, GOOD
            if self._next:
                self._next.pop(0)
            return content, behaviour


def _converse(connection: socket.socket, server: HostileServer, script: _Script, closing: threading.Event) -> None:
    """Answers the requests of one connection, one after the other."""
    with connection, connection.makefile("rb") as incoming, suppress(OSError):  # a client that leaves is no error here
        while not closing.is_set() and (request := _read_request(incoming)):
            server.requests.append(request)
            met = script.meets(request) if request.method in ("GET", "HEAD") else None
            if met is None:
                status = 404 if request.method in ("GET", "HEAD") else 405
                reply = _Reply(status, {}, b"no such thing\n", 0, 14, GOOD)
            else:
                reply = _reply(request, *met)
            if not _send(connection, request, reply, server):
                return
            if closing.is_set() or request.headers.get("connection", "").lower() == "close" or request.method not in ("GET", "HEAD"):
                connection.shutdown(socket.SHUT_RDWR)
                return


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    content: Content
    start: int
    stop: int
    behaviour: Behaviour


def _read_request(incoming: BinaryIO) -> Request | None:
    line = incoming.readline(65536).decode("latin-1").split()
    if len(line) != 3:
        return None
    headers = {name.lower(): value for name, value in http.client.parse_headers(incoming).items()}
    target = urlsplit(line[1])
    return Request(line[0], unquote(target.path).lstrip("/"), target.query, headers)


def _reply(request: Request, content: Content, behaviour: Behaviour) -> _Reply:
    """What is answered to a request that meets this content and this behaviour."""
    if behaviour.status is not None:
        said = f"{behaviour.status} {http.client.responses.get(behaviour.status, '')}\n".encode()
        return _Reply(behaviour.status, behaviour.headers, said, 0, len(said), behaviour)
    size, tag = _size(content), etag(content)
    headers = {
        "ETag": tag,
        "Last-Modified": formatdate(0, usegmt=True),
        "Accept-Ranges": "bytes" if behaviour.ranges else "none",
        "Content-Type": "application/octet-stream",
        **behaviour.headers,
    }
    # RFC 9110, 13.2.2: preconditions come before the range
    if request.headers.get("if-match", tag) not in (tag, "*"):
        return _Reply(412, headers, b"", 0, 0, GOOD)
    if request.headers.get("if-none-match") in (tag, "*"):
        return _Reply(304, headers, b"", 0, 0, GOOD)
    asked = request.headers.get("range")
    if asked is None or not behaviour.ranges or request.headers.get("if-range", tag) != tag:
        return _Reply(200, headers, content, 0, size, behaviour)
    part = _range(asked, size)
    if part is None:
        return _Reply(416, headers | {"Content-Range": f"bytes */{size}"}, b"", 0, 0, GOOD)
    start, stop = part
    return _Reply(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, content, start, stop, behaviour)


def etag(content: Content) -> str:
    """The ETag that the server gives to a content."""
    if isinstance(content, Path):
        stat = content.stat()
        return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """Start and stop of one range (RFC 9110, 14.1.2); None when it cannot be met, or is several."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    stop = min(int(last) + 1, size) if last else size
    return (int(first), stop) if int(first) < stop else None


def _send(connection: socket.socket, request: Request, reply: _Reply, server: HostileServer) -> bool:
    """Sends a reply as its behaviour has it. False: the connection cannot be used again."""
    length = reply.stop - reply.start
    behaviour = reply.behaviour
    lie = 0 if request.method == "HEAD" else behaviour.length_error
    head = [f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, '')}", f"Content-Length: {max(0, length + lie)}"]
    head += [f"{name}: {value}" for name, value in reply.headers.items()]
    connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
    if request.method == "HEAD":
        return True
    sent = length if behaviour.sends is None else min(length, behaviour.sends)
    for chunk in _chunks(reply.content, reply.start, reply.start + sent):
        connection.sendall(chunk)
    if behaviour.sends is not None and sent < length:
        if behaviour.then == "stall":
            server._resumed.wait()
            for chunk in _chunks(reply.content, reply.start + sent, reply.stop):
                connection.sendall(chunk)
            return True
        if behaviour.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close then sends RST
            return False
    if lie or sent < length:
        connection.shutdown(socket.SHUT_RDWR)
        return False
    return True


def _chunks(content: Content, start: int, stop: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield from (content[at : min(at + CHUNK, stop)] for at in range(start, stop, CHUNK))
        return
    with content.open("rb") as file:
        file.seek(start)
        for at in range(start, stop, CHUNK):
            yield file.read(min(CHUNK, stop - at))
