"""Which models are in memory, and which states follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.manifest import State
from dragoman.pool import NEVER_FAILED, Backoff, Shelf, state_of


def test_the_least_recently_used_goes_out() -> None:
    shelf = Shelf(2)
    assert shelf.admit("a") == []
    assert shelf.admit("b") == []
    assert shelf.use("a")
    assert shelf.admit("c") == ["b"]
    assert shelf.names == ["a", "c"]
    assert not shelf.use("b")


def test_admitting_what_is_there_takes_nobodys_place() -> None:
    shelf = Shelf(2)
    shelf.admit("a")
    shelf.admit("b")
    assert shelf.admit("a") == []
    assert shelf.names == ["b", "a"]


def test_a_place_that_is_given_up_is_free() -> None:
    shelf = Shelf(1)
    shelf.admit("a")
    shelf.remove("a")
    shelf.remove("never there")
    assert shelf.admit("b") == []


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("ar"), st.sampled_from("abcdef"))))
def test_the_shelf_has_the_names_used_last(size: int, steps: list[tuple[str, str]]) -> None:
    shelf = Shelf(size)
    history: list[str] = []  # in the order of use, each once
    for step, name in steps:
        history = [other for other in history if other != name]
        if step == "r":
            shelf.remove(name)
            continue
        before = shelf.names
        out = shelf.admit(name)
        assert out == [other for other in before if other not in shelf.names]
        history = [*history, name][-size:]
        assert shelf.names == history


def test_each_failure_in_a_row_doubles_the_pause_up_to_a_minute() -> None:
    backoff, pauses = NEVER_FAILED, []
    for _ in range(9):
        backoff = backoff.failed(now=100.0)
        pauses.append(backoff.wait(now=100.0))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert Backoff(10**6).failed(0.0).wait(0.0) == 60


def test_a_pause_ends() -> None:
    assert NEVER_FAILED.wait(now=5.0) == 0
    assert NEVER_FAILED.failed(now=5.0).wait(now=5.75) == 0.25
    assert NEVER_FAILED.failed(now=5.0).wait(now=60.0) == 0


@pytest.mark.parametrize(
    ("off", "failed", "on_its_way", "told", "held", "state"),
    [
        (False, False, None, (), (), "Unloaded"),
        (False, False, "Fetching", (), (), "Fetching"),
        (False, False, "Loading", (), (), "Loading"),  # in the child that tries it
        (False, False, None, (0,), (), "Loading"),  # in a worker
        (False, False, None, (0, 1), (1,), "Loaded"),
        (False, True, None, (), (), "Failed"),
        (True, True, None, (), (), "Unloaded"),
    ],
)
def test_the_state_follows_from_who_has_it(
    off: bool, failed: bool, on_its_way: State | None, told: tuple[int, ...], held: tuple[int, ...], state: State
) -> None:
    assert state_of(off=off, failed=failed, on_its_way=on_its_way, told=told, held=held) == state
