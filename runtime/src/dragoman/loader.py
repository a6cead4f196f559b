"""The loader: loads the models and forks the workers, which share its memory. It never predicts.

Whether a model survives a fork is proven, not declared: a forked canary must predict within a limit. A model that does not, and every
model whose format says so, is loaded by each worker for itself. All that must predict before serving runs in a short-lived child.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import NoReturn

import msgspec

from dragoman import cgroup, messages
from dragoman.errors import ModelLoadFailed, OutOfMemory, ServeError, serve_error
from dragoman.examined import Examined
from dragoman.heartbeat import Heartbeats
from dragoman.messages import Boot, CloseSockets, Exited, Fail, LineChannel, Load, Loaded, LoadFailed, Loading, NeedsOwn, Spawn, Spawned
from dragoman.sockets import Sockets

CANARY_SECONDS = 60.0  # a forked child must have predicted one row by then

logger = logging.getLogger("dragoman.loader")


class CanaryDied(Exception):
    """The child that was to predict did not come back: killed, crashed, or hung."""

    def __init__(self, how: str, hung: bool, status: int) -> None:
        super().__init__(how)
        self.hung, self.status = hung, status


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
    _import_ahead(boot)

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        loader.loop()


def _import_ahead(boot: Boot) -> None:
    """What workers need, while the model is still being fetched: shared by all of them. Importing grpc starts nothing, so it may fork."""
    import dragoman.worker

    if any({"v2", "seldon"} & set(m.spec.serving.dialects.enabled()) for m in boot.manifests):
        import dragoman.grpc_server  # noqa: F401


class Loader:
    def __init__(
        self, boot: Boot, channel: LineChannel, sockets: Sockets, heartbeats: Heartbeats, wakeup: tuple[socket.socket, socket.socket]
    ) -> None:
        from dragoman.registry import Outcome

        self._boot, self._channel, self._sockets, self._heartbeats = boot, channel, sockets, heartbeats
        self._wakeup = wakeup
        self._outcomes = {m.name: Outcome(m) for m in boot.manifests}
        self._loads: dict[str, Load] = {}  # models that each worker loads for itself
        self._frozen = False
        self._act: Mapping[type, Callable[..., None]] = {
            Load: self._load,
            Fail: self._fail,
            Spawn: self._spawn,
            CloseSockets: self._close_sockets,
        }

    def loop(self) -> None:
        while True:
            readable, _, _ = select.select([self._channel.socket, self._wakeup[0]], [], [])
            if self._wakeup[0] in readable:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup[0].recv(4096)
                self._reap()
            if self._channel.socket in readable:
                for line in self._channel.receive():
                    message = messages.to_loader.decode(line)
                    self._act[type(message)](message)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._channel.send(Exited(pid=pid, status=status))

    def _load(self, load: Load) -> None:
        from dragoman import loading

        self._channel.send(Loading(model=load.model))
        started = time.monotonic()
        outcome = self._outcomes[load.model]
        outcome.state, outcome.digest = "Loading", load.digest
        try:
            examined, own = self._examine_own(load) if load.own or not self._boot.settings.fork else self._examine_shared(load)
        except CanaryDied as died:
            outcome.predictor = None
            self._channel.send(NeedsOwn(model=load.model, message=str(died)))
            return
        except ServeError as error:
            self._fail(Fail(model=load.model, reason=error.reason, message=error.message))
            self._channel.send(LoadFailed(model=load.model, reason=error.reason, message=error.message))
            return
        outcome.state, outcome.format, outcome.rows_independent = "Loaded", examined.format, examined.rows_independent
        if own:
            self._loads[load.model] = load
        self._channel.send(
            Loaded(
                model=load.model,
                format=examined.format,
                seconds=time.monotonic() - started,
                own=own,
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
        loaded = loading.load_model(load, outcome.manifest, self._boot.settings)
        examined = _in_child(lambda: loading.examine(load, outcome.manifest, loaded))
        if examined.reason:
            raise serve_error(examined.reason, examined.message)
        outcome.predictor, outcome.signature = loaded.predictor, loading.signature_of(examined)
        return examined, False

    def _examine_own(self, load: Load) -> tuple[Examined, bool]:
        """Load and predict in a child, which ends; here only what is known of the model stays."""
        from dragoman import loading

        manifest, settings = self._outcomes[load.model].manifest, self._boot.settings
        before = cgroup.oom_kills()
        try:
            if settings.fork:
                examined = _in_child(lambda: loading.examine(load, manifest, loading.load_model(load, manifest, settings)), limit=None)
            else:
                examined = _in_fresh(self._boot, load)
        except CanaryDied as died:
            if before is not None and (cgroup.oom_kills() or 0) > before:
                raise OutOfMemory(f"the kernel ended the process that loaded {load.name}: give the pod more memory") from None
            raise ModelLoadFailed(f"{load.name}: the process that loaded it ended: {died}") from None
        if examined.reason:
            raise serve_error(examined.reason, examined.message)
        self._outcomes[load.model].signature = loading.signature_of(examined)
        return examined, True

    def _fail(self, fail: Fail) -> None:
        outcome = self._outcomes[fail.model]
        outcome.state, outcome.reason, outcome.message, outcome.predictor = "Failed", fail.reason, fail.message, None

    def _spawn(self, spawn: Spawn) -> None:
        if not self._frozen:
        outcome.authored = examined.authored
            gc.freeze()  # the collector must not touch, and so copy, what the workers share
            self._frozen = True
        pid = os.fork() if self._boot.settings.fork else 0
        if pid == 0 and self._boot.settings.fork:
            self._become_worker(spawn.index)
        if not self._boot.settings.fork:
            pid = self._spawn_fresh(spawn.index)
        self._channel.send(Spawned(index=spawn.index, pid=pid))

    def _become_worker(self, index: int) -> NoReturn:
        """In the forked child: nothing of the loader's own stays."""
        code = 1
        try:
            leave_parent(self._channel.socket, *self._wakeup)
            from dragoman import worker

            worker.run(index, self._boot, self._sockets, self._heartbeats, self._outcomes, self._loads)
            code = 0
        except BaseException:
            logger.exception("worker %d failed", index)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _spawn_fresh(self, index: int) -> int:
        from dragoman.fresh import start

        known = [o.known() for o in self._outcomes.values()]
        boot = msgspec.structs.replace(self._boot, role="worker", index=index, channel_fd=-1, loads=list(self._loads.values()), known=known)
        return start(boot).pid

    def _close_sockets(self, _: CloseSockets) -> None:
        self._sockets.listener.close()


def leave_parent(*sockets: socket.socket) -> None:
    """In a forked child: the parent's signal handling and private sockets are not the child's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for sock in sockets:
        sock.close()


def _in_child(work: Callable[[], Examined], limit: float | None = CANARY_SECONDS) -> Examined:
    """Run in a forked child. Raises `CanaryDied` when it does not come back within `limit` seconds."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            leave_parent()
            os.close(read)
            with os.fdopen(write, "wb") as out:
                out.write(msgspec.json.encode(examine_safely(work)))
            code = 0
        except BaseException:
            logger.exception("examining the model failed")
        finally:
            os._exit(code)
    os.close(write)
    return _result_of(pid, read, limit)


def _in_fresh(boot: Boot, load: Load) -> Examined:
    from dragoman.fresh import start

    child = start(msgspec.structs.replace(boot, role="examine", channel_fd=-1, loads=[load]), capture=True)
    assert child.stdout is not None
    read = os.dup(child.stdout.fileno())
    child.stdout.close()
    return _result_of(child.pid, read, None)


def examine_safely(work: Callable[[], Examined]) -> Examined:
    """The child's result, or its `ServeError` as a value."""
    try:
        return work()
    except ServeError as error:
        return Examined(reason=error.reason, message=error.message)


def _result_of(pid: int, read: int, limit: float | None) -> Examined:
    due = None if limit is None else time.monotonic() + limit
    chunks = []
    with os.fdopen(read, "rb", buffering=0) as source:
        while True:
            remaining = None if due is None else max(0.0, due - time.monotonic())
            if not select.select([source], [], [], remaining)[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise CanaryDied(f"a predict in a forked process did not end within {limit:g} s", hung=True, status=0)
            chunk = source.read(1 << 16)
            if not chunk:
                break
            chunks.append(chunk)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise CanaryDied(messages.described(status), hung=False, status=status)
    return msgspec.json.decode(b"".join(chunks), type=Examined)
