"""The workers as the supervisor sees them: started through the loader, watched, replaced when they end, told to drain."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from dragoman import cgroup, metrics
from dragoman.errors import InvalidSpec, ServeError, WorkerFailed
from dragoman.heartbeat import Heartbeats
from dragoman.messages import described
from dragoman.status import Failure, WorkerStatus
from dragoman.watchdog import overdue

HOPELESS_STARTS = 5  # processes in a row that ended before they were of use
_RESPAWN_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # pauses before the first, second, … replacement in a row
_PR_SET_CHILD_SUBREAPER = 36  # Linux, sys/prctl.h
_STEADY_SECONDS = 60.0  # a worker that lived as long starts the row anew

logger = logging.getLogger("dragoman")


class Crew:
    """`spawn` asks the loader for a worker, `start` runs a coroutine in the supervisor's loop, `give_up` ends the server.

    `on_exit` hears which worker ended unbidden, and its status as waitpid gives it.
    """

    def __init__(
        self,
        workers: list[WorkerStatus],
        heartbeats: Heartbeats,
        timeout_seconds: float,
        *,
        spawn: Callable[[int], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
        give_up: Callable[[ServeError], None],
        on_exit: Callable[[int, int], None] = lambda index, status: None,
    ) -> None:
        self.workers, self._heartbeats, self._timeout = workers, heartbeats, timeout_seconds
        self._ask, self._start, self._give_up, self._on_exit = spawn, start, give_up, on_exit
        self._asked: set[int] = set()  # indexes that the loader was told to fork, and has not yet
        self._orphans: set[int] = set()  # pids whose loader has ended
        self._killed: set[int] = set()  # pids that were stuck
        self._oom = OomWatch()
        self.draining = False
        self.was_ready = False  # all at once, at some time

    def start_missing(self) -> None:
        for worker in self.workers:
            if worker.state != "Ready" and not worker.pid:
                self._spawn(worker.index)

    def on_spawned(self, index: int, pid: int) -> None:
        self.workers[index].pid = pid
        self._asked.discard(index)

    def on_ready(self, index: int, pid: int) -> None:
        worker = self.workers[index]
        worker.state, worker.pid = "Ready", pid
        if self.draining:  # it was on its way when the others were told; before this it would not have heard
            kill(pid, signal.SIGTERM)
        self.was_ready = self.was_ready or all(w.state == "Ready" for w in self.workers)

    def on_cannot_serve(self, index: int, reason: str, message: str) -> None:
        self.workers[index].last_exit = Failure(reason, message)
        logger.error("%s", message, extra={"worker": index, "reason": reason})

    def on_end(self, pid: int, status: int) -> None:
        """A worker has ended, `status` as waitpid gives it: it is replaced, after a pause where that happens again and again."""
        worker = next((w for w in self.workers if w.pid == pid), None)
        if worker is None:
            return
        was_ready, lived = worker.state == "Ready", time.monotonic() - worker.started
        worker.pid, worker.state = 0, "Ended"
        self._heartbeats.slot(worker.index).clear()
        if self.draining:
            return
        if not self.was_ready and worker.last_exit is not None and worker.last_exit.reason == InvalidSpec.reason:
            self._give_up(InvalidSpec(worker.last_exit.message))  # the next one would find the same; the log has it
            return
        self._explain(worker, pid, status)
        self._on_exit(worker.index, status)
        metrics.metrics().worker_restarts.inc()
        worker.restarts += 1
        worker.failures_in_a_row = 1 if was_ready and lived > _STEADY_SECONDS else worker.failures_in_a_row + 1
        if not self.was_ready and worker.failures_in_a_row >= HOPELESS_STARTS:
            said = worker.last_exit.message if worker.last_exit else "the log may say why"
            self._give_up(WorkerFailed(f"workers end before they can serve: {said}"))
            return
        self._start(self._respawn(worker))

    def on_loader_replaced(self) -> None:
        """What the old loader was asked for is lost; its workers live on, and are reaped here."""
        self._asked.clear()
        self._orphans |= {w.pid for w in self.workers if w.pid}

    def adopt(self, pid: int) -> None:
        """A child of a loader that has ended: it is reaped here."""
        self._orphans.add(pid)

    def watch(self, now: float) -> None:
        """Kill workers that are stuck, and reap orphans. To be called several times a second."""
        for worker in self.workers:
            why = overdue(self._heartbeats.read(worker.index), now, self._timeout) if worker.pid else None
            if why is not None and worker.pid not in self._killed:
                logger.error("killing worker %d: %s", worker.index, why)
                worker.last_exit = Failure("Stuck", why)
                self._killed.add(worker.pid)
                kill(worker.pid, signal.SIGKILL)
        for pid in list(self._orphans):
            status = _reap(pid)
            if status is not None:
                self._orphans.discard(pid)
                self.on_end(pid, status)

    async def drain(self, timeout_seconds: float) -> None:
        """Workers finish what they hold, and end; at most so many seconds."""
        self.draining = True
        for worker in self.workers:
            if worker.pid:
                kill(worker.pid, signal.SIGTERM)
        due = time.monotonic() + timeout_seconds
        while any(w.pid for w in self.workers) and time.monotonic() < due:
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        self.draining = True
        for worker in self.workers:
            if worker.pid:
                kill(worker.pid, signal.SIGKILL)

    def _spawn(self, index: int) -> None:
        if self.draining or index in self._asked:
            return
        self._asked.add(index)
        worker = self.workers[index]
        worker.state, worker.started = "Starting", time.monotonic()
        self._ask(index)

    async def _respawn(self, worker: WorkerStatus) -> None:
        row = min(worker.failures_in_a_row, len(_RESPAWN_SECONDS)) - 1
        await asyncio.sleep(_RESPAWN_SECONDS[row] * random.uniform(0.8, 1.2))
        if not worker.pid:
            self._spawn(worker.index)

    def _explain(self, worker: WorkerStatus, pid: int, status: int) -> None:
        """Why a worker ended, where it did not say so itself."""
        if os.WIFSIGNALED(status) and pid not in self._killed:
            if os.WTERMSIG(status) == signal.SIGKILL and self._oom.rose():
                worker.last_exit = Failure("OutOfMemory", "the kernel ended it for memory: give the container more, or fewer workers")
            else:
                worker.last_exit = Failure("Killed", described(status))
        self._killed.discard(pid)
        said = worker.last_exit.message if worker.last_exit else described(status)
        logger.error("worker %d ended and is replaced: %s", worker.index, said, extra={"restarts": worker.restarts + 1})


class OomWatch:
    """Whether the kernel has killed a process of this container for memory."""

    def __init__(self) -> None:
        self._seen = cgroup.oom_kills()

    def rose(self) -> bool:
        """Since this was last asked; False where the kernel does not say."""
        before, self._seen = self._seen, cgroup.oom_kills()
        return before is not None and self._seen is not None and self._seen > before


def adopt_orphans() -> None:
    """Workers whose loader has ended become this process's children (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill(pid: int, number: int) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> int | None:
    """The status of an adopted worker that has ended, or None while it lives."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # not ours: no adoption on this platform
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return 0
        return None
    return status if done else None
