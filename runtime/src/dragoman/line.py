"""How the calls of one path wait for the model, where its API says so: bounds, a queue, a window that gathers several calls' rows.

What the batcher does is the runtime's own, and nobody waits for it; what happens here is part of a prediction API, and is what its
dialect declares as a `Line`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec

from dragoman.batcher import as_call_error
from dragoman.call import Call, Prediction
from dragoman.dialects.dialect import Line
from dragoman.errors import QueueFull, Throttled, TooManyRows, WaitedTooLong
from dragoman.table import concat

Ask = Callable[[Call, float, bool], Awaitable[Prediction]]  # as `ServedModel.predict`: a call, its deadline, whether no other can come


class _Waiting(msgspec.Struct, eq=False):
    call: Call
    kind: Any  # calls of one kind may be gathered
    came: float  # time.monotonic() seconds
    deadline: float
    answer: asyncio.Future[Prediction]


class Turnstile:
    """A `Line` at work: one path in one worker, on one event loop. `ask` is the model's own `predict`."""

    def __init__(self, line: Line, ask: Ask) -> None:
        self._line, self._ask = line, ask
        self._inside = 0
        self._queue: deque[_Waiting] = deque()
        self._window: list[_Waiting] = []  # those whose turn it is
        self._open = False  # whether the window still gathers
        self._came = asyncio.Event()  # something that may close the window
        self._work: asyncio.Task[None] | None = None
        self._hurry = False

    def enter(self) -> None:
        """Counts a request in, or raises `Throttled`. Each `enter` is followed by one `leave`."""
        limit = self._line.max_requests
        if limit is not None and self._inside >= limit:
            raise Throttled(f"{self._inside} requests are being answered, as many as this path takes at a time: try again later")
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1

    async def predict(self, call: Call, deadline: float, alone: bool = False) -> Prediction:
        """The answer, once it was the call's turn; cancelling drops the call while it waits.

        `deadline` in time.monotonic() seconds; `alone`: see `Batcher.submit`. Raises `TooManyRows`, `QueueFull`, `WaitedTooLong`, and
        what the model's own predict does.
        """
        self._bound(call)
        if self._line.queue is None or call.table.rows == 0:
            return await self._ask(call, deadline, alone)
        return await self._wait(call, deadline, self._line.wait_seconds)

    def submit(self, call: Call, deadline: float) -> asyncio.Future[Prediction]:
        """The answer to come, of a call that no client waits for. Raises `TooManyRows` and `QueueFull`."""
        self._bound(call)
        if self._line.queue is None or call.table.rows == 0:
            return asyncio.ensure_future(self._ask(call, deadline, False))
        return self._wait(call, deadline, None)

    def hurry(self) -> None:
        """From now on nothing waits to be gathered: the server is about to end."""
        self._hurry = True
        self._came.set()

    def _bound(self, call: Call) -> None:
        rows, limit = call.table.rows, self._line.max_rows
        if limit is not None and rows > limit:
            raise TooManyRows(f"the request has {rows} rows, and {limit} is the most that this path takes")

    def _wait(self, call: Call, deadline: float, seconds: float | None) -> asyncio.Future[Prediction]:
        line, loop, now = self._line, asyncio.get_running_loop(), time.monotonic()
        waiting = _Waiting(call, _kind(call) if line.gather_rows else None, now, deadline, loop.create_future())
        self._join(waiting)
        due = deadline if seconds is None else min(deadline, now + seconds)
        timer = loop.call_at(due, _expire, waiting.answer)
        waiting.answer.add_done_callback(lambda _: timer.cancel())
        return waiting.answer

    def _join(self, waiting: _Waiting) -> None:
        if self._work is None:
            self._begin(waiting)
            self._work = asyncio.get_running_loop().create_task(self._serve())
        elif self._open and waiting.kind == self._window[0].kind:
            self._window.append(waiting)
            self._came.set()
        else:
            assert self._line.queue is not None
            if len(self._queue) >= self._line.queue:
                self._queue = deque(w for w in self._queue if not w.answer.done())
            if len(self._queue) >= self._line.queue:
                raise QueueFull(f"{len(self._queue)} calls wait, as many as the queue holds: try again later")
            self._queue.append(waiting)

    async def _serve(self) -> None:
        """One window after the other, until nothing waits."""
        while self._window:
            if self._open:
                await self._gather()
            await self._answer([w for w in self._window if not w.answer.done()])
            self._window = []
            while self._queue and not self._window:
                self._begin(self._queue.popleft())
        self._work = None

    def _begin(self, first: _Waiting) -> None:
        """A window for the one who has waited longest, and for those of its kind that wait behind it."""
        if first.answer.done():
            return
        self._window, self._open = [first], bool(self._line.gather_rows)
        if self._open and self._queue:
            self._window += [w for w in self._queue if w.kind == first.kind]
            self._queue = deque(w for w in self._queue if w.kind != first.kind)

    async def _gather(self) -> None:
        assert self._line.gather_rows
        closes = self._window[0].came + self._line.gather_seconds
        while not self._hurry and (remaining := closes - time.monotonic()) > 0:
            rows = sum(w.call.table.rows for w in self._window if not w.answer.done())
            if rows >= self._line.gather_rows or rows == 0:
                break
            self._came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._came.wait()
        self._open = False

    async def _answer(self, window: list[_Waiting]) -> None:
        if not window:
            return
        try:
            call = _joined([w.call for w in window])
        except Exception as error:  # noqa: BLE001  rows that cannot be put together, or not in memory; the next window must come
            _refuse(window, as_call_error(error))
            return
        asked = asyncio.ensure_future(self._ask(call, max(w.deadline for w in window), False))

        def left(_: object) -> None:
            if not asked.done() and all(w.answer.done() for w in window):
                asked.cancel()

        for waiting in window:
            waiting.answer.add_done_callback(left)
        await asyncio.wait([asked])
        if asked.cancelled():
            return
        failed = asked.exception()
        if failed is not None:
            _refuse(window, failed)
        else:
            _deal(window, asked.result())


def _kind(call: Call) -> tuple[Any, ...]:
    """Calls with equal ones can be one call. `repr` tells 1 from 1.0 and from true, which `==` does not."""
    table = call.table
    shape = None if table.array is None else (table.array.shape[1:], table.array.dtype.kind in "iuf")
    return call.outputs, repr(sorted(call.arguments.items())), call.checked, table.names, table.width, shape


def _joined(calls: list[Call]) -> Call:
    if len(calls) == 1:
        return calls[0]
    first = calls[0]
    return Call(concat([c.table for c in calls]), first.outputs, first.arguments, None, first.checked, all(c.mixes for c in calls))


def _deal(window: list[_Waiting], prediction: Prediction) -> None:
    start = 0
    for waiting in window:
        stop = start + waiting.call.table.rows
        if not waiting.answer.done():
            waiting.answer.set_result(prediction if len(window) == 1 else prediction.slice(start, stop))
        start = stop


def _refuse(window: list[_Waiting], error: BaseException) -> None:
    for waiting in window:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _expire(answer: asyncio.Future[Prediction]) -> None:
    if not answer.done():
        answer.set_exception(WaitedTooLong("no answer came in the time that a client waits on this path"))
