"""Keys waiting: once each, changes before resyncs, later ones by time, with back-off on error."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from dragoman_operator.objects import Key
from dragoman_operator.workqueue import Backlog, Urgency, WorkQueue

A, B, C = Key("n", "a"), Key("n", "b"), Key("n", "c")


def drained(backlog: Backlog, now: float = 0.0) -> list[Key]:
    found = []
    while (key := backlog.take(now)) is not None:
        found.append(key)
        backlog.done(key, now)
    return found


def test_a_key_waits_once() -> None:
    backlog = Backlog()
    for key in (A, B, A, A):
        backlog.add(key, Urgency.CHANGE, 0)
    assert drained(backlog) == [A, B]


def test_a_change_goes_before_a_resync_of_all() -> None:
    backlog = Backlog()
    for key in (A, B, C):
        backlog.add(key, Urgency.RESYNC, 0)
    backlog.add(C, Urgency.CHANGE, 0)
    assert drained(backlog) == [C, A, B]


def test_a_key_is_with_one_worker_only_and_comes_again_if_it_changed_meanwhile() -> None:
    backlog = Backlog()
    backlog.add(A, Urgency.CHANGE, 0)
    assert backlog.take(0) == A
    backlog.add(A, Urgency.CHANGE, 1)
    assert backlog.take(1) is None
    backlog.done(A, 2)
    assert backlog.take(2) == A


def test_a_burst_is_gathered() -> None:
    backlog = Backlog()
    for moment in (0.0, 0.03, 0.06):
        backlog.add(A, Urgency.CHANGE, moment, after=0.1)
    assert backlog.take(0.09) is None
    assert drained(backlog, 0.1) == [A]
    assert drained(backlog, 9.0) == []


def test_the_sooner_of_two_times_counts() -> None:
    backlog = Backlog()
    backlog.add(A, Urgency.RESYNC, 0, after=600)
    backlog.add(A, Urgency.RESYNC, 0, after=5)
    assert backlog.next_due() == 5
    assert drained(backlog, 5) == [A]
    assert drained(backlog, 600) == []


def test_what_is_forgotten_comes_no_more() -> None:
    backlog = Backlog()
    backlog.add(A, Urgency.RESYNC, 0, after=5)
    backlog.forget(A)
    assert drained(backlog, 10) == []


def test_pauses_double_up_to_a_minute_and_start_anew_after_success() -> None:
    backlog = Backlog()
    assert [backlog.failed(A) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    backlog.succeeded(A)
    assert backlog.failed(A) == 0.5


def test_how_long_the_oldest_work_takes_is_known() -> None:
    backlog = Backlog()
    assert backlog.oldest() is None
    for key, now in ((A, 3.0), (B, 7.0)):
        backlog.add(key, Urgency.CHANGE, now)
        backlog.take(now)
    assert backlog.oldest() == 3.0


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(Urgency), st.floats(0, 5)), max_size=30))
def test_whatever_is_added_comes_out(added: list[tuple[Key, Urgency, float]]) -> None:
    backlog = Backlog()
    for key, urgency, after in added:
        backlog.add(key, urgency, 0.0, after)
    assert set(drained(backlog, 5.0)) == {key for key, _, _ in added}
    assert len(backlog) == 0


def test_a_consumer_is_woken_by_what_is_added_and_by_time() -> None:
    async def consume() -> list[Key]:
        queue = WorkQueue(asyncio.get_running_loop().time)
        queue.add(B, after=0.02)
        asyncio.get_running_loop().call_later(0.005, queue.add, A)
        return [await queue.take(), await queue.take()]

    assert asyncio.run(consume()) == [A, B]
