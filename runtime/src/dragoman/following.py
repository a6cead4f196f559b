"""A worker follows what the supervisor says of its models: has them in memory, lets go of them, asks for one that a request needs.

Models are loaded one after another in a thread of their own, so that the event loop goes on turning (slower: Python code shares the
interpreter). The files are on disk and checked, and another process has predicted with the model before: a bad one harms nobody here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import socket
import time
import warnings
import weakref
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dragoman import messages
from dragoman.errors import ModelLoadFailed, NotReady, ServeError
from dragoman.messages import Answered, Ask, Boot, Dropped, Follow, Followed, LineChannel, Load, PutDown, TakeUp
from dragoman.metrics import Metrics
from dragoman.pool import Shelf
from dragoman.registry import ServedModel
from dragoman.signature import Signature
from dragoman.table import Table
from dragoman.uptake import Uptake

if TYPE_CHECKING:
    from dragoman.heartbeat import Slot
    from dragoman.predictors import Predictor

logger = logging.getLogger("dragoman.worker")


class Follower:
    """The pool of one worker. `changed`: what dialects know of a model is not what they were built with."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        boot: Boot,
        orders: socket.socket,
        slot: Slot,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        self._models, self._boot, self._slot, self._metrics, self._changed = models, boot, slot, metrics, changed
        self._channel = LineChannel(orders)
        size = boot.settings.cache_size
        self._shelf = None if size is None else Shelf(size)
        if size is not None:
            for model in models.values():
                model.pool = self
        self._built = {name: _as_built(model) for name, model in models.items()}
        self._told: dict[str, int] = {}  # the ticket of what was said last of a model
        self._held_by: dict[str, int] = {}  # the ticket by which a model came into memory
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}  # requests for a model that is on its way
        self._asked: dict[int, asyncio.Future[Answered]] = {}
        self._tickets = itertools.count(1)
        self._turn = asyncio.Lock()  # one model is loaded at a time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._sizes: dict[str, int] = {}  # bytes that a model took, or those of its files where that is more
        self._taken: dict[str, int] = {}  # as measured while it was loaded
        self._going: set[weakref.ref[Any]] = set()  # what was let go of, and still has calls to answer
        self._gone_bytes = 0  # since memory was last given back
        self._tasks: set[asyncio.Task[None]] = set()
        self._uptake = Uptake(models, boot, self._channel, slot, self._turn, self._thread)

    def start(self) -> None:
        """Hear the supervisor, beginning with what it has said already."""
        self._read()
        asyncio.get_running_loop().add_reader(self._channel.socket, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel.socket)
        self._thread.shutdown(wait=False, cancel_futures=True)
        for task in self._tasks:
            task.cancel()

    # --- what requests ask for ---

    def use(self, model: ServedModel) -> bool:
        assert self._shelf is not None
        return self._shelf.use(model.name) and bool(model.held)

    async def bring(self, model: ServedModel, deadline: float) -> None:
        """As `registry.Pool` has it. Requests that come while it is on its way wait for the same load."""
        name = model.name
        if model.state == "Unloaded" and not model.ready:
            raise NotReady(f"model {name!r} is not ready: {model.reason}")
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = []
            self._channel.send(Ask(verb="bring", model=name))
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(arrival)
        try:
            async with asyncio.timeout_at(deadline):
                await arrival
        except TimeoutError:
            limit = model.limits.timeout_seconds
            raise NotReady(
                f"model {name!r} is on its way into memory, and was not there within {limit:g} s (serving.limits.timeoutSeconds): try again"
            ) from None

    async def order(self, verb: Literal["load", "unload"], model: ServedModel, deadline: float) -> None:
        """An administrator's word, done once every worker has followed. Raises `NotReady`: why it could not be done."""
        ticket = next(self._tickets)
        answer = self._asked[ticket] = asyncio.get_running_loop().create_future()
        self._channel.send(Ask(verb=verb, model=model.name, ticket=ticket))
        try:
            async with asyncio.timeout_at(deadline):
                answered = await answer
        except TimeoutError:
            raise NotReady(f"{verb}ing model {model.name!r} goes on, and was not done by the deadline; its /ready tells") from None
        finally:
            del self._asked[ticket]
        if answered.reason:
            raise NotReady(f"model {model.name!r} could not be {verb}ed: {answered.reason}: {answered.message}")

    # --- what the supervisor says ---

    def _read(self) -> None:
        try:
            for line in self._channel.receive(wait=False):
                message = messages.to_follower.decode(line)
                if isinstance(message, Follow):
                    self._follow(message)
                elif isinstance(message, TakeUp):
                    self._start(self._uptake.take_up(message))
                elif isinstance(message, PutDown):
                    self._uptake.put_down(message)
                elif message.ticket in self._asked and not self._asked[message.ticket].done():
                    self._asked[message.ticket].set_result(message)
        except BlockingIOError:
            pass
        except (EOFError, ConnectionResetError):  # the lifeline ends this process
            asyncio.get_running_loop().remove_reader(self._channel.socket)

    def _follow(self, said: Follow) -> None:
        model = self._models[said.known.model]
        self._told[model.name] = said.ticket
        if said.hold and said.load is not None:
            self._start(self._hold(model, said, said.load))
            return
        self._let_go(model, lambda: model.follow(said.known))
        if not model.held and self._shelf is not None:
            self._shelf.remove(model.name)
        try:
            self._rebuild(model)
        except ServeError as error:  # another model's paths are in its way; loading it will say so
            logger.error("%s", error.message, extra={"model": model.name})  # noqa: TRY400
        if model.state == "Failed" or not model.ready:
            self._wake(model, said.retry_seconds)
        self._channel.send(Followed(ticket=said.ticket, model=model.name, held=bool(model.held)))

    async def _hold(self, model: ServedModel, said: Follow, load: Load) -> None:
        async with self._turn:
            reason = message = ""
            try:
                await self._bring_in(model, said, load)
            except ServeError as error:
                reason, message = error.reason, error.message
            except Exception as error:
                logger.exception("loading failed", extra={"model": model.name})
                reason, message = ModelLoadFailed.reason, f"{load.name}: {type(error).__name__}: {error}"
            held = model.held == said.known.digest
            if not model.held and self._shelf is not None:
                self._shelf.remove(model.name)
            self._channel.send(Followed(ticket=said.ticket, model=model.name, held=held, reason=reason, message=message))
            if held:
                self._wake(model)
                await asyncio.sleep(0)  # those who waited call it before another model may take its place

    async def _bring_in(self, model: ServedModel, said: Follow, load: Load) -> None:
        """Raises what stands against it, a `ServeError` or what nobody foresaw."""
        if model.held == said.known.digest:
            model.follow(said.known)
        elif self._current(said):
            self._make_room(model)
            predictor = await self._loaded(model, said, load)
            if not self._current(said):
                return
            self._let_go(model, lambda: model.hold(said.known, predictor, self._taken.pop(model.name, 0)))
            del predictor
        if model.held:
            self._held_by[model.name] = said.ticket
            self._rebuild(model)

    def _current(self, said: Follow) -> bool:
        """Whether nothing else was said of the model since."""
        return self._told[said.known.model] == said.ticket

    async def _loaded(self, model: ServedModel, said: Follow, load: Load) -> Predictor:

        def work() -> Predictor:
            from dragoman import loading

            before, private = loading.resident_bytes(), loading.private_bytes()
            predictor = loading.load_model(load, model.manifest, self._boot.settings).predictor
            warm_up(predictor, msgspec.json.decode(said.known.signature, type=Signature), model.name)
            self._taken[model.name] = loading.private_bytes() - private
            self._sizes[model.name] = max(loading.size_of(load), loading.resident_bytes() - before)
            return predictor

        started = time.monotonic()
        self._slot.loading(started + model.limits.load_timeout_seconds)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._slot.loading(0.0)
            self._metrics.model_load_seconds.labels(model.name).observe(time.monotonic() - started)

    def _make_room(self, model: ServedModel) -> None:
        if self._shelf is None:
            return
        for name in self._shelf.admit(model.name):
            other = self._models[name]
            self._let_go(other, other.release)
            self._channel.send(Dropped(model=name, ticket=self._held_by[name]))

    def _wake(self, model: ServedModel, retry_seconds: float = 0.0) -> None:
        """Requests that wait for the model go on, or are told why they cannot."""
        for arrival in self._waiting.pop(model.name, ()):
            if arrival.done():
                continue
            if model.held:
                arrival.set_result(None)
            else:
                error = NotReady(f"model {model.name!r} is not ready: {model.reason or model.state}")
                error.headers = (("retry-after", str(max(1, math.ceil(retry_seconds)))),)
                arrival.set_exception(error)

    def _rebuild(self, model: ServedModel) -> None:
        """Where dialects are built differently with what is known of the model now. Raises `InvalidSpec` where paths clash."""
        now = _as_built(model)
        if now != self._built[model.name]:
            self._changed()
            self._built[model.name] = now

    # --- giving memory back ---

    def _let_go(self, model: ServedModel, release: Callable[[], object | None]) -> None:
        """Once nothing predicts with it any more, its memory goes back to the system."""
        size = self._sizes.get(model.name, _UNKNOWN_BYTES)
        batcher = release()
        if batcher is None:
            return
        self._uptake.let_go(model.name)
        loop = asyncio.get_running_loop()
        self._going.add(weakref.ref(batcher, lambda gone: loop.call_soon_threadsafe(self._gone, gone, size)))

    def _gone(self, batcher: weakref.ref[Any], size: int) -> None:
        from dragoman import loading

        self._going.discard(batcher)
        self._gone_bytes += size
        if self._gone_bytes >= loading.LEAVES_MUCH:
            self._gone_bytes = 0
            self._thread.submit(loading.return_memory)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def warm_up(predictor: Predictor, signature: Signature, name: str) -> None:
    """Predict the example row once, so that the first request does not pay for what a library puts off until then."""
    if not signature.inputs:
        rehearse = getattr(predictor, "rehearse", None)
        if rehearse is not None:
            rehearse()
        return
    from dragoman.check import Checker

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = Checker(signature)(Table.of_rows([signature.example_row()]))
            predictor.predict(row, ("predict",), {})
    except Exception as error:  # noqa: BLE001  the model's own code: the examination has reported it, requests will see it
        logger.debug("warm-up of %s raised %s: %s", name, type(error).__name__, error)


def _as_built(model: ServedModel) -> tuple[bool, str]:
    """What tells one build of the dialects' paths for a model from another."""
    return model.state == "Loaded", model.version


_UNKNOWN_BYTES = 1 << 30  # of a model that was loaded before the fork: taken for a large one
