"""The supervisor, process 1: sockets, management port, fetching, watching, draining. It never runs model code, nor imports numpy.

So health and metrics answer while every worker is busy, and a model that crashes or exhausts memory while it loads is reported and
not just gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import msgspec

import dragoman
from dragoman import messages, metrics
from dragoman.crew import HOPELESS_STARTS, Crew, OomWatch, adopt_orphans
from dragoman.errors import AddressInUse, LoadTimeout, ModelLoadFailed, OutOfMemory, ServeError, WorkerFailed, serve_error
from dragoman.fetching import AT_ONCE, fetch_model
from dragoman.heartbeat import Heartbeats
from dragoman.loader_process import LoaderProcess
from dragoman.management import management_app
from dragoman.manifest import ModelDeployment
from dragoman.messages import (
    Boot,
    CloseSockets,
    Compiling,
    Ended,
    Exited,
    Fail,
    Found,
    FromLoader,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    NeedsOwn,
    Ready,
    Spawn,
    Spawned,
    described,
)
from dragoman.repository import Repository
from dragoman.server import HttpServer
from dragoman.settings import Settings
from dragoman.sockets import address, bind, distinct
from dragoman.status import ModelStatus, ServerStatus, WorkerStatus

_CHECK_SECONDS = 0.25
_LOADER_GRACE_SECONDS = 1.0

logger = logging.getLogger("dragoman")
OnReady = Callable[[ServerStatus, dict[str, str]], None]


def serve(manifests: Sequence[ModelDeployment], settings: Settings, on_ready: OnReady | None = None) -> int:
    """Serve until told to stop; the exit code. `on_ready` is called once, with the status and the URLs by port name.

    Raises `AddressInUse` when a port is taken. Every later failure is logged, written to the termination log, and told by the code.
    """
    with tempfile.TemporaryDirectory(prefix="dragoman-") as scratch:
        supervisor = Supervisor(manifests, settings, Path(scratch), on_ready)
        supervisor.fork_loader()
        return asyncio.run(supervisor.run())


class Supervisor:
    def __init__(self, manifests: Sequence[ModelDeployment], settings: Settings, scratch: Path, on_ready: OnReady | None) -> None:
        self._manifests, self._settings, self._on_ready = {m.name: m for m in manifests}, settings, on_ready
        self.status = ServerStatus(
            version=dragoman.__version__,
            revision=settings.revision,
            models=[ModelStatus(name=m.name, uri=m.spec.model.uri) for m in manifests],
            workers=[WorkerStatus(index=i) for i in range(settings.workers)],
            cache_size=settings.cache_size,
        )
        self._models = {m.name: m for m in self.status.models}
        self._timeout = max(m.spec.serving.limits.timeout_seconds for m in manifests)
        self._metrics_folder = scratch / "metrics"
        metrics.prepare(self._metrics_folder)

        self._listener = bind(settings.host, settings.port, "--port")
        self._grpc_hold = bind(settings.host, settings.grpc_port, "--grpc-port", reuse_port=True)
        self._management = bind(settings.host, settings.management_port, "--management-port")
        distinct({"--port": self._listener, "--grpc-port": self._grpc_hold, "--management-port": self._management})
        self._reports, reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._worker_reports = reports
        self._lifeline, self._lifeline_end = os.pipe()
        self._heartbeats = Heartbeats.create(settings.workers)
        for descriptor in (self._listener.fileno(), reports.fileno(), self._lifeline, self._heartbeats.fd):
            os.set_inheritable(descriptor, True)
        self._boot = Boot(
            role="loader",
            manifests=list(manifests),
            settings=settings,
            metrics_dir=str(self._metrics_folder),
            kept_dir=str(scratch / "kept"),
            listener_fd=self._listener.fileno(),
            heartbeats_fd=self._heartbeats.fd,
            reports_fd=reports.fileno(),
            lifeline_fd=self._lifeline,
            grpc_address=address(settings.host, self._grpc_hold),
        )
        self._loads: dict[str, Load] = {}
        self._loader: LoaderProcess
        self._loader_ends = 0  # in a row, without a model loaded
        self._ended: asyncio.Future[int]
        self._tasks: set[asyncio.Task[None]] = set()
        self._oom = OomWatch()
        self._fetches = asyncio.Semaphore(AT_ONCE)
        self._repository = Repository(
            self._models,
            self._manifests,
            settings,
            self._fetches,
            scratch,
            tell_loader=lambda message: self._loader.send(message),
            start=self._start,
        )
        self._crew = Crew(
            self.status.workers,
            self._heartbeats,
            self._timeout,
            spawn=self._spawn,
            start=self._start,
            give_up=self._end,
            on_exit=self._repository.compiler.on_exit,
        )

    @property
    def urls(self) -> dict[str, str]:
        """Where each port answers, as a client on this machine would write it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._settings.host, self._settings.host)
        ports = {"rest": self._listener, "grpc": self._grpc_hold, "management": self._management}
        return {name: ("" if name == "grpc" else "http://") + f"{host}:{sock.getsockname()[1]}" for name, sock in ports.items()}

    def fork_loader(self) -> None:
        """Before the event loop starts: the loader is to inherit neither a loop nor threads."""
        if self._settings.fork:
            self._loader = LoaderProcess.fork(self._boot, self._listener, self._worker_reports, self._heartbeats, self._leave)
        else:
            self._loader = LoaderProcess.fresh(self._boot)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        adopt_orphans()
        self._reports.setblocking(False)
        loop.add_reader(self._reports, self._on_report)
        self._listen_to_loader()
        management = HttpServer(management_app(self.status, self._heartbeats, self._metrics_folder), self._management)
        try:
            await management.start()
        except OSError as error:
            raise AddressInUse(f"port {self._settings.management_port} is in use: choose another with --management-port") from error
        if self._settings.cache_size is None:
            for name in self._models:
                self._start(self._bring(name))
        self._spawn_when_settled()
        self._start(self._watch())
        try:
            return await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._crew.kill()
            await self._loader.stop(_LOADER_GRACE_SECONDS)
            await management.drain(0, 1)

    # --- bringing models ---

    async def _bring(self, name: str) -> None:
        """Fetch a model, again and again while that may help, and hand it to the loader."""
        model, manifest = self._models[name], self._manifests[name]
        try:
            fetched = await fetch_model(model, manifest, self._settings, self._fetches)
        except ServeError as error:
            self._fail_model(name, error)
            return
        model.bytes = model.total_bytes = fetched.bytes
        model.digest = fetched.digest
        self._loads[name] = Load(model=name, path=str(fetched.path), name=fetched.name, digest=fetched.digest)
        self._repository.keep(fetched, self._loads[name])
        model.step("Loading")
        self._loader.send(self._loads[name])

    def _fail_model(self, name: str, error: ServeError) -> None:
        """This model cannot be served; the others go on. When none can, the process ends."""
        self._models[name].fail(error)
        self._repository.failed(name, error)
        logger.error("%s", error.message, extra={"model": name, "reason": error.reason})
        if all(m.state == "Failed" for m in self.status.models):
            self._end(serve_error(*_first_failure(self.status)))
            return
        self._loader.send(Fail(model=name, reason=error.reason, message=error.message))
        self._spawn_when_settled()

    def _spawn_when_settled(self) -> None:
        if all(m.state in ("Loaded", "Unloaded", "Failed") for m in self.status.models) or self.status.was_ready:
            self._crew.start_missing()

    def _spawn(self, index: int) -> None:
        channel = self._repository.joined(index)
        with channel.theirs:
            self._loader.send(Spawn(index=index), channel.theirs.fileno())

    # --- hearing the loader ---

    def _listen_to_loader(self) -> None:
        loader = self._loader

        def ended(status: int) -> None:
            if loader is self._loader:
                self._on_loader_end(status)

        loader.listen(self._on_loader_message, ended)

    def _on_loader_message(self, message: FromLoader) -> None:
        if isinstance(message, Loading):
            self._loader.loading, self._loader.loading_since = message.model, time.monotonic()
        elif isinstance(message, Loaded):
            self._on_loaded(message)
        elif isinstance(message, Found):
            self._loader_ends = 0
            self._repository.examiner.on_found(message)
        elif isinstance(message, Compiling):
            self._repository.compiler.on_compiling(message)
        elif isinstance(message, Ended):
            self._repository.compiler.on_ended(message)
        elif isinstance(message, LoadFailed):
            self._loader.loading = None
            if self._repository.followed(message.model):  # an administrator's word came meanwhile
                return
            self._loads.pop(message.model, None)
            self._fail_model(message.model, serve_error(message.reason, message.message))
        elif isinstance(message, NeedsOwn):
            logger.warning(
                "the model does not survive a fork (%s): each worker loads its own copy", message.message, extra={"model": message.model}
            )
            self._loads[message.model] = msgspec.structs.replace(self._loads[message.model], own=True)
            self._replace_loader()
        elif isinstance(message, Spawned):
            self._crew.on_spawned(message.index, message.pid)
        elif isinstance(message, Exited):
            self._crew.on_end(message.pid, message.status)

    def _on_loaded(self, message: Loaded) -> None:
        self._loader.loading, self._loader_ends = None, 0
        model = self._models[message.model]
        if model.state == "Loaded" or self._repository.followed(message.model):
            self._spawn_when_settled()  # a replacement loader loads what the workers already serve
            return
        model.step("Loaded")
        self._repository.loaded(message.known)
        model.format, model.own, model.last_error = message.format, message.own, None
        model.loaded(seconds=message.seconds, versions=message.versions, warnings=message.warnings, examples=message.examples)
        metrics.metrics().model_info.labels(model.name, self._settings.revision, model.digest, model.format).set(1)
        logger.info("loaded", extra={"model": model.name, "format": model.format, "digest": model.digest, "seconds": model.load_seconds})
        self._spawn_when_settled()

    def _on_loader_end(self, status: int) -> None:
        """The loader is gone, by a crash of model code or by the kernel: the model it was at failed; the workers serve on."""
        if self.status.draining or self._ended.done():
            return
        name = self._loader.loading
        how = described(status)
        if name is None:
            logger.error("the loader ended and is replaced: %s", how)
        else:
            logger.error("the loader ended: %s", how, extra={"model": name})
        if name is not None and self._models[name].state != "Loaded":
            self._loads.pop(name, None)
            error: ServeError = ModelLoadFailed(f"loading {name!r} ended its process: {how}")
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and self._oom.rose():
                error = OutOfMemory(f"loading {name!r} took more memory than the container has: give it more")
            self._fail_model(name, error)
            if self._ended.done():
                return
        self._loader_ends += 1
        if self._loader_ends >= HOPELESS_STARTS:
            self._end(WorkerFailed(f"loaders end before they can load: {how}; the log has more"))
            return
        self._replace_loader(killed=True)

    def _replace_loader(self, *, killed: bool = False) -> None:
        """A fresh loader, which loads again what is to be shared with workers to come. Those that serve are not disturbed."""
        self._crew.on_loader_replaced()
        if not killed:
            self._loader.kill()
            self._loader.close()
        self._loader = LoaderProcess.fresh(self._boot)
        self._listen_to_loader()
        for model in self.status.models:
            followed = self._repository.followed(model.name)
            if followed is not None:
                self._loader.send(followed)
            elif model.name in self._loads:
                self._loader.send(self._loads[model.name])
            elif model.failure is not None:
                self._loader.send(Fail(model=model.name, reason=model.failure.reason, message=model.failure.message))
        self._repository.examiner.on_loader_replaced()
        orphan = self._repository.compiler.on_loader_replaced()
        if orphan:
            self._crew.adopt(orphan)
        self._spawn_when_settled()

    # --- hearing and watching the workers ---

    def _on_report(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                message = messages.from_worker.decode(self._reports.recv(1 << 16))
                if isinstance(message, Ready):
                    self._crew.on_ready(message.index, message.pid)
                    self._repository.ready(message.index)
                    self._welcome()
                else:
                    self._crew.on_cannot_serve(message.index, message.reason, message.message)

    def _welcome(self) -> None:
        """Every worker is ready for the first time."""
        if self.status.was_ready or not self._crew.was_ready:
            return
        self.status.was_ready = True
        logger.info("ready", extra=self.urls)
        self._repository.compile_served()
        if self._on_ready is not None:
            self._on_ready(self.status, self.urls)

    async def _watch(self) -> None:
        """Kill workers that are stuck, reap orphans, and bound the time that loading takes."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = time.monotonic()
            self._crew.watch(now)
            self._bound_loading(now)

    def _bound_loading(self, now: float) -> None:
        name = self._loader.loading
        if name is None:
            return
        limit = self._manifests[name].spec.serving.limits.load_timeout_seconds
        if now - self._loader.loading_since > limit:
            self._loads.pop(name, None)
            self._loader.loading = None
            self._fail_model(name, LoadTimeout(f"{name!r} was not loaded within {limit:g} s (serving.limits.loadTimeoutSeconds)"))
            if not self._ended.done():
                self._replace_loader()

    # --- ending ---

    def _on_signal(self) -> None:
        if self.status.draining:
            logger.warning("second signal: ending at once")
            self._crew.kill()
            self._loader.kill()
            if not self._ended.done():
                self._ended.set_result(1)
            return
        self.status.draining = True
        logger.info("draining")
        self._repository.compiler.stop()
        self._start(self._drain())

    async def _drain(self) -> None:
        """Workers finish what they hold; then everything ends with 0."""
        self._listener.close()
        self._loader.send(CloseSockets())
        await self._crew.drain(self._settings.drain_seconds + self._timeout + 5)
        await self._loader.stop(_LOADER_GRACE_SECONDS)  # not waited for where it is at a model: that may take minutes
        if not self._ended.done():
            self._ended.set_result(0)

    def _end(self, error: ServeError) -> None:
        """Give up: say why where the platform looks, and end with the error's code."""
        if self._ended.done():
            return
        if self._settings.termination_log:
            try:
                Path(self._settings.termination_log).write_text(json.dumps({"reason": error.reason, "message": error.message}), "utf-8")
            except OSError as problem:
                logger.warning(
                    "the reason could not be written to %s: %s; --termination-log", self._settings.termination_log, problem.strerror
                )
        self._crew.draining = True
        self._ended.set_result(error.exit_code)

    def _leave(self) -> None:
        """In a forked child: what is the supervisor's alone."""
        os.close(self._lifeline_end)
        self._management.close()
        self._grpc_hold.close()
        self._reports.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._ended.done():
            logger.error("the supervisor failed", exc_info=task.exception())
            self._ended.set_result(1)


def _first_failure(status: ServerStatus) -> tuple[str, str]:
    failure = next(m.failure for m in status.models if m.failure is not None)
    return failure.reason, failure.message
