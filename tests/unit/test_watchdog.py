from __future__ import annotations

import pytest

from dragoman.heartbeat import Heartbeats, Pulse
from dragoman.watchdog import overdue

BUSY = Pulse(ticked=100, predict_started=100, deadline=160, in_flight=1, ready=True, pid=7)
IDLE = Pulse(ticked=100, predict_started=0, deadline=0, in_flight=0, ready=True, pid=7)


@pytest.mark.parametrize(
    ("pulse", "now", "killed"),
    [
        (IDLE, 101, False),
        (IDLE, 164.9, False),
        (IDLE, 165.1, True),  # the loop has not turned for timeoutSeconds + 5
        (BUSY, 164.9, False),  # however long the loop is blocked by a predict whose requests still count
        (BUSY, 165.1, True),
        (Pulse(0, 0, 0, 0, False, 0), 1e9, False),  # nobody in the slot
    ],
)
def test_a_worker_is_killed_five_seconds_after_its_predict_can_matter_to_nobody(pulse: Pulse, now: float, killed: bool) -> None:
    assert (overdue(pulse, now, timeout_seconds=60) is not None) is killed


def test_a_pulse_is_seen_by_whoever_shares_the_memory() -> None:
    written = Heartbeats.create(2)
    read = Heartbeats(written.fd, 2)
    slot = written.slot(1)
    slot.begin()
    slot.predicting(12.5, 72.5)
    slot.in_flight(3)
    slot.ready(True)
    pulse = read.read(1)
    assert (pulse.predict_started, pulse.deadline, pulse.in_flight, pulse.ready) == (12.5, 72.5, 3, True)
    assert read.in_flight() == 3
    assert read.read(0) == Pulse(0, 0, 0, 0, False, 0)
    slot.clear()
    assert read.read(1).pid == 0


def test_a_worker_that_loads_a_model_has_until_that_is_overdue() -> None:
    loading = Pulse(ticked=100, predict_started=100, deadline=160, in_flight=1, ready=True, pid=7, loading_until=1900)
    assert overdue(loading, 1904.9, timeout_seconds=60) is None
    assert "loading a model" in (overdue(loading, 1905.1, timeout_seconds=60) or "")
