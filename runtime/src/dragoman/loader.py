"""The loader: loads the models and forks the workers, which share its memory. It never predicts.

Whether a model survives a fork is proven, not declared: a forked canary must predict within a limit. A model that does not, and every
model whose format says so, is loaded by each worker for itself. All that must predict before serving runs in a short-lived child.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import msgspec

from dragoman import cgroup, children, compilation, examination, messages
from dragoman.children import Child, ChildDied
from dragoman.compilation import Compilation
from dragoman.errors import ModelLoadFailed, ServeError, serve_error
from dragoman.examination import CANARY_SECONDS, Examination
from dragoman.examined import Examined
from dragoman.heartbeat import Heartbeats
from dragoman.messages import (
    Boot,
    CloseSockets,
    Compile,
    Compiling,
    Ended,
    Examine,
    Exited,
    Fail,
    Follow,
    Found,
    LineChannel,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    NeedsOwn,
    Spawn,
    Spawned,
    StopCompiling,
)
from dragoman.sockets import Sockets

logger = logging.getLogger("dragoman.loader")


def set_threads(workers: int) -> None:
    """Before the first import of numpy or a model library: the threads that their pools get in each worker."""
    threads = str(cgroup.threads_per_worker(workers))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "DRAGOMAN_THREADS"):
        os.environ.setdefault(name, threads)


def run(boot: Boot, channel: socket.socket, sockets: Sockets, heartbeats: Heartbeats) -> None:
    """The whole life of a loader process; returns when the supervisor closes the channel."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the channel's end is what ends it, after the workers
    wakeup, woken = socket.socketpair()
    for end in (wakeup, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    set_threads(boot.settings.workers)
    gc.disable()  # collecting again and again while importing and loading is a tenth of the start; `loading` does where it pays
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)  # the canary proves it
    loader = Loader(boot, LineChannel(channel), sockets, heartbeats, (wakeup, woken))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        loader.loop()


def _import_ahead(boot: Boot) -> None:
    """What workers need, while the model is fetched, or tried: shared by all of them."""
    from dragoman.dialects import DIALECTS, OPTIONS

    enabled = {option for m in boot.manifests for option in m.spec.serving.dialects.enabled()}
    for name, option in OPTIONS.items():
        if option in enabled:
            DIALECTS[name]


class Loader:
    def __init__(
        self, boot: Boot, channel: LineChannel, sockets: Sockets, heartbeats: Heartbeats, wakeup: tuple[socket.socket, socket.socket]
    ) -> None:
        from dragoman.registry import Outcome

        self._boot, self._channel, self._sockets, self._heartbeats = boot, channel, sockets, heartbeats
        self._wakeup = wakeup
        on_demand = boot.settings.cache_size is not None
        self._outcomes = {m.name: Outcome.unseen(m, on_demand=on_demand) for m in boot.manifests}
        self._loads: dict[str, Load] = {}  # models that each worker loads for itself
        self._examinations: dict[int, tuple[Examine, Examination]] = {}  # by the child's pid
        self._compilations: dict[int, tuple[Compile, Compilation]] = {}
        self._act: Mapping[type, Callable[..., None]] = {
            Load: self._load,
            Fail: self._fail,
            Spawn: self._spawn,
            CloseSockets: self._close_sockets,
            Examine: self._examine,
            Follow: self._follow,
            Compile: self._compile,
            StopCompiling: self._stop_compiling,
        }

    def loop(self) -> None:
        if not select.select([self._channel.socket], [], [], 0)[0]:  # else while the canary predicts
            _import_ahead(self._boot)
        while True:
            reading = {child.pipe: child for child in self._children() if child.reading}
            remaining = [seconds for child in reading.values() if (seconds := child.remaining) is not None]
            channel, wakeup = self._channel.socket.fileno(), self._wakeup[0].fileno()
            readable, _, _ = select.select([channel, wakeup, *reading], [], [], min(remaining, default=None))
            for pipe, child in reading.items():
                if pipe in readable:
                    child.read()
                elif child.remaining == 0.0:
                    child.expire()
            if wakeup in readable:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup[0].recv(4096)
                self._reap()
            self._tell_found()
            self._tell_compiled()
            if channel in readable:
                for line in self._channel.receive():
                    message = messages.to_loader.decode(line)
                    self._act[type(message)](message)

    def _children(self) -> list[Child]:
        return [child for _, child in (*self._examinations.values(), *self._compilations.values())]

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = next((child for child in self._children() if child.pid == pid), None)
                if child is not None:
                    child.ended(status)
                else:
                    self._channel.send(Exited(pid=pid, status=status))

    def _examine(self, asked: Examine) -> None:
        manifest = self._outcomes[asked.load.model].manifest
        child = examination.begin(self._boot, asked.load, manifest, asked.timeout_seconds, self._leave)
        self._examinations[child.pid] = asked, child

    def _tell_found(self) -> None:
        from dragoman import loading

        for pid, (asked, child) in list(self._examinations.items()):
            if not child.done:
                continue
            del self._examinations[pid]
            examined, manifest = child.verdict(asked.load.name), self._outcomes[asked.load.model].manifest
            examples = [] if examined.reason else loading.examples(manifest, asked.load, examined)
            self._channel.send(Found(ticket=asked.ticket, seconds=time.monotonic() - child.started, examined=examined, examples=examples))
            _import_libraries(examined.libraries)

    def _compile(self, asked: Compile) -> None:
        outcome = self._outcomes[asked.load.model]
        child = compilation.begin(self._boot, asked, outcome.manifest, outcome.predictor, self._leave)
        self._compilations[child.pid] = asked, child

    def _stop_compiling(self, said: StopCompiling) -> None:
        for asked, child in self._compilations.values():
            if asked.ticket == said.ticket:
                child.kill()

    def _tell_compiled(self) -> None:
        for pid, (asked, child) in list(self._compilations.items()):
            if child.begins():
                self._channel.send(Compiling(ticket=asked.ticket, pid=pid))
            if child.done:
                del self._compilations[pid]
                self._channel.send(Ended(ticket=asked.ticket, made=child.verdict()))

    def _follow(self, said: Follow) -> None:
        """What was loaded here for workers to share is not theirs any more."""
        outcome = self._outcomes[said.known.model]
        shared, outcome.predictor = outcome.predictor, None
        outcome.take(said.known)
        self._loads.pop(said.known.model, None)
        if said.load is not None:
            self._loads[said.known.model] = said.load
        if shared is not None:
            from dragoman import loading

            del shared
            loading.return_memory()

    def _load(self, load: Load) -> None:
        from dragoman import loading

        self._channel.send(Loading(model=load.model))
        started = time.monotonic()
        outcome = self._outcomes[load.model]
        outcome.state, outcome.digest = "Loading", load.digest
        try:
            examined, own = self._examine_own(load) if load.own or not self._boot.settings.fork else self._examine_shared(load)
        except ChildDied as died:
            outcome.predictor = None
            self._channel.send(NeedsOwn(model=load.model, message=str(died)))
            return
        except (ServeError, OSError) as failure:
            error = failure if isinstance(failure, ServeError) else ModelLoadFailed(f"{load.name}: its files cannot be read: {failure}")
            self._fail(Fail(model=load.model, reason=error.reason, message=error.message))
            self._channel.send(LoadFailed(model=load.model, reason=error.reason, message=error.message))
            return
        outcome.state, outcome.format, outcome.rows_independent = "Loaded", examined.format, examined.rows_independent
        outcome.authored = examined.authored
        if own:
            self._loads[load.model] = load
        self._channel.send(
            Loaded(
                model=load.model,
                format=examined.format,
                seconds=time.monotonic() - started,
                own=own,
                known=outcome.known(),
                versions=examined.versions,
                warnings=examined.warnings,
                examples=loading.examples(outcome.manifest, load, examined),
            )
        )

    def _examine_shared(self, load: Load) -> tuple[Examined, bool]:
        """Load here, for workers to share; a forked canary predicts."""
        from dragoman import loading

        if not loading.forks(load, self._outcomes[load.model].manifest):
            return self._examine_own(load)
        outcome = self._outcomes[load.model]
        before = loading.private_bytes()
        loaded = loading.load_model(load, outcome.manifest, self._boot.settings)
        outcome.taken_bytes = (loading.private_bytes() - before) // self._boot.settings.workers
        trying = lambda: examination.with_libraries(lambda: loading.examine(load, outcome.manifest, loaded))  # noqa: E731
        canary = Examination.fork(trying, CANARY_SECONDS, self._leave)
        _import_ahead(self._boot)
        canary.wait()
        examined = canary.result()
        if examined.reason:
            raise serve_error(examined.reason, examined.message)
        _import_libraries(examined.libraries)
        outcome.predictor, outcome.signature = loaded.predictor, loading.signature_of(examined)
        return examined, False

    def _examine_own(self, load: Load) -> tuple[Examined, bool]:
        """Load and predict in a child, which ends; here only what is known of the model stays."""
        from dragoman import loading

        child = examination.begin(self._boot, load, self._outcomes[load.model].manifest, None, self._leave)
        _import_ahead(self._boot)
        child.wait()
        examined = child.verdict(load.name)
        if examined.reason:
            raise serve_error(examined.reason, examined.message)
        self._outcomes[load.model].signature = loading.signature_of(examined)
        return examined, True

    def _fail(self, fail: Fail) -> None:
        outcome = self._outcomes[fail.model]
        outcome.state, outcome.reason, outcome.message, outcome.predictor = "Failed", fail.reason, fail.message, None

    def _spawn(self, spawn: Spawn) -> None:
        gc.freeze()  # the collector must not touch, and so copy, what the workers share
        with socket.socket(fileno=self._channel.descriptors.popleft()) as orders:
            pid = os.fork() if self._boot.settings.fork else 0
            if pid == 0 and self._boot.settings.fork:
                self._become_worker(spawn.index, orders)
            if not self._boot.settings.fork:
                pid = self._spawn_fresh(spawn.index, orders)
        self._channel.send(Spawned(index=spawn.index, pid=pid))

    def _leave(self) -> None:
        """In a forked child: nothing of the loader's own stays."""
        for child in self._children():
            if child.reading:
                os.close(child.pipe)
        children.leave_parent(self._channel.socket, *self._wakeup)

    def _become_worker(self, index: int, orders: socket.socket) -> NoReturn:
        code = 1
        try:
            self._leave()
            from dragoman import worker

            worker.run(index, self._boot, self._sockets, self._heartbeats, self._outcomes, self._loads, orders)
            code = 0
        except BaseException:
            logger.exception("worker %d failed", index)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _spawn_fresh(self, index: int, orders: socket.socket) -> int:
        from dragoman.fresh import start

        known = [o.known() for o in self._outcomes.values()]
        loads = list(self._loads.values())
        return start(
            msgspec.structs.replace(self._boot, role="worker", index=index, channel_fd=orders.fileno(), loads=loads, known=known)
        ).pid

    def _close_sockets(self, _: CloseSockets) -> None:
        self._sockets.listener.close()


def _import_libraries(names: Sequence[str]) -> None:
    """What one model needed, the next may need, too: children and workers to come have it from here."""
    if not names:
        return
    from dragoman.formats.pandas_later import pandas_later
    from dragoman.formats.threads import without_threads

    with without_threads(), pandas_later(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
