"""How calls wait before the model: bounds, queue, window, and how long a client does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import numpy as np
import pytest

from dragoman.call import Call, Prediction
from dragoman.dialects.dialect import Line
from dragoman.errors import ModelFailed, QueueFull, Throttled, TooManyRows, WaitedTooLong
from dragoman.line import Turnstile
from dragoman.table import Table

FAR = float("inf")


def call(*values: float, **arguments: Any) -> Call:
    return Call(Table.of_array(np.array(values, dtype=float).reshape(-1, 1)), arguments=arguments)


class Gated:
    """A model that doubles each value, once it is let; it remembers which rows and arguments it was asked."""

    def __init__(self, *, open: bool = True, fails: bool = False) -> None:
        self.calls: list[tuple[list[float], Mapping[str, Any]]] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        self._fails = fails
        if open:
            self.gate.set()

    async def predict(self, asked: Call, deadline: float, alone: bool) -> Prediction:
        rows = asked.table.to_numpy()[:, 0]
        self.calls.append((rows.tolist(), asked.arguments))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._fails:
            raise ModelFailed("told to fail")
        return Prediction({"predict": rows * 2}, len(rows))

    @property
    def rows(self) -> list[list[float]]:
        return [rows for rows, _ in self.calls]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def settle() -> None:
    """Lets everything go as far as it goes without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


def values(prediction: Prediction) -> list[float]:
    found: list[float] = prediction.outputs["predict"].tolist()
    return found


def test_one_request_more_than_the_bound_is_throttled_until_one_has_left() -> None:
    async def test() -> None:
        turnstile = Turnstile(Line(max_requests=2), Gated().predict)
        turnstile.enter()
        turnstile.enter()
        with pytest.raises(Throttled, match="2 requests"):
            turnstile.enter()
        turnstile.leave()
        turnstile.enter()

    run(test)


@pytest.mark.parametrize("line", [Line(max_rows=2), Line(max_rows=2, queue=5), Line(max_rows=2, queue=5, gather_rows=9)])
def test_a_request_of_too_many_rows_never_reaches_the_model(line: Line) -> None:
    async def test() -> None:
        model = Gated()
        turnstile = Turnstile(line, model.predict)
        turnstile.hurry()
        with pytest.raises(TooManyRows, match="3 rows, and 2"):
            await turnstile.predict(call(1, 2, 3), FAR)
        with pytest.raises(TooManyRows):
            turnstile.submit(call(1, 2, 3), FAR)
        assert values(await turnstile.predict(call(1, 2), FAR)) == [2, 4]
        assert model.rows == [[1, 2]]

    run(test)


def test_queued_calls_are_taken_one_by_one_in_the_order_in_which_they_came() -> None:
    async def test() -> None:
        model = Gated(open=False)
        turnstile = Turnstile(Line(queue=2), model.predict)
        answers = [turnstile.submit(call(i), FAR) for i in range(3)]
        await settle()
        assert model.rows == [[0]]
        with pytest.raises(QueueFull, match="2 calls wait"):
            turnstile.submit(call(3), FAR)
        model.gate.set()
        assert [values(await answer) for answer in answers] == [[0], [2], [4]]
        assert model.rows == [[0], [1], [2]]
        assert values(await turnstile.predict(call(4), FAR)) == [8]

    run(test)


def test_a_call_that_nobody_waits_for_any_more_frees_its_place_and_is_not_predicted() -> None:
    async def test() -> None:
        model = Gated(open=False)
        turnstile = Turnstile(Line(queue=1), model.predict)
        first, second = (turnstile.submit(call(i), FAR) for i in range(2))
        await settle()
        second.cancel()
        third = turnstile.submit(call(2), FAR)
        model.gate.set()
        assert (values(await first), values(await third)) == ([0], [4])
        assert model.rows == [[0], [2]]

    run(test)


def test_a_call_whose_turn_it_is_is_dropped_when_its_client_leaves() -> None:
    async def test() -> None:
        model = Gated(open=False)
        turnstile = Turnstile(Line(queue=1), model.predict)
        first, second = (turnstile.submit(call(i), FAR) for i in range(2))
        await settle()
        first.cancel()
        await settle()
        assert model.cancelled == 1
        model.gate.set()
        assert values(await second) == [2]

    run(test)


def test_a_client_waits_only_so_long_and_its_call_is_dropped() -> None:
    async def test() -> None:
        model = Gated(open=False)
        turnstile = Turnstile(Line(queue=5, wait_seconds=0.01), model.predict)
        asked = [asyncio.ensure_future(turnstile.predict(call(i), FAR)) for i in range(2)]
        for one in asked:
            with pytest.raises(WaitedTooLong):
                await one
        await settle()
        assert (model.rows, model.cancelled) == ([[0]], 1)

    run(test)


def test_a_call_without_a_client_waits_longer_than_clients_do_and_no_longer_than_its_deadline() -> None:
    async def test() -> None:
        model = Gated(open=False)
        turnstile = Turnstile(Line(queue=5, wait_seconds=0.01), model.predict)
        now = asyncio.get_running_loop().time()
        patient, late = turnstile.submit(call(0), now + 3600), turnstile.submit(call(1), now + 0.05)
        with pytest.raises(WaitedTooLong):
            await late
        assert not patient.done()
        model.gate.set()
        assert values(await patient) == [0]

    run(test)


def test_a_window_closes_when_it_has_the_rows_and_each_call_gets_its_own() -> None:
    async def test() -> None:
        model = Gated()
        turnstile = Turnstile(Line(queue=9, gather_rows=4, gather_seconds=3600), model.predict)
        answers = [turnstile.submit(call(1), FAR), turnstile.submit(call(2, 3), FAR)]
        await settle()
        assert model.rows == []
        answers.append(turnstile.submit(call(4, 5), FAR))
        assert [values(await answer) for answer in answers] == [[2], [4, 6], [8, 10]]
        assert model.rows == [[1, 2, 3, 4, 5]]

    run(test)


@pytest.mark.parametrize("early", ["time", "hurry"])
def test_a_window_closes_after_its_time_or_when_the_server_is_about_to_end(early: str) -> None:
    async def test() -> None:
        model = Gated()
        turnstile = Turnstile(Line(queue=9, gather_rows=100, gather_seconds=0.01 if early == "time" else 3600), model.predict)
        answers = [turnstile.submit(call(1), FAR), turnstile.submit(call(2), FAR)]
        await settle()
        if early == "hurry":
            turnstile.hurry()
        assert [values(await answer) for answer in answers] == [[2], [4]]
        assert model.rows == [[1, 2]]

    run(test)


def test_what_gathers_in_the_window_is_not_in_the_queue_and_what_comes_while_it_is_answered_is() -> None:
    async def test() -> None:
        model = Gated(open=False)
        turnstile = Turnstile(Line(queue=2, gather_rows=4, gather_seconds=3600), model.predict)
        first = [turnstile.submit(call(i), FAR) for i in range(4)]
        await settle()
        second = [turnstile.submit(call(i), FAR) for i in (4, 5)]
        with pytest.raises(QueueFull):
            turnstile.submit(call(6), FAR)
        model.gate.set()
        await asyncio.gather(*first)
        await settle()
        second += [turnstile.submit(call(i), FAR) for i in (7, 8)]
        assert [values(await answer) for answer in second] == [[8], [10], [14], [16]]
        assert model.rows == [[0, 1, 2, 3], [4, 5, 7, 8]]

    run(test)


@pytest.mark.parametrize(
    "other", [call(9, flag=True), call(9, flag=1.0), call(9), Call(Table.of_array(np.zeros((1, 2))), arguments={"flag": 1})]
)
def test_calls_of_other_arguments_or_columns_are_not_mixed(other: Call) -> None:
    async def test() -> None:
        model = Gated()
        turnstile = Turnstile(Line(queue=9, gather_rows=2, gather_seconds=3600), model.predict)
        answers = [turnstile.submit(one, FAR) for one in (call(1, flag=1), other, call(2, flag=1))]
        await asyncio.gather(answers[0], answers[2])
        turnstile.hurry()
        await answers[1]
        assert [rows for rows in model.rows if len(rows) == 2] == [[1, 2]]
        assert model.calls[0][1] == {"flag": 1}
        assert len(model.calls) == 2

    run(test)


def test_an_error_goes_to_every_call_of_its_window_and_to_no_other() -> None:
    async def test() -> None:
        model = Gated(fails=True)
        turnstile = Turnstile(Line(queue=9, gather_rows=2, gather_seconds=3600), model.predict)
        answers = [turnstile.submit(call(i), FAR) for i in range(2)]
        for answer in answers:
            with pytest.raises(ModelFailed, match="told to fail"):
                await answer
        model._fails = False
        answers = [turnstile.submit(call(i), FAR) for i in range(2)]
        assert [values(await answer) for answer in answers] == [[0], [2]]

    run(test)


def test_a_client_that_leaves_takes_its_rows_out_of_the_window() -> None:
    async def test() -> None:
        model = Gated()
        turnstile = Turnstile(Line(queue=9, gather_rows=3, gather_seconds=3600), model.predict)
        stays, leaves = (turnstile.submit(call(i), FAR) for i in range(2))
        leaves.cancel()
        last = turnstile.submit(call(2), FAR)
        await settle()
        assert model.rows == []
        full = turnstile.submit(call(3), FAR)
        assert [values(await answer) for answer in (stays, last, full)] == [[0], [4], [6]]
        assert model.rows == [[0, 2, 3]]

    run(test)


def test_a_request_without_rows_waits_for_nobody() -> None:
    async def test() -> None:
        model = Gated()
        turnstile = Turnstile(Line(queue=9, gather_rows=3, gather_seconds=3600), model.predict)
        assert values(await turnstile.predict(call(), FAR)) == []
        assert values(await turnstile.submit(call(), FAR)) == []

    run(test)
