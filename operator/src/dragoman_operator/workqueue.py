"""Keys waiting to be reconciled: each once, changes before resyncs, later ones by time, with back-off after errors.

A key that is added while it is being worked on waits until that is done.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from enum import IntEnum

from dragoman_operator.objects import Key

_BACK_OFF = (0.5, 60.0)  # seconds: after the first error, and at most


class Urgency(IntEnum):
    CHANGE = 0  # somebody, or the cluster, changed something
    RESYNC = 1  # nothing is known to have changed


class Backlog:
    """The rules alone; `now` is passed in, in seconds."""

    def __init__(self) -> None:
        self._ready: tuple[dict[Key, None], dict[Key, None]] = ({}, {})  # by urgency; a dict keeps their order
        self._later: list[tuple[float, Key]] = []  # a heap; an entry counts only if `_due` says the same
        self._due: dict[Key, tuple[float, Urgency]] = {}
        self._working: dict[Key, float] = {}  # since when
        self._again: dict[Key, Urgency] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key, urgency: Urgency, now: float, after: float = 0.0) -> None:
        """`after` seconds from `now`, or when it is due already, if that is sooner."""
        if after > 0:
            self._add_later(key, urgency, now + after)
        elif key in self._working:
            self._again[key] = min(urgency, self._again.get(key, urgency))
        elif key not in self._ready[Urgency.CHANGE]:
            self._ready[Urgency.RESYNC].pop(key, None)
            self._ready[urgency][key] = None

    def take(self, now: float) -> Key | None:
        """The next key to work on; None when none is due."""
        self._ripen(now)
        for waiting in self._ready:
            if waiting:
                key = next(iter(waiting))
                del waiting[key]
                self._working[key] = now
                return key
        return None

    def done(self, key: Key, now: float) -> None:
        self._working.pop(key, None)
        urgency = self._again.pop(key, None)
        if urgency is not None:
            self.add(key, urgency, now)

    def failed(self, key: Key) -> float:
        """How many seconds to wait before the next try: doubled with each failure in a row."""
        first, longest = _BACK_OFF
        count = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(longest, first * 2 ** min(count - 1, 20)))

    def succeeded(self, key: Key) -> None:
        self._failures.pop(key, None)

    def forget(self, key: Key) -> None:
        """A key that is no more: nothing is due for it."""
        self._failures.pop(key, None)
        self._due.pop(key, None)

    def next_due(self) -> float | None:
        """When to look again, if nothing is added before."""
        return self._later[0][0] if self._later else None

    def oldest(self) -> float | None:
        """Since when the longest-running work runs."""
        return min(self._working.values(), default=None)

    def __len__(self) -> int:
        """Keys that wait for nothing but a worker."""
        return sum(map(len, self._ready))

    def _add_later(self, key: Key, urgency: Urgency, due: float) -> None:
        held, held_urgency = self._due.get(key, (float("inf"), Urgency.RESYNC))
        self._due[key] = (min(due, held), min(urgency, held_urgency))
        if due < held:
            heapq.heappush(self._later, (due, key))

    def _ripen(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            due, key = heapq.heappop(self._later)
            if self._due.get(key, (None,))[0] == due:
                _, urgency = self._due.pop(key)
                self.add(key, urgency, now)


class WorkQueue:
    """A `Backlog` on a clock, with one consumer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._backlog, self._clock = Backlog(), clock
        self._changed = asyncio.Event()

    def add(self, key: Key, urgency: Urgency = Urgency.CHANGE, after: float = 0.0) -> None:
        self._backlog.add(key, urgency, self._clock(), after)
        self._changed.set()

    async def take(self) -> Key:
        while (key := self._backlog.take(self._clock())) is None:
            self._changed.clear()
            due = self._backlog.next_due()
            pause = None if due is None else max(0.0, due - self._clock())
            try:
                await asyncio.wait_for(self._changed.wait(), pause)
            except TimeoutError:
                continue
        return key

    def done(self, key: Key) -> None:
        self._backlog.done(key, self._clock())
        self._changed.set()

    def succeeded(self, key: Key) -> None:
        self._backlog.succeeded(key)

    def retry(self, key: Key) -> float:
        """After an error: the seconds until it is tried again."""
        pause = self._backlog.failed(key) * random.uniform(0.8, 1.2)
        self.add(key, Urgency.RESYNC, after=pause)
        return pause

    def forget(self, key: Key) -> None:
        self._backlog.forget(key)

    def working_seconds(self) -> float:
        """How long the longest-running reconcile has run."""
        oldest = self._backlog.oldest()
        return 0.0 if oldest is None else self._clock() - oldest

    def __len__(self) -> int:
        return len(self._backlog)
