"""mlup's three ways of serving, results that are fetched later, and what holds for them: bounds, errors, workers, an orderly end.

The model waits at a gate, so that orders are certain whatever the machine's speed.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.memcached import memcached
from tests.support.serving import Server, eventually, manifest, serving

GATED = Path(__file__).parents[1] / "models" / "gated.py"
UNKNOWN = "7d9bea07-7505-45ec-a700-40417842025b"
TIMED_OUT = ("Response timed out. Repeat request please.", "predict_wait_result_error")


@dataclass
class Gate:
    """A server whose model waits while the gate is closed."""

    server: Server
    home: Path
    pool: ThreadPoolExecutor

    def close(self) -> None:
        (self.home / "closed").touch()

    def open(self) -> None:
        (self.home / "closed").unlink(missing_ok=True)

    def calls(self) -> list[Any]:
        """[rows, scale] of each call of the model, in their order."""
        path = self.home / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        self.open()
        (self.home / "calls").unlink(missing_ok=True)

    def ask(self, *values: float, **arguments: Any) -> httpx.Response:
        body = {"X": [[value] for value in values], **arguments}
        return httpx.post(f"{self.server.rest}/predict", json=body, timeout=60)

    def asking(self, *values: float, **arguments: Any) -> Future[httpx.Response]:
        """In flight once this returns."""
        before = self.in_flight()
        future = self.pool.submit(self.ask, *values, **arguments)
        eventually(lambda: self.in_flight() == before + 1)
        return future

    def in_flight(self) -> float:
        return self.server.metric("dragoman_requests_in_flight")

    def fetch(self, identity: str) -> httpx.Response:
        return httpx.get(f"{self.server.rest}/get-predict/{identity}", timeout=60)


@contextmanager
def gated(folder: Path, *arguments: str, limits: Any = None, **options: Any) -> Iterator[Gate]:
    home = folder / "home"
    home.mkdir(parents=True)
    serving_group = {"dialects": {"mlup": options}, "limits": limits or {}}
    target = manifest(folder, "gated", GATED, serving=serving_group)
    with serving(folder, target, *arguments, env={"GATED_HOME": str(home)}) as server, ThreadPoolExecutor(8) as pool:
        gate = Gate(server, home, pool)
        try:
            yield gate
        finally:
            gate.open()


def results(*futures: Future[httpx.Response]) -> list[Any]:
    return [(f.result().status_code, f.result().json().get("predict_result")) for f in futures]


def refusal(reply: httpx.Response) -> tuple[int, str, str]:
    (detail,) = reply.json()["detail"]
    assert detail["loc"] == []
    if reply.request.url.path == "/predict":
        assert reply.json()["predict_id"] == reply.headers["x-predict-id"]
    return reply.status_code, detail["msg"], detail["type"]


# --- worker_and_queue --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gated(tmp_path_factory.mktemp("queue"), mode="worker_and_queue", maxQueueSize=2) as gate:
        yield gate


def test_queued_requests_are_served_one_by_one_and_a_full_queue_says_so(queue: Gate) -> None:
    queue.forget()
    queue.close()
    waiting = [queue.asking(1)]
    eventually(queue.calls)
    waiting += [queue.asking(2, 3), queue.asking(4)]
    assert refusal(queue.ask(5)) == (500, "Queue is full. Please try later.", "predict_error")
    assert queue.calls() == [[[[1]], 1.0]]
    queue.open()
    assert results(*waiting) == [(200, [1.0]), (200, [2.0, 3.0]), (200, [4.0])]
    assert queue.calls() == [[[[1]], 1.0], [[[2], [3]], 1.0], [[[4]], 1.0]]


def test_an_error_of_the_model_is_its_own_text(queue: Gate) -> None:
    assert refusal(queue.ask(-1)) == (500, "told to raise,\nat length", "predict_error")


def test_without_is_long_predict_there_is_nothing_to_fetch(queue: Gate) -> None:
    reply = queue.fetch(UNKNOWN)
    assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"})


def test_a_client_waits_only_so_long(tmp_path: Path) -> None:
    with gated(tmp_path, mode="worker_and_queue", ttlClientWait=0.2) as gate:
        gate.close()
        assert refusal(gate.ask(1)) == (408, *TIMED_OUT)
        eventually(lambda: gate.in_flight() == 0)


# --- batching ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Its time never comes: only rows close it."""
    options = {"minBatchLen": 4, "batchWorkerTimeout": 3600, "ttlClientWait": 3600, "throttlingMaxRequests": 3}
    with gated(tmp_path_factory.mktemp("window"), limits={"timeoutSeconds": 3600}, mode="batching", **options) as gate:
        yield gate


def test_rows_of_several_requests_are_one_call_and_dealt_back(window: Gate) -> None:
    window.forget()
    waiting = [window.asking(1), window.asking(2, 3)]
    assert window.calls() == []
    waiting.append(window.pool.submit(window.ask, 4, 5))
    assert results(*waiting) == [(200, [1.0]), (200, [2.0, 3.0]), (200, [4.0, 5.0])]
    assert window.calls() == [[[[1], [2], [3], [4], [5]], 1.0]]


def test_requests_with_other_arguments_are_not_mixed(window: Gate) -> None:
    window.forget()
    twice = window.asking(1, scale=2)
    thrice = window.asking(9, scale=3)
    assert results(window.pool.submit(window.ask, 2, 3, 4, scale=2), twice) == [(200, [4.0, 6.0, 8.0]), (200, [2.0])]
    assert results(window.pool.submit(window.ask, 8, 7, 6, scale=3), thrice) == [(200, [24.0, 21.0, 18.0]), (200, [27.0])]
    assert window.calls() == [[[[1], [2], [3], [4]], 2], [[[9], [8], [7], [6]], 3]]


def test_an_error_goes_to_every_request_of_its_window(window: Gate) -> None:
    window.forget()
    waiting = [window.asking(1, 2), window.pool.submit(window.ask, 3, -4)]
    for one in waiting:
        assert refusal(one.result()) == (500, "told to raise,\nat length", "predict_error")
    assert window.calls() == [[[[1], [2], [3], [-4]], 1.0]]


def test_more_requests_than_are_taken_at_a_time_are_throttled_and_who_leaves_takes_its_rows_along(window: Gate) -> None:
    window.forget()
    waiting = [window.asking(1), window.asking(2)]
    body = json.dumps({"X": [[3]]})
    with httpx.Client() as leaving, pytest.raises(httpx.ReadTimeout):
        leaving.post(f"{window.server.rest}/predict", content=body, timeout=httpx.Timeout(30, read=0.5))
    eventually(lambda: window.in_flight() == 2)
    third = window.asking(4)
    assert refusal(window.ask(5)) == (429, "Max requests in app. Please try again later.", "throttling_error")
    assert window.server.metric("dragoman_requests_rejected_total", reason="Throttled") == 1
    assert window.calls() == []
    assert window.server.terminate() == 0  # the window closes, as nobody else will come
    assert results(*waiting, third) == [(200, [1.0]), (200, [2.0]), (200, [4.0])]
    assert window.calls() == [[[[1], [2], [4]], 1.0]]


# --- long predicts -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    options = {"isLongPredict": True, "ttlClientWait": 0.2, "mode": "worker_and_queue"}
    with gated(tmp_path_factory.mktemp("long"), "--workers", "2", limits={"maxConcurrency": 2}, **options) as gate:
        yield gate


def accepted(reply: httpx.Response) -> str:
    identity = reply.headers["x-predict-id"]
    assert (reply.status_code, reply.json()) == (200, {"predict_id": identity, "predict_result": {"predict_id": identity}})
    return identity


def fetched(gate: Gate, identity: str) -> httpx.Response:
    """Once it is there."""
    found: httpx.Response = eventually(lambda: (reply := gate.fetch(identity)).status_code != 408 and reply)
    return found


def test_a_long_predict_is_answered_at_once_and_fetched_as_often_as_is_wanted(long: Gate) -> None:
    long.close()
    identity = accepted(long.ask(1, 2))
    late = long.fetch(identity)
    assert refusal(late) == (408, *TIMED_OUT)
    assert late.json()["predict_id"] == identity
    long.open()
    for _ in range(3):
        reply = fetched(long, identity)
        assert (reply.status_code, reply.json()) == (200, {"predict_result": [1.0, 2.0]})
        assert reply.headers["content-type"] == "application/json"


def test_who_fetches_before_the_result_is_there_waits_for_it(long: Gate) -> None:
    assert fetched(long, accepted(long.ask(3))).json() == {"predict_result": [3.0]}


@pytest.mark.parametrize("identity", [UNKNOWN, "no-id"])
def test_an_unknown_result_is_waited_for_in_vain(long: Gate, identity: str) -> None:
    assert refusal(long.fetch(identity)) == (408, *TIMED_OUT)


def test_an_error_is_kept_as_a_result_is(long: Gate) -> None:
    identity = accepted(long.ask(-1))
    for _ in range(2):
        reply = fetched(long, identity)
        assert refusal(reply) == (500, "told to raise,\nat length", "predict_error")
        assert reply.json()["predict_id"] == identity
    assert "RuntimeError: told to raise" in long.server.log.read_text()


def test_what_is_refused_is_refused_at_once(long: Gate) -> None:
    reply = httpx.post(f"{long.server.rest}/predict", json={})
    assert (reply.status_code, reply.json()["detail"][0]["msg"]) == (422, "field required")


def test_no_rows_are_a_result_too(long: Gate) -> None:
    assert fetched(long, accepted(long.ask())).json() == {"predict_result": []}


def test_long_predicts_are_in_flight_until_they_end(long: Gate) -> None:
    long.close()
    identities = [accepted(long.ask(i)) for i in (1, 2)]
    eventually(lambda: long.in_flight() == 2)
    assert refusal(long.ask(3)) == (429, "Max requests in app. Please try again later.", "throttling_error")
    assert long.fetch(UNKNOWN).status_code == 408  # whoever fetches is not counted among them
    long.open()
    assert [fetched(long, identity).json() for identity in identities] == [{"predict_result": [1.0]}, {"predict_result": [2.0]}]
    eventually(lambda: long.in_flight() == 0)


def test_a_result_is_found_whichever_worker_made_it_and_whichever_is_asked(long: Gate) -> None:
    first, second = long.server.worker_pids()
    for makes, asked in ((first, second), (second, first)):
        with stopped(asked):
            identity = accepted(long.ask(7))
            assert fetched(long, identity).json() == {"predict_result": [7.0]}
        with stopped(makes):
            assert long.fetch(identity).json() == {"predict_result": [7.0]}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Meanwhile the other worker takes every connection."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_an_end_waits_for_long_predicts_and_says_which_results_end_with_it(long: Gate) -> None:
    long.forget()
    long.close()
    accepted(long.ask(5))
    eventually(long.calls)
    long.server.process.send_signal(signal.SIGTERM)
    eventually(lambda: "waiting for 1 deferred predicts" in long.server.log.read_text())
    assert long.server.process.poll() is None
    (long.home / "ended").unlink()
    long.open()
    assert long.server.process.wait(60) == 0
    assert json.loads((long.home / "ended").read_text()) == [[5]]
    said = long.server.log.read_text()
    assert "replies of deferred predicts end with this server before they expire" in said


def test_a_window_closes_after_its_time_and_results_expire(tmp_path: Path) -> None:
    short = {"batchWorkerTimeout": 0.05, "ttlPredictedData": 1, "ttlClientWait": 0.05}
    with gated(tmp_path, mode="batching", minBatchLen=1000, isLongPredict=True, compatibility="0.4", **short) as gate:
        first = eventually(lambda: (reply := gate.fetch(accepted(gate.ask(1)))).status_code == 200 and reply)
        assert first.json() == [1.0]  # the bare value, as 0.4 has it
        identity = accepted(gate.ask(2))
        eventually(lambda: [[[2]], 1.0] in gate.calls())
        eventually(lambda: gate.fetch(identity).status_code == 408)


def test_servers_share_results_through_memcached_and_say_when_it_is_gone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(memcached(tmp_path))
        shared = {"isLongPredict": True, "ttlClientWait": 0.2, "memcached": {"servers": [store.address], "timeoutSeconds": 2}}
        with gated(tmp_path / "a", **shared) as one, gated(tmp_path / "b", **shared) as other:
            identity = accepted(one.ask(4))
            assert fetched(other, identity).json() == {"predict_result": [4.0]}
            assert refusal(other.fetch(UNKNOWN)) == (408, *TIMED_OUT)
            status, message, type_ = refusal(fetched(other, accepted(one.ask(*range(200_000)))))
            assert (status, type_) == (503, "request_error")
            assert message.startswith("the reply could not be kept: memcached at")
            stack.close()
            status, message, _ = refusal(other.fetch(identity))
            assert status == 503
            assert message.startswith("memcached at")
            accepted(one.ask(5))  # its result is lost, and the log says so
            eventually(lambda: one.server.log.read_text().count("the reply of a deferred predict is lost") == 2)
