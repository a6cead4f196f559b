"""HTTP/1.1 byte by byte, for what no client library would send."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def error(self) -> str:
        """The text of `{"error": "<text>"}`, which must be all that the body holds."""
        document = json.loads(self.body)
        assert set(document) == {"error"}
        assert isinstance(document["error"], str)
        return document["error"]


class Wire:
    """One connection to a server's REST port."""

    def __init__(self, base_url: str, seconds: float = 15.0, receive_bytes: int | None = None) -> None:
        parts = urlsplit(base_url)
        self._socket = socket.socket()
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(seconds)
        self._socket.connect((parts.hostname, parts.port))
        self._held = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, *parts: bytes) -> Wire:
        self._socket.sendall(b"".join(parts))
        return self

    def end(self) -> Wire:
        """No more will be sent; replies are still read."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self) -> Answer:
        """The next reply, whole."""
        while b"\r\n\r\n" not in self._held:
            self._more()
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        while len(self._held) < length:
            self._more()
        body, self._held = self._held[:length], self._held[length:]
        return Answer(int(status.split(" ")[1]), headers, body)

    def is_closed(self) -> bool:
        """Waits for the server to end the connection; whether it did so without another byte."""
        try:
            return self._held == b"" and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def trickle(self, piece: bytes, every: float, seconds: float) -> None:
        """Sends a piece again and again, until the server has had enough or the time is over."""
        until = time.monotonic() + seconds
        self._socket.settimeout(every)
        while time.monotonic() < until:
            try:
                self._socket.sendall(piece)
                self._held += self._socket.recv(1 << 16) or self._ended()
            except TimeoutError:
                continue
            except (ConnectionError, EOFError):
                break
            else:
                break
        self._socket.settimeout(15.0)

    def _ended(self) -> bytes:
        raise EOFError

    def _more(self) -> None:
        received = self._socket.recv(1 << 16)
        if not received:
            raise EOFError(f"the connection ended after {self._held!r}")
        self._held += received


def post(path: str, body: bytes, *headers: bytes, length: int | None = None, version: bytes = b"1.1") -> bytes:
    """A request as a client would write it, but for what is asked to be wrong."""
    said = b"Content-Length: %d" % (len(body) if length is None else length)
    return b"\r\n".join(
        [b"POST %s HTTP/%s" % (path.encode(), version), b"Host: test", b"Content-Type: application/json", said, *headers, b"", body]
    )
