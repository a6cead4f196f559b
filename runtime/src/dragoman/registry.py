"""The models that this process serves, by name and state."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from dragoman.batcher import Batcher
from dragoman.call import Call, Prediction
from dragoman.check import Checker
from dragoman.dialect_options import Dialects
from dragoman.errors import BadRequest, DeadlineExceeded, NotReady
from dragoman.heartbeat import Slot
from dragoman.manifest import ModelDeployment, Serving, State
from dragoman.messages import Known
from dragoman.signature import Output, Signature

if TYPE_CHECKING:
    from dragoman.predictors import Predictor
    from dragoman.table import Array, Table


class Outcome(msgspec.Struct, eq=False):
    """What became of one model on its way to being served: the loader's part of a `ServedModel`."""

    manifest: ModelDeployment
    state: State = "Pending"
    reason: str = ""  # of the documented vocabulary, where state is Failed
    message: str = ""
    digest: str = ""
    format: str = ""
    signature: Signature = msgspec.field(default_factory=Signature)
    predictor: Predictor | None = None
    rows_independent: bool = False
    authored: Mapping[str, Any] = msgspec.field(default_factory=dict)  # what the model's own code declares for a dialect
    on_demand: bool = False  # brought into memory when a request comes
    taken_bytes: int = 0  # that loading it took, libraries included: a worker's part where workers share it

    @classmethod
    def unseen(cls, manifest: ModelDeployment, *, on_demand: bool) -> Outcome:
        """Of a model that nobody has looked at yet."""
        return cls(manifest, "Unloaded" if on_demand else "Pending", digest=manifest.spec.model.digest or "", on_demand=on_demand)

    def known(self) -> Known:
        """All but the predictor, for a process that starts afresh."""
        signature = msgspec.json.encode(self.signature)
        return Known(
            model=self.manifest.name,
            state=self.state,
            reason=self.reason,
            message=self.message,
            digest=self.digest,
            format=self.format,
            signature=signature,
            rows_independent=self.rows_independent,
            authored=dict(self.authored),
            on_demand=self.on_demand,
        )

    @classmethod
    def of(cls, manifest: ModelDeployment, known: Known) -> Outcome:
        outcome = cls(manifest)
        outcome.take(known)
        return outcome

    def take(self, known: Known) -> None:
        """All but the predictor."""
        self.state, self.reason, self.message = known.state, known.reason, known.message
        self.digest, self.format, self.signature = known.digest, known.format, msgspec.json.decode(known.signature, type=Signature)
        self.rows_independent, self.authored, self.on_demand = known.rows_independent, known.authored, known.on_demand


class ModelView:
    """A model as dialects see it."""

    def __init__(self, outcome: Outcome, revision: str = "") -> None:
        self._outcome, self._revision = outcome, revision

    @property
    def name(self) -> str:
        return self._outcome.manifest.name

    @property
    def version(self) -> str:
        return self._outcome.digest.removeprefix("sha256:")[:12]

    @property
    def revision(self) -> str:
        return self._revision

    @property
    def format(self) -> str:
        return self._outcome.format

    @property
    def state(self) -> State:
        return self._outcome.state

    @property
    def ready(self) -> bool:
        return self._outcome.state == "Loaded" or (self._outcome.on_demand and self._outcome.state in ("Unloaded", "Fetching", "Loading"))

    @property
    def reason(self) -> str:
        return f"{self._outcome.reason}: {self._outcome.message}" if self._outcome.reason else ""

    @property
    def signature(self) -> Signature:
        return self._outcome.signature

    @property
    def authored(self) -> Mapping[str, Any]:
        """As it is at the moment, where the code is in this process."""
        living: Mapping[str, Any] = getattr(self._outcome.predictor, "authored", self._outcome.authored)
        return living

    @property
    def manifest(self) -> ModelDeployment:
        return self._outcome.manifest

    @property
    def dialects(self) -> Mapping[str, Any]:
        """Options of the dialects that are on, by name: the manifest's; where it leaves dialects out, of what the code is written for."""
        said = self.manifest.spec.serving.dialects
        if self.authored and said == Serving().dialects:
            said = msgspec.convert({name: {} for name in self.authored}, Dialects)
        return said.enabled()


class Pool(Protocol):
    """Those of a process's models that are in its memory."""

    def use(self, model: ServedModel) -> bool:
        """A request came for it: it is the one used last from now on. Whether it is in memory."""

    async def bring(self, model: ServedModel, deadline: float) -> None:
        """Until it is in memory. Raises `NotReady`: why it cannot be brought, or is not there by the deadline (time.monotonic())."""


class ServedModel(ModelView):
    """One model in one worker: rows are checked, batched, predicted, and given up on when their deadline passes."""

    def __init__(self, outcome: Outcome, slot: Slot, observe: Callable[[float, int], None], revision: str = "") -> None:
        super().__init__(outcome, revision)
        self._slot, self._observe = slot, observe
        self.limits = outcome.manifest.spec.serving.limits
        self.pool: Pool | None = None  # where this process has some models in memory, and brings the others when a request comes
        self._deadlines: deque[tuple[float, asyncio.Future[Prediction]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._batcher: Batcher | None = None
        self._held = ""
        self._outputs: Mapping[str, Array] = {}
        self._check: Callable[[Table], Table]
        self._describe()
        if outcome.predictor is not None:
            self._hold(outcome.predictor)

    async def predict(self, call: Call, deadline: float, alone: bool = False) -> Prediction:
        """The model's answer. Raises a `CallError`; cancelling it drops the call while it waits. `alone`: see `Batcher.submit`."""
        while self._batcher is None:
            if self.pool is None:
                break
            await self.pool.bring(self, deadline)
        return await self.submit(call, deadline, alone)

    def submit(self, call: Call, deadline: float, alone: bool = False) -> asyncio.Future[Prediction]:
        """As `predict`, of a model that is in memory; cancelling the answer drops the call."""
        if self._batcher is None:
            raise NotReady(f"model {self.name!r} is not ready: {self.reason or self.state}")
        for name in call.outputs:
            if name not in self._outputs:
                raise BadRequest(f"model {self.name!r} has no output {name!r}; it has {', '.join(sorted(self._outputs))}")
        if call.checked:
            call.table = self._check(call.table)
        if call.table.rows == 0:
            nothing: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
            nothing.set_result(Prediction({name: self._outputs[name] for name in call.outputs}, 0))
            return nothing
        answer = self._batcher.submit(call, deadline, alone)
        if not answer.done():
            self._watch(deadline, answer)
        return answer

    @property
    def held(self) -> str:
        """The digest of what is in this process's memory; "" where nothing is."""
        return self._held

    @property
    def predictor(self) -> Predictor | None:
        """What answers; None where nothing is in memory."""
        return None if self._batcher is None else self._batcher.predictor

    @property
    def taken_bytes(self) -> int:
        """That loading it took, libraries included: this process's part where others share it. 0 where nothing is in memory."""
        return self._outcome.taken_bytes if self._held else 0

    def checked(self, table: Table) -> Table:
        """The rows as the model takes them. Raises a `CallError`."""
        return self._check(table)

    def replace(self, predictor: Predictor) -> None:
        """What is equal to the model answers from the next call on."""
        if self._batcher is not None:
            self._batcher.replace(predictor)

    def follow(self, known: Known) -> Batcher | None:
        """What is known of it changes; what is in memory stays while it is that, or is let go of, as by `release`."""
        self._outcome.take(known)
        self._describe()
        return self.release() if known.state != "Loaded" or known.digest != self._held else None

    def hold(self, known: Known, predictor: Predictor, taken_bytes: int = 0) -> Batcher | None:
        """From the next call on this predictor answers; loading it took so many bytes.

        Gives the batcher of the one before, which still has its own calls to answer.
        """
        before = self._batcher
        self._outcome.take(known)
        self._outcome.taken_bytes = taken_bytes
        self._describe()
        self._hold(predictor)
        return before

    def release(self) -> Batcher | None:
        """Nothing of it is kept in memory, but for the calls that have begun; they keep the batcher that this gives."""
        before, self._batcher, self._held, self._outcome.predictor = self._batcher, None, "", None
        return before

    def _describe(self) -> None:
        self._outputs = {output.name: _no_rows(output) for output in self.signature.outputs}
        self._check = Checker(self.signature)

    def _hold(self, predictor: Predictor) -> None:
        batching = self.manifest.spec.serving.batching
        said = batching.rows_independent
        self._held = self._outcome.digest
        self._batcher = Batcher(
            predictor,
            max_rows=batching.max_rows,
            rows_independent=self._outcome.rows_independent if said is None else said,
            slot=self._slot,
            observe=self._observe,
        )

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._batcher is not None:
            self._batcher.close()

    def _watch(self, deadline: float, answer: asyncio.Future[Prediction]) -> None:
        """One timer for all: deadlines of one model pass in the order in which its requests came (nearly: gRPC's own may be earlier)."""
        while self._deadlines and self._deadlines[0][1].done():
            self._deadlines.popleft()
        self._deadlines.append((deadline, answer))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._deadlines and (self._deadlines[0][1].done() or self._deadlines[0][0] <= now):
            _, answer = self._deadlines.popleft()
            if not answer.done():
                answer.set_exception(
                    DeadlineExceeded(f"no answer within {self.limits.timeout_seconds:g} s (serving.limits.timeoutSeconds)")
                )
        self._timer = asyncio.get_running_loop().call_at(self._deadlines[0][0], self._expire) if self._deadlines else None


def _no_rows(output: Output) -> Array:
    """What a request without rows is answered: an output of the shape and kind that it has with rows."""
    kinds = {"number": "float64", "integer": "int64", "boolean": "bool"}
    dtype = output.dtype or kinds[output.type] if output.type in kinds else "object"
    return np.empty((0,) if output.width is None else (0, max(output.width, 0)), dtype)


Registry = Mapping[str, ServedModel]
