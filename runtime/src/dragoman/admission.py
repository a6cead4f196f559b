"""Admission: how much work may be in flight. Beyond the bound a request is refused at once, and never queued."""

from __future__ import annotations

from dragoman.errors import Overloaded
from dragoman.heartbeat import Heartbeats, Slot


class Admission:
    """In-flight requests of all workers together are bounded by `limit`, and the request bodies held by this worker by `body_bytes`.

    The count of the other workers is read from shared memory without a lock: with several workers the bound may be passed by a
    request or two at the moment it is reached.
    """

    def __init__(self, limit: int, body_bytes: int, heartbeats: Heartbeats, slot: Slot) -> None:
        self.limit, self.body_limit = limit, body_bytes
        self.in_flight = 0
        self.body_bytes = 0
        self._slot = slot
        self._all = heartbeats if heartbeats.workers > 1 else None

    def enter(self) -> None:
        """Counts a request in, or raises `Overloaded`. Each `enter` is followed by one `leave`."""
        total = self.in_flight if self._all is None else self._all.in_flight()
        if total >= self.limit:
            raise Overloaded(f"{total} requests are in flight, as many as serving.limits.maxConcurrency allows: try again later")
        self.in_flight += 1
        self._slot.in_flight(self.in_flight)

    def leave(self) -> None:
        self.in_flight -= 1
        self._slot.in_flight(self.in_flight)

    def hold(self, size: int) -> None:
        """Counts in a body that is still arriving, or raises `Overloaded`; `release` counts it out."""
        if self.body_bytes and self.body_bytes + size > self.body_limit:
            raise Overloaded("too many large requests are arriving at once: try again later")
        self.body_bytes += size

    def release(self, size: int) -> None:
        self.body_bytes -= size
