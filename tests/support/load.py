"""A bounded load of keep-alive HTTP connections that knows, of each request, whether it was answered."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Tally:
    """What became of the requests. `failed` were sent and not answered whole; `refused` connections were never taken."""

    answered: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    refused: int = 0
    bodies: list[tuple[int, bytes]] = field(default_factory=list)  # (connection, body), where they are kept


class Load:
    """`connections` clients, each sending one request after the other until stopped, or refused.

    A client waits `pause_seconds` after each answer, and connects anew after `per_connection` answers.
    """

    def __init__(
        self,
        url: str,
        body: Callable[[int], bytes],
        connections: int,
        *,
        keep_bodies: bool = False,
        seconds: float = 60,
        pause_seconds: float = 0,
        per_connection: int = sys.maxsize,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self.host, self.port, self.path = parts.hostname, parts.port, parts.path
        self.body, self.connections, self.keep_bodies = body, connections, keep_bodies
        self.pause_seconds, self.per_connection = pause_seconds, per_connection
        self.tally = Tally()
        self._until = time.monotonic() + seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Tally:
        self._stop.set()
        self._thread.join(60)
        return self.tally

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(i) for i in range(self.connections)))

    async def _client(self, number: int) -> None:
        head = f"POST {self.path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: "
        while not self._done():
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                self.tally.refused += 1
                return
            try:
                for _ in range(self.per_connection):
                    if self._done():
                        break
                    body = self.body(number)
                    writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
                    if not await self._reply(reader, number):
                        break
                    if self.pause_seconds:
                        await asyncio.sleep(self.pause_seconds)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.tally.failed.append(f"{type(error).__name__}: {error}")
            finally:
                writer.close()

    async def _reply(self, reader: asyncio.StreamReader, number: int) -> bool:
        """Reads one reply; whether the connection stays."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length: ", 1)[1].split("\r\n", 1)[0])
        body = await reader.readexactly(length)
        status = int(head.split(" ", 2)[1])
        self.tally.answered += 1
        self.tally.statuses[status] = self.tally.statuses.get(status, 0) + 1
        if self.keep_bodies:
            self.tally.bodies.append((number, body))
        return "connection: close" not in head

    def _done(self) -> bool:
        return self._stop.is_set() or time.monotonic() > self._until


@contextmanager
def load(
    url: str,
    body: Callable[[int], bytes],
    connections: int = 8,
    *,
    keep_bodies: bool = False,
    seconds: float = 60,
    pause_seconds: float = 0,
    per_connection: int = sys.maxsize,
) -> Iterator[Load]:
    running = Load(
        url, body, connections, keep_bodies=keep_bodies, seconds=seconds, pause_seconds=pause_seconds, per_connection=per_connection
    )
    running.start()
    try:
        yield running
    finally:
        running.stop()
