"""Rows explained some at a time: memory stays bounded, and an explanation that takes too long can be given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dragoman.errors import DeadlineExceeded

CELLS = 1_000_000  # of an explanation's tables that are held at once: 8 MB of float64


@dataclass(frozen=True)
class Pieces:
    """How long one explanation may take: a predict that has begun cannot be stopped, but between two pieces it can end."""

    seconds: float
    clock: Callable[[], float] = time.monotonic

    def of(self, count: int, width: int, most: int) -> Iterator[tuple[int, int]]:
        """Ranges [start, stop) that cover `count` rows, each of at most `most` and of about `CELLS` cells where a row has `width`.

        `DeadlineExceeded` where the time is over and rows are left.
        """
        began = self.clock()
        size = max(1, min(most, CELLS // max(width, 1)))
        for start in range(0, count, size):
            if start and self.clock() - began > self.seconds:
                raise DeadlineExceeded(
                    f"explaining was given up after {self.seconds:g} s, {100 * start // count} % done: "
                    "send fewer rows, or raise serving.limits.timeoutSeconds, of which it may take half"
                )
            yield start, min(start + size, count)
