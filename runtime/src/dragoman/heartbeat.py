"""Heartbeat: a few numbers a worker that every process of the server can read at any moment, in shared memory.

The worker writes its own slot; the supervisor reads all of them, even while a worker is busy inside a predict. Times are
`time.monotonic()` seconds, which all processes of a machine share. Each number is one aligned 8-byte store.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time

import msgspec

_FIELDS = ("ticked", "predict_started", "deadline", "in_flight", "ready", "pid", "loading_until", "connections")
_SIZE = len(_FIELDS)
_ALIVE_SECONDS = 1.0  # a loop that has not turned for so long takes no connections


class Pulse(msgspec.Struct, frozen=True):
    """One worker as the supervisor sees it; 0 stands for never or none."""

    ticked: float  # when its event loop last turned
    predict_started: float  # when the predict that is running now began
    deadline: float  # the latest deadline among the requests of that predict
    in_flight: int
    ready: bool
    pid: int
    loading_until: float = 0.0  # by when the model that it loads beside serving is to be there
    connections: int = 0  # of HTTP, open


class Heartbeats:
    """The shared slots of all workers. The file descriptor `fd` can be handed to a fresh process."""

    def __init__(self, fd: int, workers: int) -> None:
        self.fd, self.workers = fd, workers
        self._numbers = memoryview(mmap.mmap(fd, workers * _SIZE * 8)).cast("d")

    @classmethod
    def create(cls, workers: int) -> Heartbeats:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("dragoman-heartbeats")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, workers * _SIZE * 8)
        return cls(fd, workers)

    def read(self, index: int) -> Pulse:
        ticked, started, deadline, in_flight, ready, pid, loading, connections = self._numbers[index * _SIZE : (index + 1) * _SIZE]
        return Pulse(ticked, started, deadline, int(in_flight), bool(ready), int(pid), loading, int(connections))

    def slot(self, index: int) -> Slot:
        """For the worker itself to write."""
        return Slot(self._numbers[index * _SIZE : (index + 1) * _SIZE])

    def in_flight(self) -> int:
        """Requests in flight in all workers together."""
        return int(sum(self._numbers[3::_SIZE]))

    def connections_of_others(self, index: int) -> list[int]:
        """HTTP connections of each other worker that serves and whose loop turns."""
        since = time.monotonic() - _ALIVE_SECONDS
        pulses = [self.read(other) for other in range(self.workers) if other != index]
        return [pulse.connections for pulse in pulses if pulse.ready and pulse.ticked > since]


class Slot:
    """One worker's numbers, written by that worker alone."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: memoryview[float]) -> None:
        self._numbers = numbers

    def begin(self) -> None:
        """A new process takes the slot: everything starts at none."""
        self.clear()
        self._numbers[5] = float(os.getpid())
        self.tick()

    def clear(self) -> None:
        for i in range(_SIZE):
            self._numbers[i] = 0.0

    def tick(self) -> None:
        self._numbers[0] = time.monotonic()

    def predicting(self, started: float, deadline: float) -> None:
        self._numbers[2] = deadline
        self._numbers[1] = started

    def predicted(self) -> None:
        self._numbers[1] = 0.0

    def in_flight(self, count: int) -> None:
        self._numbers[3] = count

    def ready(self, value: bool) -> None:
        self._numbers[4] = float(value)

    def loading(self, until: float) -> None:
        """A model is being loaded, until then at most; 0: none is."""
        self._numbers[6] = until

    def connections(self, count: int) -> None:
        self._numbers[7] = count
