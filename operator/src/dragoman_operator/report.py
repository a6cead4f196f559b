"""A pod's own report: what its runtime says at `/status` on the management port."""

from __future__ import annotations

import msgspec


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """A failure in the runtime's words."""

    reason: str
    message: str


class ModelReport(msgspec.Struct, frozen=True, rename="camel"):
    state: str = "Pending"
    bytes: int = 0
    total_bytes: int | None = None
    digest: str = ""
    format: str = ""
    failure: Told | None = None
    last_error: Told | None = None  # what is being retried


class WorkerReport(msgspec.Struct, frozen=True, rename="camel"):
    last_exit: Told | None = None


class Report(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = "Pending"
    ready: bool = False
    models: tuple[ModelReport, ...] = ()
    workers: tuple[WorkerReport, ...] = ()

    @property
    def model(self) -> ModelReport:
        """The one model that a pod serves."""
        return self.models[0] if self.models else ModelReport(state=self.phase)


_decoder = msgspec.json.Decoder(Report)


def parse(body: bytes) -> Report | None:
    """A report; None where the answer is something else: then nothing is known."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        return None
