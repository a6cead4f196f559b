"""Batching without timers: requests that are decoded in turns of the event loop that follow each other are predicted together.

The first request of a turn asks the loop to flush at its next turn (`call_soon`). A turn that brought more requests is followed by another;
one that brought none flushes. So one request alone waits for an empty turn, some microseconds, and one whose client is the only one does
not even wait for that; while more come, what a turn does (reading and decoding them) had to be done anyway. A predict that is fast, by its
own moving average, runs inline; a slow one runs in one thread, and requests gather behind it. Requests mix only where the model's rows are
independent, and only with the same arguments.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from dragoman.call import EXPLAIN, Call, Prediction
from dragoman.errors import CallError, DeadlineExceeded, ModelFailed
from dragoman.heartbeat import Slot
from dragoman.predictors import Predictor, checked_outputs, names_of_columns
from dragoman.table import Table, concat

INLINE_SECONDS = 0.005  # a predict expected to take longer goes to the thread, so that the loop keeps turning
_LONG_SECONDS = 0.001  # after an inline predict of more, what came meanwhile is read before the next one
_SMOOTHING = 0.2  # weight of the newest measurement in the moving average


class _Waiting(msgspec.Struct, eq=False):
    call: Call
    answer: asyncio.Future[Prediction]
    deadline: float  # time.monotonic() seconds


class Batcher:
    """Feeds one model from many requests. Lives on one event loop."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        max_rows: int,
        rows_independent: bool,
        slot: Slot,
        observe: Callable[[float, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.predictor = predictor
        self._max_rows = max_rows if rows_independent else 0
        self._slot, self._observe, self._clock = slot, observe, clock
        self._waiting: deque[_Waiting] = deque()
        self._gathered = 0  # calls that waited when the last turn of the loop began
        self._scheduled = False  # a flush is due, or the thread is busy and will flush when it ends
        self._expected: dict[int, float] = {}  # seconds that a predict takes, by `_size`
        self._unknown = INLINE_SECONDS  # of a number of rows not seen yet: to the thread with it
        self._thread: ThreadPoolExecutor | None = None

    def submit(self, call: Call, deadline: float, alone: bool = False) -> asyncio.Future[Prediction]:
        """The answer to come. Cancelling it drops the call if its predict has not begun. `alone`: no other can come in this turn."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(call, loop.create_future(), deadline)
        self._waiting.append(waiting)
        if not self._scheduled:
            self._scheduled = True
            if alone:
                self._gathered = 1
                self._flush()
            else:
                loop.call_soon(self._flush)
        return waiting.answer

    def replace(self, predictor: Predictor) -> None:
        """Another one answers from the next batch on, as the one before would; how long it takes is measured anew."""
        self.predictor = predictor
        self._expected.clear()

    def expect(self, seconds: float) -> None:
        """How long a predict is taken to last until it has been measured."""
        self._unknown = seconds

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _flush(self) -> None:
        """Predict one batch; whatever still waits is for the next turn, so that replies and new requests come in between."""
        loop = asyncio.get_running_loop()
        if self._gathered < len(self._waiting) < self._max_rows:  # this turn brought some: the next may bring more
            self._gathered = len(self._waiting)
            loop.call_soon(self._flush)
            return
        self._gathered = 0
        batch = self._next_batch()
        if not batch:
            self._scheduled = False
            return
        rows = sum([w.call.table.rows for w in batch])
        if self._expected.get(_size(batch[0].call, rows), self._unknown) < INLINE_SECONDS:
            answers, seconds = self._run(batch)
            self._deal(batch, rows, answers, seconds)
            self._go_on(loop, inline_seconds=seconds)
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="predict")
            running = loop.run_in_executor(self._thread, self._run, batch)
            running.add_done_callback(lambda done: self._thread_done(batch, rows, done, loop))

    def _thread_done(
        self,
        batch: list[_Waiting],
        rows: int,
        done: asyncio.Future[tuple[list[Prediction | Exception], float]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        if done.cancelled():
            return
        self._deal(batch, rows, *done.result())
        self._go_on(loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop, inline_seconds: float = 0.0) -> None:
        if not self._waiting:
            self._scheduled = False
        elif inline_seconds > _LONG_SECONDS:  # a turn runs what is due, then reads: the next one reads, and the one after it predicts
            loop.call_soon(loop.call_soon, self._flush)
        else:
            loop.call_soon(self._flush)

    def _next_batch(self) -> list[_Waiting]:
        """The oldest call, and as many of the following ones as may go with it. Calls nobody waits for any more are dropped."""
        batch: list[_Waiting] = []
        rows = 0
        now = self._clock()
        others: list[_Waiting] = []
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            if waiting.deadline <= now:
                waiting.answer.set_exception(DeadlineExceeded("the request's deadline passed before its turn came"))
                continue
            if not batch or (_mix(batch[0].call, waiting.call) and rows + waiting.call.table.rows <= self._max_rows):
                batch.append(waiting)
            else:
                others.append(waiting)
                if rows >= self._max_rows:
                    break
                continue
            rows += waiting.call.table.rows
            if rows >= self._max_rows or not waiting.call.mixes:
                break
        self._waiting.extendleft(reversed(others))
        return batch

    def _run(self, batch: list[_Waiting]) -> tuple[list[Prediction | Exception], float]:
        """Predict a batch, inline or in the thread, and how many seconds it took.

        A batch that fails is retried call by call, so that one bad row fails alone.
        """
        calls = [w.call for w in batch]
        started = self._clock()
        self._slot.predicting(started, max([w.deadline for w in batch]))
        answers: list[Prediction | Exception]
        try:
            answers = [*self._predict(calls)]
        except Exception as error:  # noqa: BLE001  the model's code may raise anything; this is the edge of a predict
            answers = [error] if len(calls) == 1 else [self._predict_alone(call) for call in calls]
        self._slot.predicted()
        return answers, self._clock() - started

    def _predict(self, calls: Sequence[Call]) -> list[Prediction]:
        first = calls[0]
        if len(calls) == 1:
            return [self._answer(first.table, first.outputs, first.arguments)]
        whole = self._answer(concat([call.table for call in calls]), union(call.outputs for call in calls), first.arguments)
        dealt, start = [], 0
        for call in calls:
            stop = start + call.table.rows
            dealt.append(whole.slice(start, stop, call.outputs))
            start = stop
        return dealt

    def _answer(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Prediction:
        given = self.predictor.predict(table, outputs, arguments)
        return Prediction(checked_outputs(given, outputs, table.rows), table.rows, names_of_columns(given))

    def _predict_alone(self, call: Call) -> Prediction | Exception:
        try:
            return self._predict([call])[0]
        except Exception as error:  # noqa: BLE001  as above
            return error

    def _learn(self, call: Call, rows: int, seconds: float) -> None:
        size = _size(call, rows)
        before = self._expected.get(size, seconds)
        self._expected[size] = before + _SMOOTHING * (seconds - before)
        self._observe(seconds, rows)

    def _deal(self, batch: list[_Waiting], rows: int, answers: Iterable[Prediction | Exception], seconds: float) -> None:
        self._learn(batch[0].call, rows, seconds)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Prediction):
                waiting.answer.set_result(answer)
            else:
                waiting.answer.set_exception(as_call_error(answer))


def union(wanted: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every output that some call wants, each once, in the order first wanted."""
    return tuple(dict.fromkeys(name for outputs in wanted for name in outputs))


def _mix(first: Call, other: Call) -> bool:
    """Explaining a row may cost a hundred predicts: rows that nobody wants explained do not go with those."""
    same = other.mixes and first.mixes and other.arguments == first.arguments
    return same and (EXPLAIN in other.outputs) == (EXPLAIN in first.outputs)


def _size(call: Call, rows: int) -> int:
    """What predicts that take about as long have in common: the rows' bit length, negative where they are explained."""
    return ~rows.bit_length() if EXPLAIN in call.outputs else rows.bit_length()


def as_call_error(error: Exception) -> CallError:
    """What a caller sees of an exception of the model's: one line. Its cause is the exception, for the log."""
    if isinstance(error, CallError):
        return error
    text = " ".join(str(error).split())
    failed = ModelFailed(f"the model failed: {type(error).__name__}: {text[:300]}" if text else f"the model failed: {type(error).__name__}")
    failed.__cause__ = error
    return failed
