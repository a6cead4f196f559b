from __future__ import annotations

import pytest

from dragoman.admission import Admission
from dragoman.errors import Overloaded
from dragoman.heartbeat import Heartbeats


def admission(limit: int, index: int = 0, heartbeats: Heartbeats | None = None) -> Admission:
    shared = heartbeats or Heartbeats.create(1)
    return Admission(limit, body_bytes=100, heartbeats=shared, slot=shared.slot(index))


def test_beyond_the_limit_a_request_is_refused_at_once_with_retry_after() -> None:
    bound = admission(2)
    bound.enter()
    bound.enter()
    with pytest.raises(Overloaded, match=r"2 requests are in flight, as many as serving\.limits\.maxConcurrency allows") as refused:
        bound.enter()
    assert ("retry-after", "1") in refused.value.headers
    bound.leave()
    bound.enter()


def test_all_workers_together_are_bounded() -> None:
    shared = Heartbeats.create(2)
    one, two = admission(3, 0, shared), admission(3, 1, shared)
    one.enter()
    one.enter()
    two.enter()
    with pytest.raises(Overloaded):
        two.enter()


def test_bodies_held_at_once_are_bounded_but_one_alone_always_passes() -> None:
    bound = admission(10)
    bound.hold(1000)
    with pytest.raises(Overloaded, match="too many large requests"):
        bound.hold(1)
    bound.release(1000)
    bound.hold(60)
    with pytest.raises(Overloaded):
        bound.hold(60)
