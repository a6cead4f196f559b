"""What a location holds, as the storage says; and what is told while it comes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from dragoman.errors import UnsupportedFormat
from dragoman.storage.request import OnEvent, Progress, Warned

SETTLED_SECONDS = 2.0  # a time of change younger than this may be shared by a later change
_INTERVAL_SECONDS = 0.2
_AGAIN_SECONDS = 5.0


class Object(NamedTuple):
    """One file in storage. `version` changes when its bytes do; None when the storage tells too little."""

    name: str  # within the model
    key: str  # within the storage
    size: int
    version: str | None
    etag: str | None = None  # strong, quoted: for If-Match


class Listing(NamedTuple):
    """A model in storage: one file, or the files of a folder."""

    single: bool
    objects: tuple[Object, ...]

    @property
    def bytes(self) -> int:
        return sum(o.size for o in self.objects)

    @property
    def version(self) -> str | None:
        """Changes when any of it does; None when that cannot be told."""
        if any(o.version is None for o in self.objects):
            return None
        lines = "".join(f"{o.name}\n{o.size}\n{o.version}\n" for o in self.objects)
        return hashlib.sha256(f"{self.single}\n{lines}".encode()).hexdigest()


class Source(Protocol):
    """Where a model is read from. Its methods raise `ServeError`, `failures.Changed`, `failures.RangesIgnored`."""

    def listing(self) -> Listing: ...

    def copy(self, listing: Listing, into: Path) -> list[tuple[str, str]]:
        """Writes every file below `into`; gives each one's name and the hex digest of the bytes written."""


def place(into: Path, name: str, uri: str) -> Path:
    """Makes the empty file that a model's file goes to. Raises `UnsupportedFormat` where the disk cannot hold both it and another."""
    path = into / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except (FileExistsError, NotADirectoryError):
        raise UnsupportedFormat(f"{uri}: {name!r} is both a file and a folder, or differs from another only in case; rename one") from None
    return path


def settled(changed: float, now: float) -> bool:
    """Whether a time of change (seconds since the epoch) is old enough to tell one state of a file from the next."""
    return 0 < changed < now - SETTLED_SECONDS


class Report:
    """Tells of progress, a few times a second. `add` and `warn` may be called by any thread; events come from `flush`'s."""

    def __init__(self, on_event: OnEvent, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_event, self.clock = on_event, clock
        self.total_bytes: int | None = None
        self._bytes = 0
        self._told: tuple[int, int | None] | None = None
        self._told_at = float("-inf")
        self._warnings: deque[str] = deque()
        self._lock = threading.Lock()

    def begin(self, total_bytes: int | None) -> None:
        self.total_bytes, self._bytes = total_bytes, 0

    def add(self, count: int) -> None:
        with self._lock:
            self._bytes += count

    def warn(self, message: str) -> None:
        with self._lock:
            if not self._warnings or self._warnings[-1] != message:
                self._warnings.append(message)

    def flush_news(self) -> None:
        """As `flush`, by who only waits: the same numbers again would hide a stall."""
        if self._warnings or (self._bytes, self.total_bytes) != self._told:
            self.flush()

    def flush(self, *, final: bool = False) -> None:
        """Called by work that moves on: checking and unpacking tell the same numbers again, now and then, to show that it does."""
        while self._warnings:
            self.on_event(Warned(self._warnings.popleft()))
        now, state = self.clock(), (self._bytes, self.total_bytes)
        wait = _AGAIN_SECONDS if state == self._told else 0 if final else _INTERVAL_SECONDS
        if now - self._told_at >= wait:
            self._told, self._told_at = state, now
            self.on_event(Progress(*state))
