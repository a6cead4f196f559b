"""Encoded replies kept until they expire: in a folder that all workers of a server share, or in memcached, which servers share."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Protocol

import msgspec

from dragoman.dialects.dialect import Reply, ReplyStore
from dragoman.memcached import memcached_at

_SWEEP_SECONDS = 5.0  # how long an expired file may still be there

logger = logging.getLogger("dragoman.kept")


class Store(Protocol):
    """Keys are 1 to 200 letters, digits, - and _. Raises `StoreUnavailable` where the store is not the server's own."""

    shared: bool  # whether what it holds outlives this server
    poll_seconds: float  # how often somebody who waits for a reply may look

    async def put(self, key: str, reply: Reply, seconds: float) -> None: ...

    async def get(self, key: str) -> Reply | None: ...


class Folder:
    """One file a reply, which appears whole: written aside and renamed. Its modification time is when it expires."""

    shared = False
    poll_seconds = 0.05

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._sweeping: asyncio.TimerHandle | None = None

    async def put(self, key: str, reply: Reply, seconds: float) -> None:
        """`OSError` where the disk is full."""
        aside = self._folder / f".{os.getpid()}-{key}"
        expires = time.time() + seconds
        try:
            aside.write_bytes(encoded(reply))
            os.utime(aside, (expires, expires))
            aside.replace(self._folder / key)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        if self._sweeping is None:
            self._sweep_later(seconds)

    async def get(self, key: str) -> Reply | None:
        path = self._folder / key
        try:
            if path.stat().st_mtime <= time.time():
                return None
            return decoded(path.read_bytes())
        except FileNotFoundError:
            return None

    def _sweep_later(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds + _SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Remove what has expired, whichever worker put it there; look again when the next does."""
        self._sweeping, now, left = None, time.time(), []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    expires = entry.stat().st_mtime
                    if expires > now:
                        left.append(expires - now)
                    elif not entry.name.startswith(".") or expires < now - _ASIDE_SECONDS:
                        Path(entry.path).unlink()
                except FileNotFoundError:  # another worker was quicker
                    continue
        if left:
            self._sweep_later(min(left))


_ASIDE_SECONDS = 60.0  # a file that was not renamed by then is of a worker that has died


class InMemcached:
    """For every server that shares it. Replies larger than it takes (1 MB, unless it was started otherwise) are `StoreUnavailable`."""

    shared = True
    poll_seconds = 0.25

    def __init__(self, servers: tuple[str, ...], timeout_seconds: float) -> None:
        self._servers = memcached_at(servers, timeout_seconds)

    async def put(self, key: str, reply: Reply, seconds: float) -> None:
        await self._servers.set(_PREFIX + key, encoded(reply), seconds)

    async def get(self, key: str) -> Reply | None:
        found = (await self._servers.get([_PREFIX + key])).get(_PREFIX + key)
        return None if found is None else decoded(found)


_PREFIX = "dragoman:kept:"


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A reply as it is stored."""

    status: int
    media_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def encoded(reply: Reply) -> bytes:
    return msgspec.msgpack.encode(_Kept(reply.status, reply.media_type, reply.headers, reply.body))


def decoded(stored: bytes) -> Reply:
    kept = msgspec.msgpack.decode(stored, type=_Kept)
    return Reply(kept.status, kept.body, kept.media_type, kept.headers)


class Stores:
    """The stores of one worker, each opened once. `folder` is what all workers of this server share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[ReplyStore, Store] = {}

    def of(self, wanted: ReplyStore) -> Store:
        found = self._open.get(wanted)
        if found is None:
            found = InMemcached(wanted.memcached, wanted.timeout_seconds) if wanted.memcached else Folder(self._folder)
            self._open[wanted] = found
        return found


async def awaited(store: Store, key: str, seconds: float) -> Reply | None:
    """The reply, waited for; None where it has not come within `seconds`."""
    due = time.monotonic() + seconds
    pause = store.poll_seconds / 10
    while True:
        reply = await store.get(key)
        remaining = due - time.monotonic()
        if reply is not None or remaining <= 0:
            return reply
        await asyncio.sleep(min(pause, remaining))
        pause = min(pause * 2, store.poll_seconds)
