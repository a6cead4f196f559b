"""What a server says of itself at `/status`: values, changed by the supervisor alone."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

import msgspec

from dragoman import metrics
from dragoman.errors import ServeError
from dragoman.manifest import State

logger = logging.getLogger("dragoman")

CompiledState = Literal["Off", "Waiting", "Compiling", "Compiled", "LeftOut", "Failed"]


class Failure(msgspec.Struct, rename="camel", omit_defaults=True):
    reason: str
    message: str


class CompiledStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    """What came of compiling a model. `memory_bytes` is of each worker that uses it."""

    state: CompiledState = "Off"
    reason: str = ""
    engine: str = ""
    outputs: tuple[str, ...] = ()
    rows: int = 0
    largest_difference: float | None = None
    faster_up_to_rows: int = 0
    memory_bytes: int = 0
    seconds: float = 0.0
    workers: list[int] | None = None  # that use it


class ModelStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    """One model on its way to being served. `bytes` and `total_bytes` are of the fetch."""

    name: str
    uri: str
    state: State = "Pending"
    bytes: int = 0
    total_bytes: int | None = None
    digest: str = ""
    format: str = ""
    load_seconds: float | None = None
    versions: dict[str, str] = {}
    warnings: list[str] = []
    retries: int = 0
    last_error: Failure | None = None  # what is being retried
    failure: Failure | None = None
    held_by: list[int] = []  # workers that have it in memory, where models are loaded on demand
    own: bool = False  # each worker holds a copy: the model does not survive a fork
    compiled: CompiledStatus = msgspec.field(default_factory=CompiledStatus)
    examples: list[str] = []
    progressed: float = 0.0  # time.monotonic() of the last byte or step

    def step(self, state: State) -> None:
        self.state = state
        self.progressed = time.monotonic()

    def loaded(self, *, seconds: float, versions: dict[str, str], warnings: list[str], examples: list[str]) -> None:
        """What trying the model showed."""
        self.load_seconds, self.versions, self.warnings, self.examples = round(seconds, 3), versions, warnings, examples
        own = metrics.metrics()
        own.model_load_seconds.labels(self.name).observe(seconds)
        own.model_warnings.labels(self.name).set(len(warnings))
        for warning in warnings:
            logger.warning("%s", warning, extra={"model": self.name})

    def unload(self) -> None:
        self.step("Unloaded")
        self.digest = self.format = ""
        self.bytes, self.total_bytes, self.failure, self.last_error, self.warnings = 0, None, None, None, []

    def fail(self, error: ServeError) -> None:
        self.state, self.failure, self.last_error = "Failed", Failure(error.reason, error.message), None


class WorkerStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    index: int
    pid: int = 0
    state: str = "Starting"  # Starting, Ready, Ended
    restarts: int = 0
    last_exit: Failure | None = None
    started: float = 0.0  # time.monotonic()
    failures_in_a_row: int = 0


class ServerStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    version: str
    revision: str
    models: list[ModelStatus]
    workers: list[WorkerStatus]
    draining: bool = False
    was_ready: bool = False  # every worker has been ready once
    cache_size: int | None = None  # models that each worker has in memory, brought when a request comes

    @property
    def phase(self) -> State:
        """The state of the model that has come least far, of those that are to be served; Unloaded or Failed when none is.

        Where models are loaded on demand, Loading until the workers are up, and then Loaded.
        """
        if self.cache_size is not None:
            return "Loaded" if self.was_ready else "Loading"
        order: tuple[State, ...] = ("Pending", "Fetching", "Loading", "Loaded")
        living = [m.state for m in self.models if m.state in order]
        if not living:
            return "Unloaded" if any(m.state == "Unloaded" for m in self.models) else "Failed"
        least = min(living, key=order.index)
        return "Loading" if least == "Loaded" and not self.was_ready else least

    @property
    def ready(self) -> bool:
        """Every worker has a model and is warm; later, while one is replaced, the others count. On demand no model need be there yet."""
        states = [w.state == "Ready" for w in self.workers]
        loaded = self.cache_size is not None or any(m.state == "Loaded" for m in self.models)
        return loaded and not self.draining and (any(states) if self.was_ready else all(states))

    def report(self) -> dict[str, Any]:
        """As `/status` shows it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        for model in found["models"]:
            model.pop("progressed", None)
            model.pop("examples", None)
            model.setdefault("state", "Pending")
            model.setdefault("compiled", {}).setdefault("state", "Off")
        for worker in found["workers"]:
            for private in ("started", "failuresInARow"):
                worker.pop(private, None)
            worker.setdefault("state", "Starting")
        found.pop("wasReady", None)
        return {"phase": self.phase, "ready": self.ready} | found
