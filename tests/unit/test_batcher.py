from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dragoman.batcher import Batcher, union
from dragoman.call import Call
from dragoman.errors import DeadlineExceeded, InvalidInput, ModelFailed
from dragoman.heartbeat import Heartbeats
from dragoman.signature import Signature
from dragoman.table import Table

FAR = float("inf")


class Clock:
    """Stands still but for what predicts are said to take: no test depends on how busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Recording:
    """A predictor that doubles the first column, and remembers what it was called with."""

    signature = Signature()
    rows_independent = True

    def __init__(self, on_call: Callable[[Table], None] = lambda table: None) -> None:
        self.calls: list[tuple[int, tuple[str, ...]]] = []
        self.threads: set[str] = set()
        self._on_call = on_call

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls.append((table.rows, tuple(outputs)))
        self.threads.add(threading.current_thread().name)
        self._on_call(table)
        doubled = table.to_numpy()[:, 0] * 2 + arguments.get("offset", 0)
        return {name: np.column_stack([doubled, -doubled]) if name == "predict_proba" else doubled for name in outputs}


def rows(*values: float) -> Table:
    return Table.of_array(np.array(values, dtype=float).reshape(-1, 1))


def batcher(predictor: Recording, *, max_rows: int = 64, independent: bool = True, clock: Callable[[], float] = lambda: 0.0) -> Batcher:
    slot = Heartbeats.create(1).slot(0)
    made = Batcher(predictor, max_rows=max_rows, rows_independent=independent, slot=slot, observe=lambda seconds, n: None, clock=clock)
    made.expect(0.0)
    return made


def answers(made: Batcher, *calls: Call, deadline: float = FAR) -> list[Any]:
    """What calls submitted in one turn of the loop are answered with; an exception is an answer, too."""

    async def submit() -> list[Any]:
        futures = [made.submit(call, deadline) for call in calls]
        return await asyncio.gather(*futures, return_exceptions=True)

    return asyncio.run(submit())


def test_calls_of_one_turn_are_one_predict_and_each_gets_its_own_rows() -> None:
    predictor = Recording()
    first, second, third = answers(batcher(predictor), Call(rows(1)), Call(rows(2, 3)), Call(rows(4)))
    assert predictor.calls == [(4, ("predict",))]
    assert [a.outputs["predict"].tolist() for a in (first, second, third)] == [[2], [4, 6], [8]]


def test_a_turn_that_brought_calls_is_followed_by_another_before_they_are_predicted() -> None:
    async def submit() -> None:
        futures = [made.submit(Call(rows(1)), FAR)]
        for value in (2, 3):
            await asyncio.sleep(0)
            futures.append(made.submit(Call(rows(value)), FAR))
        await asyncio.gather(*futures)
        await made.submit(Call(rows(4)), FAR)

    predictor = Recording()
    made = batcher(predictor)
    asyncio.run(submit())
    assert [count for count, _ in predictor.calls] == [3, 1]


def test_a_full_batch_does_not_wait_for_another_turn() -> None:
    async def submit() -> list[int]:
        first = [made.submit(Call(rows(value)), FAR) for value in (1, 2)]
        await asyncio.sleep(0)
        seen = len(predictor.calls)
        await asyncio.gather(*first)
        return [seen, len(predictor.calls)]

    predictor = Recording()
    made = batcher(predictor, max_rows=2)
    assert asyncio.run(submit()) == [1, 1]


def test_a_call_that_is_alone_is_answered_at_once_unless_others_wait() -> None:
    async def submit() -> tuple[bool, bool]:
        first = made.submit(Call(rows(1)), FAR, alone=True)
        behind = made.submit(Call(rows(2)), FAR)
        last = made.submit(Call(rows(3)), FAR, alone=True)
        seen = first.done(), last.done()
        await asyncio.gather(behind, last)
        return seen

    predictor = Recording()
    made = batcher(predictor)
    assert asyncio.run(submit()) == (True, False)
    assert [count for count, _ in predictor.calls] == [1, 2]


def test_a_batch_computes_the_union_of_outputs_and_deals_each_what_it_wants() -> None:
    predictor = Recording()
    labels, both = answers(batcher(predictor), Call(rows(1)), Call(rows(2), outputs=("predict_proba", "predict")))
    assert predictor.calls == [(2, ("predict", "predict_proba"))]
    assert set(labels.outputs) == {"predict"}
    assert both.outputs["predict_proba"].tolist() == [[4, -4]]


def test_dependent_rows_are_never_mixed() -> None:
    predictor = Recording()
    answers(batcher(predictor, independent=False), Call(rows(1)), Call(rows(2)), Call(rows(3, 4)))
    assert [n for n, _ in predictor.calls] == [1, 1, 2]


def test_calls_with_other_arguments_are_not_mixed_and_keep_their_order_among_equals() -> None:
    predictor = Recording()
    got = answers(batcher(predictor), Call(rows(1)), Call(rows(2), arguments={"offset": 1}), Call(rows(3)))
    assert [n for n, _ in predictor.calls] == [2, 1]
    assert [a.outputs["predict"].tolist() for a in got] == [[2], [5], [6]]


def test_rows_that_nobody_wants_explained_do_not_go_with_those_that_are() -> None:
    """An explanation may cost a hundred predicts."""
    predictor = Recording()
    explained = Call(rows(1), outputs=("predict", "explain"))
    answers(batcher(predictor), Call(rows(1)), explained, Call(rows(2)), Call(rows(3), outputs=("explain",)))
    assert predictor.calls == [(2, ("predict",)), (2, ("predict", "explain"))]


def test_an_explanation_that_is_slow_does_not_send_predicts_to_the_thread() -> None:
    clock = Clock()

    def last(table: Table) -> None:
        clock.now += 0.02 if predictor.calls[-1][1] == ("explain",) else 0.0001

    predictor = Recording(last)
    made = batcher(predictor, clock=clock)

    async def turns() -> None:
        await made.submit(Call(rows(1), outputs=("explain",)), FAR)
        predictor.threads.clear()
        await made.submit(Call(rows(1)), FAR)
        assert predictor.threads == {threading.current_thread().name}
        predictor.threads.clear()
        await made.submit(Call(rows(1), outputs=("explain",)), FAR)
        assert predictor.threads == {"predict_0"}

    asyncio.run(turns())


def test_what_comes_during_a_long_predict_is_read_before_the_next_one() -> None:
    """A request that is to be refused waits for one predict, and not for two."""
    seen: list[str] = []
    here, there = socket.socketpair()
    clock = Clock()

    def predict(table: Table) -> None:
        seen.append("predict")
        there.send(b"x")
        clock.now += 0.002

    async def turns() -> None:
        asyncio.get_running_loop().add_reader(here, lambda: seen.append(here.recv(1).decode()))
        await asyncio.gather(*(made.submit(Call(rows(value)), FAR) for value in (1, 2, 3)))

    with here, there:
        made = batcher(Recording(predict), independent=False, clock=clock)
        asyncio.run(turns())
    assert seen[:5] == ["predict", "x", "predict", "x", "predict"]


def test_a_batch_holds_at_most_max_rows_and_a_larger_call_goes_alone() -> None:
    predictor = Recording()
    answers(batcher(predictor, max_rows=2), *(Call(rows(*range(n))) for n in (1, 1, 1, 5)))
    assert [n for n, _ in predictor.calls] == [2, 1, 5]


def test_one_bad_row_fails_alone() -> None:
    def refuse(table: Table) -> None:
        if 13.0 in table.to_numpy():
            raise InvalidInput("row 0: 13 is unlucky")

    good, bad, other = answers(batcher(Recording(refuse)), Call(rows(1)), Call(rows(13)), Call(rows(2)))
    assert good.outputs["predict"].tolist() == [2]
    assert isinstance(bad, InvalidInput)
    assert other.outputs["predict"].tolist() == [4]


def test_what_the_model_raises_becomes_one_line_without_a_stack() -> None:
    def broken(table: Table) -> None:
        raise ZeroDivisionError("division\nby zero")

    (failed,) = answers(batcher(Recording(broken)), Call(rows(1)))
    assert isinstance(failed, ModelFailed)
    assert failed.message == "the model failed: ZeroDivisionError: division by zero"


def test_a_wrong_count_of_rows_is_the_models_failure() -> None:
    class Short(Recording):
        def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            return {name: np.zeros(1) for name in outputs}

    (failed,) = answers(batcher(Short()), Call(rows(1, 2)))
    assert failed.message == "the model's predict answered 2 rows with 1 rows"


def test_a_call_whose_deadline_has_passed_does_not_reach_the_model() -> None:
    predictor = Recording()
    (late,) = answers(batcher(predictor, clock=lambda: 11.0), Call(rows(1)), deadline=10.0)
    assert isinstance(late, DeadlineExceeded)
    assert predictor.calls == []


def test_a_cancelled_call_does_not_reach_the_model() -> None:
    predictor = Recording()
    made = batcher(predictor)

    async def leave() -> Any:
        left, stays = made.submit(Call(rows(1)), FAR), made.submit(Call(rows(2)), FAR)
        left.cancel()
        return await stays

    assert asyncio.run(leave()).outputs["predict"].tolist() == [4]
    assert predictor.calls == [(1, ("predict",))]


def test_a_predict_expected_to_be_slow_runs_in_the_thread_and_calls_gather_behind_it() -> None:
    going = threading.Event()
    predictor = Recording(lambda table: assert_set(going))
    made = batcher(predictor)
    made.expect(1.0)

    async def submit() -> list[Any]:
        first = made.submit(Call(rows(1)), FAR)
        await asyncio.sleep(0.01)
        behind = [made.submit(Call(rows(n)), FAR) for n in (2, 3)]
        await asyncio.sleep(0.01)
        going.set()
        return [await f for f in (first, *behind)]

    got = asyncio.run(submit())
    made.close()
    assert [n for n, _ in predictor.calls] == [1, 2]
    assert predictor.threads == {"predict_0"}
    assert [a.outputs["predict"].tolist() for a in got] == [[2], [4], [6]]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([("a",)], ("a",)),
        ([("a", "b"), ("b", "c"), ("a",)], ("a", "b", "c")),
    ],
)
def test_union_keeps_the_order_first_wanted(wanted: list[tuple[str, ...]], expected: tuple[str, ...]) -> None:
    assert union(wanted) == expected


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


def test_a_call_that_does_not_mix_is_predicted_alone_wherever_it_stands() -> None:
    predictor = Recording()
    calls = [Call(rows(1)), Call(rows(2), mixes=False), Call(rows(3)), Call(rows(4), mixes=False)]
    assert [a.outputs["predict"].tolist() for a in answers(batcher(predictor), *calls)] == [[2], [4], [6], [8]]
    assert [count for count, _ in predictor.calls] == [2, 1, 1]


def test_the_columns_of_a_data_frame_keep_their_names() -> None:
    class Framing(Recording):
        def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            return {name: pd.DataFrame({"low": table.to_numpy()[:, 0], 1: 0.0}) for name in outputs}

    for answer in answers(batcher(Framing()), Call(rows(1)), Call(rows(2, 3))):
        assert answer.columns == {"predict": ("low", "1")}
