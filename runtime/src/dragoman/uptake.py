"""A worker takes up compiled models: each loaded beside serving, held against the original's own answer, and put in its place.

The original stays: it answers what the compiled one does not, and all of it again where the compiled one is put down.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from dragoman import cgroup, loading
from dragoman.call import Call, Prediction
from dragoman.errors import ServeError
from dragoman.messages import Boot, LineChannel, PutDown, TakenUp, TakeUp
from dragoman.predictors import checked_outputs
from dragoman.registry import ServedModel
from dragoman.table import Array, Table

if TYPE_CHECKING:
    from dragoman.heartbeat import Slot
    from dragoman.predictors import Predictor

TOLERANCE = 1e-12  # relative, and of numbers near zero absolute

logger = logging.getLogger("dragoman.worker")


class _Used(msgspec.Struct, frozen=True, eq=False):
    ticket: int
    original: Predictor
    memory_bytes: int


class Uptake:
    """`turn` and `thread` are those in which models are loaded."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        boot: Boot,
        channel: LineChannel,
        slot: Slot,
        turn: asyncio.Lock,
        thread: Executor,
    ) -> None:
        self._models, self._boot, self._channel, self._slot, self._turn, self._thread = models, boot, channel, slot, turn, thread
        self._used: dict[str, _Used] = {}

    async def take_up(self, said: TakeUp) -> None:
        """Answers with `TakenUp`."""
        told = TakenUp(ticket=said.ticket, model=said.model, used=False)
        async with self._turn:
            try:
                told = await self._tried(said, told)
            except ServeError as error:
                told = msgspec.structs.replace(told, reason=error.message, failed=True)
            except Exception as error:
                logger.exception("a compiled model could not be taken up", extra={"model": said.model})
                told = msgspec.structs.replace(told, reason=f"{type(error).__name__}: {error}"[:500], failed=True)
        self._channel.send(told)

    def put_down(self, said: PutDown) -> None:
        """The original answers from the next call on."""
        used = self._used.pop(said.model, None)
        if used is not None:
            self._models[said.model].replace(used.original)

    def let_go(self, name: str) -> None:
        """The model has left this worker's memory, and with it what was beside it."""
        used = self._used.pop(name, None)
        if used is not None:
            self._channel.send(TakenUp(ticket=used.ticket, model=name, used=False))

    async def _tried(self, said: TakeUp, told: TakenUp) -> TakenUp:
        model = self._models[said.model]
        original = model.predictor
        used = self._used.get(said.model)
        if used is not None and model.held == said.digest:  # said again
            self._used[said.model] = msgspec.structs.replace(used, ticket=said.ticket)
            return msgspec.structs.replace(told, used=True, memory_bytes=used.memory_bytes)
        if original is None or model.held != said.digest:
            return told
        outputs = said.compiled.outputs
        deadline = time.monotonic() + model.limits.timeout_seconds
        row = Table.of_rows([model.signature.example_row()])
        wanted = await model.predict(Call(row, outputs), deadline)  # by its batcher: a predictor is called from one thread at a time
        self._slot.loading(time.monotonic() + model.limits.load_timeout_seconds)
        try:
            beside, answer, memory = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._loaded, said, original, model, row
            )
        finally:
            self._slot.loading(0.0)
        told = msgspec.structs.replace(told, memory_bytes=memory)
        problem = self._too_much(model, memory) or difference(wanted, answer, outputs)
        if problem or model.held != said.digest or model.predictor is not original:
            del beside, answer
            self._thread.submit(loading.return_memory)
            return msgspec.structs.replace(told, reason=problem)
        self._used[said.model] = _Used(said.ticket, original, memory)
        model.replace(beside)
        return msgspec.structs.replace(told, used=True)

    def _loaded(self, said: TakeUp, original: Predictor, model: ServedModel, row: Table) -> tuple[Predictor, Mapping[str, Array], int]:
        """In the thread: the predictor, what it answers the row with, and the bytes that it took."""
        before = loading.private_bytes()
        from dragoman.predictors.compiled import beside

        predictor = beside(original, Path(said.folder), cgroup.threads_per_worker(self._boot.settings.workers))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = predictor.predict(model.checked(row), said.compiled.outputs, {})
        answer = checked_outputs(given, said.compiled.outputs, row.rows)
        grown = loading.private_bytes() - before  # less than it took, where memory that was free already is used for it
        return predictor, answer, max(grown, said.compiled.bytes)

    def _too_much(self, model: ServedModel, memory_bytes: int) -> str:
        """Why it takes too much memory; "" where it does not, or nobody can say what the originals take (systems without /proc)."""
        taken = sum(other.taken_bytes for other in self._models.values())
        share = model.manifest.spec.serving.compile_memory_share
        allowed = share * taken - sum(used.memory_bytes for used in self._used.values())
        if not taken or memory_bytes <= allowed:
            return ""
        return (
            f"it takes {memory_bytes:,} bytes in each worker, and may take {max(0, int(allowed)):,}: a share of {share:g} of what loading "
            "the original took (serving.compileMemoryShare), less what other compiled models take"
        )


def difference(wanted: Prediction, given: Mapping[str, Array], outputs: tuple[str, ...]) -> str:
    """How the answers to the example row differ; "" where they are equal."""
    for name in outputs:
        one, other = wanted.outputs[name], given[name]
        if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
            return f"its {name} of the example row is {other.dtype} of shape {other.shape}, and not {one.dtype} of shape {one.shape}"
        if one.dtype.kind == "f":
            same = bool(np.allclose(other, one, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
        else:
            same = bool(np.array_equal(one, other))
        if not same:
            return f"its {name} of the example row differs from the original's"
    return ""
