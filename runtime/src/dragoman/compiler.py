"""Has models compiled once they serve, one after another, in children of the loader; then has the workers take them up, one by one.

Nothing here is tried again and again: what failed is told in the model's status, and stays so until other bytes are loaded or the server
starts anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dragoman import cgroup, metrics
from dragoman.compiled import Compiled, Made
from dragoman.manifest import ModelDeployment
from dragoman.messages import Compile, Compiling, Ended, Load, Message, PutDown, StopCompiling, TakenUp, TakeUp
from dragoman.settings import Settings
from dragoman.status import CompiledState, CompiledStatus, ModelStatus
from dragoman.storage.compiled import CompiledModels
from dragoman.storage.lock import Lock
from dragoman.storage.request import Request
from dragoman.worker_channel import WorkerChannel

LONGEST_SECONDS = 600.0  # that compiling one model may take; less where loading it may not take so long
_LOADERS = 2  # that may end while one model is compiled
_CRASHES = 2  # of workers that use a compiled model, after which nobody does
_CRASHED = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
_LIBRARY_BYTES, _TIMES_ITS_SIZE = 128 * 1024 * 1024, 4  # what a compiling child takes: 290 MB were seen with a forest of 63 MB
_NEVER = {
    "onnx": "an ONNX model is answered by ONNX Runtime as it is",
    "python": "its author's own code answers",
    "compiled": "it is compiled already",
}  # formats for which nobody need try, and why
_ON_DEMAND = "models that are brought into memory when a request comes are not compiled"

logger = logging.getLogger("dragoman")


class Job(msgspec.Struct, eq=False):
    """One model as it is served: these bytes."""

    load: Load
    made: Made | None = None  # proven equal
    lock: Lock | None = None  # on what was made
    refused: bool = False  # by a worker: no other is told
    pending: dict[int, tuple[int, asyncio.Future[TakenUp]]] = msgspec.field(default_factory=dict)  # a worker's ticket and answer to come
    tickets: dict[int, int] = msgspec.field(default_factory=dict)  # by which each worker that uses it was told
    ended: set[int] = msgspec.field(default_factory=set)  # workers that used it when they ended
    crashes: int = 0
    turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)


class Compiler:
    """`tell_loader` sends it a message, `start` runs a coroutine in the supervisor's loop."""

    def __init__(
        self,
        models: Mapping[str, ModelStatus],
        manifests: Mapping[str, ModelDeployment],
        settings: Settings,
        scratch: Path,
        *,
        tell_loader: Callable[[Message], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._models, self._manifests, self._settings, self._scratch = models, manifests, settings, scratch
        self._tell_loader, self._start = tell_loader, start
        self._jobs: dict[str, Job] = {}
        self._workers: dict[int, WorkerChannel] = {}  # that are ready
        self._tickets = itertools.count(1)
        self._turn = asyncio.Lock()  # one model is compiled at a time
        self._asked: tuple[Compile, asyncio.Future[Made | None]] | None = None
        self._loaders = 0  # that have ended meanwhile
        self._pid = 0  # of the process that compiles
        self._stopped = False
        for name in filter(self._wanted, models):
            models[name].compiled = CompiledStatus("Waiting") if settings.cache_size is None else CompiledStatus("LeftOut", _ON_DEMAND)

    # --- what is served ---

    def begin(self, name: str, load: Load, format_name: str) -> None:
        """These bytes are served: have them compiled, unless they are or were."""
        if not self._wanted(name) or self._stopped or self._settings.cache_size is not None:
            return
        before = self._jobs.get(name)
        if before is not None and before.load.digest == load.digest:
            self._start(self._roll_out(name, before))
            return
        self.drop(name)
        if format_name in _NEVER:
            self._show(name, "LeftOut", _NEVER[format_name])
        else:
            job = self._jobs[name] = Job(load)
            self._show(name, "Waiting")
            self._start(self._run(name, job))

    def drop(self, name: str) -> None:
        """What is served is not that any more; workers have let go of it with the model, or are about to."""
        job = self._jobs.pop(name, None)
        if job is None:
            return
        if self._asked is not None and self._asked[0].load is job.load:
            self._tell_loader(StopCompiling(ticket=self._asked[0].ticket))
            self._answer(None)
        if job.lock is not None:
            job.lock.release()
        self._show(name, "Waiting")

    def stop(self) -> None:
        """The server ends."""
        self._stopped = True
        for name in list(self._jobs):
            if self._jobs[name].made is None:
                self.drop(name)

    # --- hearing the loader ---

    def on_compiling(self, told: Compiling) -> None:
        if self._asked is not None and self._asked[0].ticket == told.ticket:
            name, self._pid = self._asked[0].load.model, told.pid
            self._show(name, "Compiling")
            logger.info("compiling", extra={"model": name, "pid": told.pid})

    def on_ended(self, told: Ended) -> None:
        self._pid = 0
        if self._asked is not None and self._asked[0].ticket == told.ticket:
            self._answer(told.made)

    def on_loader_replaced(self) -> int:
        """What the old one was at, the new one begins again; not for ever: that may be what ends it.

        Gives the process that was compiling, which ends with its parent; 0 where none was.
        """
        orphan, self._pid = self._pid, 0
        if self._asked is None:
            return orphan
        self._loaders += 1
        if self._loaders < _LOADERS:
            self._tell_loader(self._asked[0])
        else:
            self._answer(Made(failure="the process that compiled it ended with its loader"))
        return orphan

    # --- hearing the workers ---

    def joined(self, index: int, channel: WorkerChannel) -> None:
        """A worker is ready: it is to have what there is."""
        self._workers[index] = channel
        for name, job in self._jobs.items():
            job.ended.discard(index)
            if job.made is not None:
                self._start(self._roll_out(name, job))

    def left(self, index: int) -> None:
        """A worker has ended."""
        self._workers.pop(index, None)
        for name, job in self._jobs.items():
            if job.tickets.pop(index, None) is not None:
                job.ended.add(index)
                self._show_use(name, job)
            ticket, answer = job.pending.pop(index, (0, None))
            if answer is not None and not answer.done():
                said = "" if self._stopped else f"worker {index} ended while it took it up"
                answer.set_result(TakenUp(ticket=ticket, model=name, used=False, reason=said, failed=True))

    def on_exit(self, index: int, status: int) -> None:
        """How a worker ended, as waitpid gives it: where compiled models crash their workers, the originals answer again."""
        if self._stopped or not os.WIFSIGNALED(status) or os.WTERMSIG(status) not in _CRASHED:
            return
        for name, job in self._jobs.items():
            if index in job.tickets or index in job.ended:
                job.ended.discard(index)
                job.crashes += 1
                if job.crashes >= _CRASHES and not job.refused:
                    job.refused = True
                    for other in list(job.tickets):
                        self._workers[other].send(PutDown(model=name))
                    job.tickets.clear()
                    self._fail(name, f"{job.crashes} workers crashed that used it")

    def on_taken_up(self, index: int, told: TakenUp) -> None:
        job = self._jobs.get(told.model)
        if job is None:
            return
        ticket, answer = job.pending.get(index, (0, None))
        if answer is not None and ticket == told.ticket and not answer.done():
            answer.set_result(told)
        elif job.tickets.get(index) == told.ticket and not told.used:  # it let go of the model
            del job.tickets[index]
            self._show_use(told.model, job)

    # --- one model ---

    async def _run(self, name: str, job: Job) -> None:
        async with self._turn:
            if self._gone(name, job):
                return
            made = await self._made(name, job)
        if made is None or self._gone(name, job):
            return
        compiled, status = made.compiled, self._models[name].compiled
        status.engine, status.outputs, status.rows, status.seconds = compiled.engine, compiled.outputs, compiled.rows, compiled.seconds
        status.largest_difference, status.faster_up_to_rows = compiled.largest_difference, compiled.faster_up_to_rows
        if made.failure:
            self._fail(name, made.failure)
        elif compiled.reason:
            self._show(name, "LeftOut", compiled.reason)
            logger.info("not compiled: %s", compiled.reason, extra={"model": name})
        else:
            job.made = made
            job.lock = self._kept(name).hold(Path(made.folder))
            logger.info(
                "compiled",
                extra={
                    "model": name,
                    "engine": compiled.engine,
                    "rows": compiled.rows,
                    "largest_difference": compiled.largest_difference,
                    "seconds": compiled.seconds,
                    "kept": made.kept,
                },
            )
            await self._roll_out(name, job)

    async def _made(self, name: str, job: Job) -> Made | None:
        """What compiling came to; None where nobody wants it any more."""
        kept, digest = self._kept(name), job.load.digest
        left, needed = cgroup.memory_left(), _LIBRARY_BYTES + _TIMES_ITS_SIZE * self._models[name].bytes
        if left is not None and left < needed:
            why = f"compiling it may take {needed:,} bytes, and the container has {left:,} left: give it more memory"
            return Made(compiled=Compiled(reason=why))
        if not kept.attempt(digest):
            return Made(failure="compiling it has ended its process or its container before; it is tried again after a day")
        request = self._request(name)
        limit = min(LONGEST_SECONDS, self._manifests[name].spec.serving.limits.load_timeout_seconds)
        asked = Compile(
            ticket=next(self._tickets),
            load=job.load,
            cache=str(request.cache),
            cache_bytes=request.cache_bytes,
            scratch=str(self._scratch),
            timeout_seconds=limit,
        )
        answer: asyncio.Future[Made | None] = asyncio.get_running_loop().create_future()
        self._asked, self._loaders = (asked, answer), 0
        self._tell_loader(asked)
        made = None
        try:
            made = await answer
        finally:
            if made is None or not made.died:
                kept.attempted(digest)
        return made

    def _answer(self, made: Made | None) -> None:
        assert self._asked is not None
        _, answer = self._asked
        self._asked = None
        if not answer.done():
            answer.set_result(made)

    async def _roll_out(self, name: str, job: Job) -> None:
        """Every ready worker takes it up, one after another, until one cannot."""
        async with job.turn:
            told = False
            for index in sorted(self._workers):
                if job.made is None or job.refused or self._gone(name, job):
                    return
                if index in job.tickets or index not in self._workers:
                    continue
                taken = await self._given(name, job, index, job.made)
                if self._gone(name, job):
                    return
                if taken.used:
                    job.tickets[index] = taken.ticket
                    self._models[name].compiled.memory_bytes = max(self._models[name].compiled.memory_bytes, taken.memory_bytes)
                    self._show_use(name, job)
                    told = True
                elif taken.reason:
                    job.refused = True
                    self._refused(name, job, index, taken)
            if told:
                logger.info("a compiled model answers small batches", extra={"model": name, "workers": sorted(job.tickets)})

    async def _given(self, name: str, job: Job, index: int, made: Made) -> TakenUp:
        ticket = next(self._tickets)
        answer: asyncio.Future[TakenUp] = asyncio.get_running_loop().create_future()
        job.pending[index] = ticket, answer
        self._workers[index].send(TakeUp(ticket=ticket, model=name, digest=job.load.digest, folder=made.folder, compiled=made.compiled))
        try:
            return await answer
        finally:
            job.pending.pop(index, None)

    def _refused(self, name: str, job: Job, index: int, taken: TakenUp) -> None:
        status = self._models[name].compiled
        status.memory_bytes = max(status.memory_bytes, taken.memory_bytes)
        if job.tickets:
            logger.warning("worker %d does not use the compiled model: %s", index, taken.reason, extra={"model": name})
            self._show(name, "Compiled", f"not in worker {index}: {taken.reason}")
        elif taken.failed:
            self._fail(name, taken.reason)
        else:
            logger.info("the compiled model is left out: %s", taken.reason, extra={"model": name})
            self._show(name, "LeftOut", taken.reason)

    def _fail(self, name: str, reason: str) -> None:
        logger.warning("no compiled model: %s", reason, extra={"model": name})
        self._show(name, "Failed", reason)

    def _show_use(self, name: str, job: Job) -> None:
        status = self._models[name].compiled
        if job.refused:
            self._show(name, "Compiled" if job.tickets else "LeftOut", status.reason)
        else:
            self._show(name, "Compiled")
        status.workers = sorted(job.tickets) if status.state == "Compiled" else None

    def _show(self, name: str, state: CompiledState, reason: str = "") -> None:
        status = self._models[name].compiled
        if state == "Waiting":
            status = self._models[name].compiled = CompiledStatus()
        status.state, status.reason = state, reason
        if state != "Compiled":
            status.workers = None
        metrics.metrics().model_compiled.labels(name).set(state == "Compiled")

    def _wanted(self, name: str) -> bool:
        return self._manifests[name].spec.serving.compile == "Auto"

    def _gone(self, name: str, job: Job) -> bool:
        return self._jobs.get(name) is not job

    def _kept(self, name: str) -> CompiledModels:
        request = self._request(name)
        return CompiledModels(request.cache, request.cache_bytes, self._scratch)

    def _request(self, name: str) -> Request:
        """Where the model was fetched to."""
        return Request.of(self._models[name].uri, cache=self._settings.cache_dir, cache_bytes=self._settings.cache_bytes)
