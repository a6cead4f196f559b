from __future__ import annotations

import pytest

from dragoman.errors import DigestMismatch
from dragoman.manifest import State
from dragoman.status import ModelStatus, ServerStatus, WorkerStatus


def status(*states: State, workers: tuple[str, ...] = ("Ready",), was_ready: bool = True) -> ServerStatus:
    models = [ModelStatus(name=f"m{i}", uri="x", state=s) for i, s in enumerate(states)]
    return ServerStatus(
        version="0", revision="", models=models, workers=[WorkerStatus(i, state=s) for i, s in enumerate(workers)], was_ready=was_ready
    )


@pytest.mark.parametrize(
    ("states", "was_ready", "phase"),
    [
        (("Loaded", "Fetching"), False, "Fetching"),
        (("Loaded", "Loaded"), False, "Loading"),  # until every worker is warm
        (("Loaded", "Failed"), True, "Loaded"),
        (("Failed", "Failed"), False, "Failed"),
        (("Loaded", "Unloaded"), True, "Loaded"),
        (("Failed", "Unloaded"), True, "Unloaded"),
    ],
)
def test_the_phase_is_that_of_the_model_that_has_come_least_far(states: tuple[State, ...], was_ready: bool, phase: str) -> None:
    assert status(*states, was_ready=was_ready).phase == phase


@pytest.mark.parametrize(
    ("workers", "was_ready", "draining", "ready"),
    [
        (("Ready", "Starting"), False, False, False),  # at the start: every worker
        (("Ready", "Ready"), False, False, True),
        (("Ready", "Ended"), True, False, True),  # later, while one is replaced: any
        (("Ended", "Starting"), True, False, False),
        (("Ready", "Ready"), True, True, False),
    ],
)
def test_ready_is_every_worker_at_first_and_never_while_draining(
    workers: tuple[str, ...], was_ready: bool, draining: bool, ready: bool
) -> None:
    found = status("Loaded", workers=workers, was_ready=was_ready)
    found.draining = draining
    assert found.ready is ready


@pytest.mark.parametrize(("states", "ready"), [(("Loaded", "Unloaded"), True), (("Unloaded",), False), (("Failed", "Fetching"), False)])
def test_a_server_without_a_model_is_not_ready(states: tuple[State, ...], ready: bool) -> None:
    assert status(*states).ready is ready


def test_where_models_are_loaded_on_demand_the_workers_count() -> None:
    found = status("Unloaded", "Failed", was_ready=False)
    found.cache_size = 2
    assert (found.ready, found.phase) == (True, "Loading")
    found.was_ready = True
    assert (found.ready, found.phase) == (True, "Loaded")


def test_a_report_has_the_failure_and_nothing_private() -> None:
    found = status("Loading")
    found.models[0].fail(DigestMismatch("not the bytes"))
    report = found.report()
    assert report["models"] == [
        {
            "name": "m0",
            "uri": "x",
            "state": "Failed",
            "failure": {"reason": "DigestMismatch", "message": "not the bytes"},
            "compiled": {"state": "Off"},
        }
    ]
    assert report["workers"] == [{"index": 0, "state": "Ready"}]
    assert report["phase"] == "Failed"
