"""The models of a running server, as its supervisor brings, loads and unloads them. What holds for a model is told to every worker.

Whatever is done to one model is done by one task at a time; models do not wait for each other. A model is fetched once and tried in a
child once, however many workers have it: they load it themselves from the files that were checked, since processes that were forked
before cannot share it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dragoman import metrics
from dragoman.compiler import Compiler
from dragoman.errors import ServeError, serve_error
from dragoman.examiner import Examiner
from dragoman.fetching import fetch_model
from dragoman.manifest import ModelDeployment, State
from dragoman.messages import Answered, Ask, Dropped, Follow, Followed, FromFollower, Known, Load, Message, TakenUp
from dragoman.pool import NEVER_FAILED, state_of
from dragoman.settings import Settings
from dragoman.status import Failure, ModelStatus
from dragoman.stock import Entry, Stock
from dragoman.storage.request import Fetched
from dragoman.worker_channel import WorkerChannel

logger = logging.getLogger("dragoman")


class Repository:
    """`tell_loader` sends it a message, `start` runs a coroutine in the supervisor's loop."""

    def __init__(
        self,
        models: Mapping[str, ModelStatus],
        manifests: Mapping[str, ModelDeployment],
        settings: Settings,
        fetches: asyncio.Semaphore,
        scratch: Path,
        *,
        tell_loader: Callable[[Message], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._settings, self._fetches, self._tell_loader, self._start = settings, fetches, tell_loader, start
        self._on_demand = settings.cache_size is not None
        self._entries = {}
        for name, manifest in manifests.items():
            unseen = Known(
                model=name,
                state="Unloaded" if self._on_demand else "Pending",
                digest=manifest.spec.model.digest or "",
                on_demand=self._on_demand,
            )
            self._entries[name] = Entry(manifest, models[name], unseen, unseen)
            if self._on_demand:
                models[name].step("Unloaded")
        self._workers: dict[int, WorkerChannel] = {}
        self._tickets = itertools.count(1)
        self._acks: dict[int, tuple[int, asyncio.Future[Followed]]] = {}  # by ticket: the worker, and what it answers
        self.examiner = Examiner(tell_loader)
        self.compiler = Compiler(models, manifests, settings, scratch, tell_loader=tell_loader, start=start)

    # --- what was loaded at the start ---

    def keep(self, fetched: Fetched, load: Load) -> None:
        """A model that the loader is about to load for workers to share: its files stay."""
        entry = self._entries[load.model]
        entry.stock = Stock(msgspec.structs.replace(load, own=True), fetched, entry.known)

    def loaded(self, known: Known) -> None:
        """The loader has it."""
        entry = self._entries[known.model]
        entry.known = entry.seen = known
        if entry.stock is not None:
            entry.stock = Stock(entry.stock.load, entry.stock.fetched, known)

    def failed(self, name: str, error: ServeError) -> None:
        entry = self._entries[name]
        entry.known = msgspec.structs.replace(entry.known, state="Failed", reason=error.reason, message=error.message)
        self._free(entry)

    def followed(self, name: str) -> Follow | None:
        """What a fresh loader is told of a model that is not loaded there for workers to share."""
        entry = self._entries[name]
        if not entry.followed:
            return None
        return Follow(known=entry.known, load=None if self._on_demand or entry.stock is None else entry.stock.load)

    def compile_served(self) -> None:
        """Every worker is ready: what they serve may be compiled."""
        for entry in self._entries.values():
            self._compile(entry)

    def _compile(self, entry: Entry) -> None:
        """What is served of a model may be other bytes than before."""
        if entry.known.state == "Loaded" and entry.stock is not None:
            self.compiler.begin(entry.manifest.name, entry.stock.load, entry.known.format)
        else:
            self.compiler.drop(entry.manifest.name)

    # --- hearing workers ---

    def ready(self, index: int) -> None:
        """A worker serves."""
        if index in self._workers:
            self.compiler.joined(index, self._workers[index])

    def joined(self, index: int) -> WorkerChannel:
        """The channel of a worker that is about to be started."""
        before = self._workers.get(index)
        if before is not None:
            before.close()
        channel = WorkerChannel(
            lambda channel, message: self._on_message(index, channel, message), lambda channel: self._left(index, channel)
        )
        self._workers[index] = channel
        return channel

    def _left(self, index: int, channel: WorkerChannel) -> None:
        """A worker has ended, and all that it had in memory with it."""
        if self._workers.get(index) is not channel:
            return
        del self._workers[index]
        self.compiler.left(index)
        for ticket, (owner, answer) in list(self._acks.items()):
            if owner == index and not answer.done():
                answer.set_result(Followed(ticket=ticket, model="", held=False))
        for entry in self._entries.values():
            entry.wanting.discard(index)
            if index in entry.told:
                self._lost(entry, index)

    def _on_message(self, index: int, channel: WorkerChannel, message: FromFollower) -> None:
        if isinstance(message, Ask):
            entry = self._entries[message.model]
            if message.verb == "bring":
                entry.wanting.add(index)
                self._start(self._bring(entry))
            else:
                self._start(self._obey(channel, message, entry))
            return
        if isinstance(message, TakenUp):
            self.compiler.on_taken_up(index, message)
            return
        entry = self._entries[message.model]
        _, answer = self._acks.get(message.ticket, (None, None))
        if isinstance(message, Followed) and answer is not None and not answer.done():
            answer.set_result(message)
        if entry.told.get(index) != message.ticket:
            return
        if isinstance(message, Dropped) or not message.held:
            self._lost(entry, index)
        else:
            entry.held.add(index)
            entry.backoff = NEVER_FAILED
            self._show(entry)
        if isinstance(message, Followed) and message.reason and answer is None:
            self._start(self._stop(entry, serve_error(message.reason, message.message)))

    # --- on demand ---

    async def _bring(self, entry: Entry) -> None:
        """Give the model to the workers that want it."""
        async with entry.turn:
            if not entry.wanting:
                return
            wait = entry.backoff.wait(time.monotonic())
            if not entry.known.on_demand or wait:
                self._say(entry, entry.wanting, Follow(known=entry.known, retry_seconds=wait))
                entry.wanting.clear()
                return
            if entry.stock is None:
                try:
                    self._adopt(entry, await self._made(entry, entry.status))
                except ServeError as error:
                    self._give_up(entry, error)
                    return
                self._tell_loader(Follow(known=entry.known))
                self._say(entry, self._workers.keys() - entry.wanting, Follow(known=entry.known))
            assert entry.stock is not None
            for index in list(entry.wanting):
                self._give(entry, index, entry.stock.load)
            entry.wanting.clear()
            self._show(entry)

    async def _stop(self, entry: Entry, error: ServeError) -> None:
        """A worker could not load what could be loaded elsewhere: of memory, perhaps."""
        async with entry.turn:
            if entry.known.state == "Loaded":
                self._give_up(entry, error)

    def _give_up(self, entry: Entry, error: ServeError) -> None:
        """Until it is tried again, which may help or not."""
        logger.error("%s", error.message, extra={"model": entry.manifest.name, "reason": error.reason})
        now = time.monotonic()
        backoff = entry.backoff = entry.backoff.failed(now)
        entry.status.fail(error)
        self._free(entry)
        entry.wanting.clear()
        entry.known = msgspec.structs.replace(entry.seen, state="Failed", reason=error.reason, message=error.message)
        wait = backoff.wait(now)
        self._tell_loader(Follow(known=entry.known))
        self._say(entry, self._workers.keys(), Follow(known=entry.known, retry_seconds=wait))
        entry.followed = True

        def again() -> None:
            if entry.backoff is backoff and entry.known.state == "Failed":
                entry.known, entry.status.failure = entry.seen, None
                entry.status.last_error = Failure(error.reason, error.message)
                self._tell_loader(Follow(known=entry.known))
                self._say(entry, self._workers.keys(), Follow(known=entry.known))
                self._show(entry)

        asyncio.get_running_loop().call_later(wait, again)

    def _lost(self, entry: Entry, index: int) -> None:
        entry.told.pop(index, None)
        entry.held.discard(index)
        if self._on_demand and not entry.told:
            self._free(entry)
        self._show(entry)

    def _show(self, entry: Entry) -> None:
        if not self._on_demand:
            return
        failed = entry.known.state == "Failed"
        on_its_way = entry.status.state if entry.turn.locked() and entry.status.state in ("Fetching", "Loading") else None
        entry.status.held_by = sorted(entry.held)
        state = state_of(off=not entry.known.on_demand, failed=failed, on_its_way=on_its_way, told=entry.told, held=entry.held)
        if state != entry.status.state:
            entry.status.step(state)

    # --- at an administrator's word ---

    async def _obey(self, channel: WorkerChannel, asked: Ask, entry: Entry) -> None:
        try:
            async with entry.turn:
                await (self._load(entry) if asked.verb == "load" else self._unload(entry))
        except ServeError as error:
            logger.error("%s", error.message, extra={"model": asked.model, "reason": error.reason})  # noqa: TRY400  the message says all
            channel.send(Answered(ticket=asked.ticket, reason=error.reason, message=error.message))
        else:
            channel.send(Answered(ticket=asked.ticket))
        finally:
            self._compile(entry)

    async def _load(self, entry: Entry) -> None:
        """Fetch it anew, try it, and have every worker load it. What is served goes on being served until then, and after a failure."""
        before, known = entry.stock, entry.known
        serving = known.state == "Loaded"
        status = msgspec.structs.replace(entry.status) if serving else entry.status
        entry.backoff = NEVER_FAILED
        try:
            stock = await self._made(entry, status, announce=not serving)
        except ServeError as error:
            if known.on_demand and not serving:
                self._give_up(entry, error)
            elif not serving:
                entry.status.fail(error)
                entry.known = msgspec.structs.replace(
                    entry.seen, state="Failed", reason=error.reason, message=error.message, on_demand=False
                )
                await self._tell_all(entry, Follow(known=entry.known))
            raise
        if serving and stock.known.digest == known.digest and not self._on_demand:
            stock.fetched.lease.release()  # what is served is what is there
            return
        problems = await self._tell_all(entry, Follow(known=stock.known, load=stock.load, hold=True))
        if problems:
            stock.fetched.lease.release()
            refusal = serve_error(problems[0].reason, problems[0].message)
            back = Follow(known=msgspec.structs.replace(known, state="Failed", reason=refusal.reason, message=refusal.message))
            if serving and before is not None:
                back = Follow(known=before.known, load=before.load, hold=True)
            else:
                entry.status.fail(refusal)
                entry.told.clear()
            entry.known, entry.stock = back.known, before
            await self._tell_all(entry, back)
            raise refusal
        if before is not None and before.fetched is not stock.fetched:
            before.fetched.lease.release()
        self._adopt(entry, stock)
        entry.status.step("Loaded")
        self._show(entry)
        if stock.found is None:  # the same bytes as before: nothing was tried, and `_adopt` told of nothing
            _log_loaded(entry)

    async def _unload(self, entry: Entry) -> None:
        """Calls that have begun end as they would have; the next are refused."""
        entry.known = msgspec.structs.replace(
            entry.known, state="Unloaded", reason="Unloaded", message="an administrator unloaded it", on_demand=False
        )
        entry.backoff = NEVER_FAILED
        _count_info(entry, self._settings.revision, 0)
        self._free(entry)
        entry.status.unload()
        await self._tell_all(entry, Follow(known=entry.known))
        self._show(entry)
        logger.info("unloaded", extra={"model": entry.manifest.name})

    async def _tell_all(self, entry: Entry, said: Follow) -> Sequence[Followed]:
        """The loader, and every worker until it has followed or ended. Gives the answers of those that could not."""
        entry.followed = True
        self._tell_loader(msgspec.structs.replace(said, load=None if self._on_demand else said.load))
        answers = []
        for index in list(self._workers):
            answer: asyncio.Future[Followed] = asyncio.get_running_loop().create_future()
            ticket = next(self._tickets)
            self._acks[ticket] = (index, answer)
            answers.append((ticket, answer))
            if said.hold:
                entry.told[index] = ticket
            self._workers[index].send(msgspec.structs.replace(said, ticket=ticket))
        try:
            return [followed for followed in await asyncio.gather(*(answer for _, answer in answers)) if followed.reason]
        finally:
            for ticket, _ in answers:
                del self._acks[ticket]

    # --- one model ---

    async def _made(self, entry: Entry, status: ModelStatus, *, announce: bool = False) -> Stock:
        """Fetched, and tried where these bytes were not before. Raises a `ServeError`. `announce`: workers are told how far it is."""
        name, settings = entry.manifest.name, self._settings
        if announce:
            self._say_step(entry, "Fetching")
        fetched = await fetch_model(status, entry.manifest, settings, self._fetches, patient=False)
        load = Load(model=name, path=str(fetched.path), name=fetched.name, digest=fetched.digest, own=True)
        status.bytes = status.total_bytes = fetched.bytes
        status.step("Loading")
        if announce:
            self._say_step(entry, "Loading")
        if entry.seen.state == "Loaded" and entry.seen.digest == fetched.digest:
            return Stock(load, fetched, msgspec.structs.replace(entry.seen, on_demand=self._on_demand))
        try:
            found = await self.examiner.examined(load, entry.manifest.spec.serving.limits.load_timeout_seconds)
            examined = found.examined
            if examined.reason:
                raise serve_error(examined.reason, examined.message)  # noqa: TRY301
        except BaseException:
            fetched.lease.release()
            raise
        known = Known(
            model=name,
            state="Loaded",
            digest=fetched.digest,
            format=examined.format,
            signature=examined.signature,
            rows_independent=examined.rows_independent,
            authored=examined.authored,
            on_demand=self._on_demand,
        )
        return Stock(load, fetched, known, found)

    def _adopt(self, entry: Entry, stock: Stock) -> None:
        """From now on this is the model."""
        if stock.known.digest != entry.status.digest and entry.status.digest:
            _count_info(entry, self._settings.revision, 0)
        entry.stock, entry.known, entry.seen, entry.followed = stock, stock.known, stock.known, True
        status = entry.status
        status.digest, status.format, status.own = stock.known.digest, stock.known.format, True
        status.bytes = status.total_bytes = stock.fetched.bytes
        status.failure = status.last_error = None
        if stock.found is not None:
            found, examined = stock.found, stock.found.examined
            status.loaded(seconds=found.seconds, versions=examined.versions, warnings=examined.warnings, examples=found.examples)
            _log_loaded(entry)
        _count_info(entry, self._settings.revision, 1)

    def _free(self, entry: Entry) -> None:
        """Its files may leave the disk."""
        if entry.stock is not None:
            entry.stock.fetched.lease.release()
        entry.stock = None
        entry.told.clear()
        entry.held.clear()

    def _give(self, entry: Entry, index: int, load: Load) -> None:
        channel = self._workers.get(index)
        if channel is not None:
            entry.told[index] = ticket = next(self._tickets)
            channel.send(Follow(known=entry.known, load=load, hold=True, ticket=ticket))

    def _say_step(self, entry: Entry, state: State) -> None:
        entry.known = msgspec.structs.replace(entry.known, state=state, reason="", message="")
        self._say(entry, self._workers.keys(), Follow(known=entry.known))

    def _say(self, entry: Entry, workers: Iterable[int], said: Follow) -> None:
        """Without waiting for them."""
        for index in list(workers):
            if index in self._workers:
                self._workers[index].send(msgspec.structs.replace(said, ticket=next(self._tickets)))


def _log_loaded(entry: Entry) -> None:
    logger.info("loaded", extra={"model": entry.status.name, "format": entry.status.format, "digest": entry.status.digest})


def _count_info(entry: Entry, revision: str, value: int) -> None:
    status = entry.status
    if status.digest:
        metrics.metrics().model_info.labels(status.name, revision, status.digest, status.format).set(value)
