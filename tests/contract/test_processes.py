"""The processes of a server: what dies is replaced, what fails is told, and nothing else is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support.load import load
from tests.support.serving import Server, eventually, manifest, run, serving

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
ROW = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()


def iris_body(_: int) -> bytes:
    return ROW


def ordered(order: str, value: float = 1.0) -> dict[str, object]:
    return {"order": order, "value": value}


def test_a_killed_worker_under_load_loses_only_what_it_held(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--workers", "2") as server:
        with load(f"{server.rest}/v1/models/iris:predict", iris_body, connections=8) as running:
            eventually(lambda: running.tally.answered > 200)
            os.kill(server.worker_pids()[0], signal.SIGKILL)
            eventually(lambda: server.metric("dragoman_worker_restarts_total") == 1)
            eventually(lambda: len(server.worker_pids()) == 2)
            answered = running.tally.answered
            eventually(lambda: running.tally.answered > answered + 200)
        assert len(running.tally.failed) <= 8, running.tally.failed
        assert running.tally.refused == 0
        assert set(running.tally.statuses) == {200}
        assert server.status()["workers"][0].get("restarts", 0) + server.status()["workers"][1].get("restarts", 0) == 1


def test_sigterm_under_load_fails_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--workers", "2") as server:
        with load(f"{server.rest}/v1/models/iris:predict", iris_body, connections=16) as running:
            eventually(lambda: running.tally.answered > 500)
            assert server.terminate() == 0
            eventually(lambda: running.tally.refused == 16)
        assert running.tally.failed == []
        assert set(running.tally.statuses) == {200}


def test_readiness_falls_at_the_first_moment_of_a_drain(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--drain-seconds", "2") as server:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: httpx.get(f"{server.management}/readyz").status_code == 503, seconds=1)
        reply = server.predict("iris", [[5.1, 3.5, 1.4, 0.2]])
        assert (reply.status_code, reply.headers["connection"]) == (200, "close")
        assert httpx.get(f"{server.management}/livez").status_code == 200
        assert server.process.wait(30) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--drain-seconds", "60") as server:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: server.status()["draining"])
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 1


def test_every_request_is_counted_once_whichever_worker_answers(tmp_path: Path) -> None:
    not_compiled = {"compile": "Off"}  # taking up a compiled model is a predict, too
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS, serving=not_compiled), "--workers", "4") as server:
        with load(f"{server.rest}/v1/models/iris:predict", iris_body, connections=16) as running:
            eventually(lambda: running.tally.answered > 1000)
        labels = {"model": "iris", "dialect": "v1", "code": "200"}
        eventually(lambda: server.metric("dragoman_request_duration_seconds_count", **labels) == running.tally.answered, seconds=5)
        assert server.metric("dragoman_batch_rows_sum", model="iris") == running.tally.answered
        assert server.metric("dragoman_requests_in_flight") == 0
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        eventually(lambda: server.metric("dragoman_worker_restarts_total") == 1)
        assert server.metric("dragoman_request_duration_seconds_count", **labels) == running.tally.answered


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tmp_path = tmp_path_factory.mktemp("obedient")
    serving_limits = {"limits": {"timeoutSeconds": 2}, "workers": 2}
    with serving(tmp_path, manifest(tmp_path, "model", MODELS / "on_order.py", serving=serving_limits)) as server:
        yield server


def test_a_model_that_raises_fails_that_request_only(obedient: Server) -> None:
    reply = obedient.predict("model", [ordered("raise")], headers={"X-Request-Id": "find-me"})
    assert reply.status_code == 500
    (line,) = eventually(lambda: [line for line in obedient.log.read_text().splitlines() if "find-me" in line])
    assert "told to raise" in json.loads(line)["exception"]
    assert reply.json() == {"error": "the model failed: RuntimeError: told to raise"}
    assert obedient.predict("model", [ordered("double", 4)]).json() == {"predictions": [8.0]}


def test_a_model_that_answers_too_little_is_a_500_that_says_so(obedient: Server) -> None:
    reply = obedient.predict("model", [ordered("short"), ordered("double")])
    assert reply.status_code == 500
    assert reply.json() == {"error": "the model's predict answered 2 rows with 1 rows"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="who has a connection is read from Linux's /proc")
def test_each_worker_has_as_many_connections_as_the_other(obedient: Server) -> None:
    address = urlsplit(obedient.rest)
    with ExitStack() as held:
        for _ in range(12):
            held.enter_context(socket.create_connection((address.hostname, address.port)))
        eventually(lambda: [_connections(pid, address.port or 0) for pid in obedient.worker_pids()] == [6, 6])


def _connections(pid: int, port: int) -> int:
    """Of one process, to this port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {f"socket:[{row[9]}]" for row in rows if row[3] == "01" and int(row[1].split(":")[1], 16) == port}
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(file.readlink()) in established
    return count


def test_a_model_that_kills_its_worker_is_replaced_and_the_others_go_on(obedient: Server) -> None:
    before = obedient.metric("dragoman_worker_restarts_total")
    with pytest.raises(httpx.TransportError):
        obedient.predict("model", [ordered("die")])
    assert obedient.predict("model", [ordered("double", 4)]).json() == {"predictions": [8.0]}
    eventually(lambda: obedient.metric("dragoman_worker_restarts_total") == before + 1)
    eventually(lambda: len(obedient.worker_pids()) == 2)


def test_a_predict_that_does_not_end_is_a_504_and_its_worker_is_replaced(obedient: Server) -> None:
    before = obedient.metric("dragoman_worker_restarts_total")
    # A number of rows not seen before runs in the thread, so the loop can answer; one that is known as fast runs inline.
    reply = obedient.predict("model", [ordered("sleep", 60)] * 5)
    assert (reply.status_code, reply.json()) == (504, {"error": "no answer within 2 s (serving.limits.timeoutSeconds)"})
    eventually(lambda: obedient.metric("dragoman_worker_restarts_total") == before + 1, seconds=15)
    assert any("past its deadline" in w.get("lastExit", {}).get("message", "") for w in obedient.status()["workers"])
    eventually(lambda: len(obedient.worker_pids()) == 2)
    assert obedient.predict("model", [ordered("double", 4)]).json() == {"predictions": [8.0]}


def test_rows_that_depend_on_each_other_are_never_mixed(tmp_path: Path) -> None:
    def body(client: int) -> bytes:
        return json.dumps({"instances": [[client, 0.0], [client + 2.0 * client, 0.0]]}).encode()

    with (
        serving(tmp_path, manifest(tmp_path, "centred", MODELS / "centred.py")) as server,
        load(f"{server.rest}/v1/models/centred:predict", body, connections=12, keep_bodies=True) as running,
    ):
        eventually(lambda: running.tally.answered > 600)
    assert running.tally.failed == []
    for client, answer in running.tally.bodies:
        assert json.loads(answer) == {"predictions": [-float(client), float(client)]}


def test_one_bad_model_does_not_stop_the_others(tmp_path: Path) -> None:
    manifest(tmp_path, "good", IRIS)
    manifest(tmp_path, "gone", tmp_path / "nothing.joblib")
    manifest(tmp_path, "dies", MODELS / "dies_loading.py")
    with serving(tmp_path, tmp_path) as server:
        assert server.predict("good", [[5.1, 3.5, 1.4, 0.2]]).status_code == 200
        states = {m["name"]: (m["state"], m.get("failure", {}).get("reason")) for m in server.status()["models"]}
        assert states == {"good": ("Loaded", None), "gone": ("Failed", "ModelNotFound"), "dies": ("Failed", "ModelLoadFailed")}
        reply = server.predict("gone", [[1.0]])
        assert reply.status_code == 503
        assert "ModelNotFound" in reply.json()["error"]


def test_workers_serve_on_when_their_loader_dies_and_are_replaced_by_a_fresh_one(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--workers", "2") as server:
        loader = _parent(server.worker_pids()[0])
        with load(f"{server.rest}/v1/models/iris:predict", iris_body, connections=4) as running:
            eventually(lambda: running.tally.answered > 100)
            os.kill(loader, signal.SIGKILL)
            time.sleep(1)
            assert running.tally.failed == []
        first = server.worker_pids()[0]
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len({first, *server.worker_pids()}) == 3)
        assert server.predict("iris", [[5.1, 3.5, 1.4, 0.2]]).status_code == 200
        assert server.terminate() == 0


def test_a_drain_does_not_wait_for_a_worker_that_was_being_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--workers", "2") as server:
        os.kill(_parent(server.worker_pids()[0]), signal.SIGKILL)  # the fresh loader takes its time, so that the replacement does
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        eventually(lambda: server.metric("dragoman_worker_restarts_total") == 1)
        assert server.terminate(timeout=20) == 0


def test_processes_end_with_their_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--workers", "2") as server:
        pids = server.worker_pids()
        pids.append(_parent(pids[0]))
        server.process.kill()
        server.process.wait(10)
        eventually(lambda: not any(_alive(pid) for pid in pids), seconds=10)


def test_workers_that_start_afresh_answer_the_same(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS), "--workers", "2", env={"DRAGOMAN_START_METHOD": "fresh"}) as server:
        assert server.predict("iris", [[5.1, 3.5, 1.4, 0.2]]).json() == {"predictions": [0]}
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        eventually(lambda: server.metric("dragoman_worker_restarts_total") == 1)
        eventually(lambda: len(server.worker_pids()) == 2)
        assert server.predict("iris", [[5.1, 3.5, 1.4, 0.2]]).json() == {"predictions": [0]}
        assert server.terminate() == 0


CORRUPT = b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x1bsklearn.linear_model._logistic\x94"


@pytest.mark.parametrize(
    ("make", "arguments", "code", "reason", "words"),
    [
        (lambda folder: folder / "absent.joblib", (), 11, "ModelNotFound", "absent.joblib"),
        (lambda folder: IRIS, ("--code-formats", "Deny"), 16, "PolicyViolation", "Deny"),
        (lambda folder: IRIS, ("--code-formats", "RequireDigest"), 16, "PolicyViolation", "dragoman digest"),
        (lambda folder: _written(folder / "model.joblib", CORRUPT), (), 17, "ModelLoadFailed", "model.joblib"),
        (lambda folder: _written(folder / "model.bin", b"what is this"), (), 14, "UnsupportedFormat", "model.bin"),
        (lambda folder: MODELS / "raises_loading.py", (), 17, "ModelLoadFailed", "the weights are for another shape"),
        (lambda folder: MODELS / "dies_loading.py", (), 17, "ModelLoadFailed", "SIGKILL"),
    ],
)
def test_a_model_that_cannot_be_served_ends_the_process_with_its_code(
    tmp_path: Path, make: object, arguments: tuple[str, ...], code: int, reason: str, words: str
) -> None:
    assert callable(make)
    log = tmp_path / "termination-log"
    target = manifest(tmp_path, "model", make(tmp_path))
    done = run(tmp_path, "serve", target, *_any_ports(), *arguments, "--log-format", "text", env={"DRAGOMAN_TERMINATION_LOG": str(log)})
    assert done.returncode == code, done.stderr
    assert json.loads(log.read_text())["reason"] == reason
    assert words in json.loads(log.read_text())["message"]
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_digest_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    target = manifest(tmp_path, "iris", IRIS, model={"digest": "sha256:" + "0" * 64})
    done = run(tmp_path, "serve", target, *_any_ports())
    assert done.returncode == 13
    assert "sha256:0000" in done.stderr


def test_a_termination_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    target = manifest(tmp_path, "gone", tmp_path / "gone.joblib")
    done = run(tmp_path, "serve", target, *_any_ports(), "--termination-log", tmp_path / "no" / "log", "--log-format", "text")
    assert done.returncode == 11
    assert f"could not be written to {tmp_path / 'no' / 'log'}: No such file or directory" in done.stderr


def test_a_taken_port_is_named_with_the_flag_that_mends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "serve", IRIS, "--port", str(port), "--grpc-port", "0", "--management-port", "0")
    assert done.returncode == 22
    assert f"127.0.0.1:{port} is in use: choose another with --port" in done.stderr


@pytest.mark.parametrize(("signals", "code"), [(1, 0), (2, 1)])
def test_a_server_that_is_loading_ends_without_waiting_for_the_model(tmp_path: Path, signals: int, code: int) -> None:
    model = tmp_path / "forever.py"
    model.write_text(
        "import time\n\nfrom dragoman import Model\n\n\nclass Forever(Model):\n    def load(self, folder):\n"
        "        time.sleep(3600)\n\n    def predict(self, table):\n        return [0] * len(table)\n"
    )
    with serving(tmp_path, model, wait=False) as server:
        eventually(lambda: server.status()["models"][0]["state"] == "Loading")
        time.sleep(1)
        for _ in range(signals):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert server.process.wait(30) == code


def test_a_client_that_leaves_is_not_predicted_for(tmp_path: Path) -> None:
    spec = {"limits": {"timeoutSeconds": 10}}
    with serving(tmp_path, manifest(tmp_path, "model", MODELS / "on_order.py", serving=spec)) as server:
        with socket.create_connection(("127.0.0.1", int(server.rest.rsplit(":", 1)[1]))) as busy:
            _post(busy, [ordered("sleep", 1.5)])
            time.sleep(0.3)
            with socket.create_connection(("127.0.0.1", int(server.rest.rsplit(":", 1)[1]))) as leaving:
                _post(leaving, [ordered("die")])
                time.sleep(0.3)
            assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200")
        eventually(lambda: server.metric("dragoman_request_duration_seconds_count", code="499") == 1)
        assert server.metric("dragoman_worker_restarts_total") == 0


def test_liveness_answers_while_the_only_worker_is_busy(obedient: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(obedient.rest.rsplit(":", 1)[1]))) as busy:
        _post(busy, [ordered("sleep", 1)])
        assert httpx.get(f"{obedient.management}/livez", timeout=1).status_code == 200
        assert "dragoman_requests_in_flight" in httpx.get(f"{obedient.management}/metrics", timeout=1).text
        busy.recv(1 << 16)


def test_the_supervisor_never_imports_numpy(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS)) as server:
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "numpy" not in maps
        assert "sklearn" not in maps


def test_help_teaches(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--help")
    assert done.returncode == 0
    for words in ("dragoman serve ./model.joblib", "--workers", "DRAGOMAN_PORT"):
        assert words in done.stdout


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _any_ports() -> tuple[str, ...]:
    return ("--port", "0", "--grpc-port", "0", "--management-port", "0")


def _post(sock: socket.socket, instances: list[dict[str, object]]) -> None:
    body = json.dumps({"instances": instances}).encode()
    sock.sendall(b"POST /v1/models/model:predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n")
    sock.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
