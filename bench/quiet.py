"""Time: how long a run may take, and when the machine is its own."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD_SECONDS = 70


class TimeUp(Exception):
    """The run has taken as long as it may: what was measured until now is the result."""


class Quiet:
    """A bound on a run's time, and the lock of a machine that others use as well.

    The lock file is held for ourselves while figures are taken, and given back once it was held for a while: shared with whoever needs
    no quiet, until the next figures. Waiting for it does not count.
    """

    def __init__(self, limit_seconds: float, lock: Path | None = None, *, shared: bool = False) -> None:
        """`shared`: figures do not matter, the lock is never held for ourselves."""
        self._due = time.monotonic() + limit_seconds
        self._file = lock.open("a") if lock else None
        self._alone = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._held = fcntl.LOCK_UN
        self._since = 0.0  # when it was last taken
        self.waited = 0.0
        self._hold(fcntl.LOCK_SH)

    def check(self) -> None:
        if time.monotonic() > self._due:
            raise TimeUp

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.check()
        if self._held != self._alone:
            self._hold(self._alone)
        try:
            yield
        finally:
            if time.monotonic() - self._since > _HOLD_SECONDS:
                self._hold(fcntl.LOCK_SH)

    def _hold(self, kind: int) -> None:
        if self._file is None:
            return
        began = time.monotonic()
        fcntl.flock(self._file, fcntl.LOCK_UN)
        time.sleep(0.05)  # whoever waits gets it
        fcntl.flock(self._file, kind)
        self._held, self._since = kind, time.monotonic()
        waited = self._since - began
        self._due += waited
        self.waited += waited
