"""v2's load and unload at an administrator's word: every worker follows, and everything that tells of the model tells the truth."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.grpc
from tests.support.load import load
from tests.support.serving import Server, eventually, manifest, run, serving
from tritonclient.utils import InferenceServerException

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
SOURCE = (MODELS / "loads_as_told.py").read_text()
PINNED = SOURCE + "# bytes of its own\n"
TOKEN = "let-me-in"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
FLOWER = [5.1, 3.5, 1.4, 0.2]


def told(value: float, seconds: float = 0.0) -> dict[str, float]:
    return {"value": value, "seconds": seconds}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the objects of the models are, what they are told when they are loaded, and the token."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "orders").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tmp_path = tmp_path_factory.mktemp("server")
    administered = {"workers": 2, "auth": {"adminTokens": {"file": str(folder / "token")}}}
    manifest(tmp_path, "iris", IRIS, serving=administered)
    manifest(tmp_path, "alone", MODELS / "loads_as_told.py")
    (folder / "changing.py").write_text(SOURCE)
    (folder / "pinned.py").write_text(PINNED)
    digest = run(tmp_path, "digest", folder / "pinned.py").stdout.strip()
    manifest(tmp_path, "changing", folder / "changing.py", serving=administered)
    manifest(tmp_path, "pinned", folder / "pinned.py", model={"digest": digest}, serving=administered)
    with serving(tmp_path, tmp_path, env={"DRAGOMAN_TEST_LOADS": str(folder / "orders")}) as started:
        yield started


def order(server: Server, verb: str, model: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(f"{server.rest}/v2/repository/models/{model}/{verb}", headers=ADMIN if headers is None else headers, timeout=60)


def obeyed(server: Server, verb: str, model: str) -> None:
    reply = order(server, verb, model)
    assert (reply.status_code, reply.content) == (200, b""), reply.text


def everywhere(server: Server, path: str) -> set[tuple[int, str]]:
    """What many connections at once are answered, which the workers share."""
    with ThreadPoolExecutor(12) as clients:
        replies = list(clients.map(lambda _: httpx.get(f"{server.rest}{path}", timeout=30), range(24)))
    return {(reply.status_code, reply.text) for reply in replies}


def predicted(server: Server, model: str, row: Any) -> set[tuple[int, str]]:
    with ThreadPoolExecutor(12) as clients:
        replies = list(clients.map(lambda _: server.predict(model, [row]), range(24)))
    return {(reply.status_code, reply.text) for reply in replies}


def status(server: Server, model: str) -> dict[str, Any]:
    return next(m for m in server.status()["models"] if m["name"] == model)


def index(server: Server, model: str) -> dict[str, str]:
    entries = httpx.post(f"{server.rest}/v2/repository/index").json()
    return next(entry for entry in entries if entry["name"] == model)


def replaced(server: Server, pid: int) -> None:
    """Killed, and another one in its place."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len({pid, *server.worker_pids()}) == 3, seconds=60)


def test_every_worker_follows_and_all_that_is_told_is_true(server: Server) -> None:
    before = status(server, "iris")
    obeyed(server, "unload", "iris")
    assert everywhere(server, "/v2/models/iris/ready") == {(503, '{"name":"iris","ready":false}')}
    assert everywhere(server, "/v1/models/iris") == {(503, '{"name":"iris","ready":false}')}
    assert predicted(server, "iris", FLOWER) == {(503, '{"error":"model \'iris\' is not ready: Unloaded: an administrator unloaded it"}')}
    assert index(server, "iris")["state"] == "UNAVAILABLE"
    assert "Unloaded" in index(server, "iris")["reason"]
    unloaded = status(server, "iris")
    assert (unloaded["state"], unloaded.get("digest")) == ("Unloaded", None)
    assert httpx.get(f"{server.management}/readyz").status_code == 200  # the others are served
    assert httpx.get(f"{server.rest}/v2/health/ready").status_code == 200
    assert server.metric("dragoman_model_info", model="iris") == 0

    obeyed(server, "load", "iris")
    assert everywhere(server, "/v2/models/iris/ready") == {(200, '{"name":"iris","ready":true}')}
    assert predicted(server, "iris", FLOWER) == {(200, '{"predictions":[0]}')}
    assert index(server, "iris")["state"] == "READY"
    assert (status(server, "iris")["state"], status(server, "iris")["digest"]) == ("Loaded", before["digest"])
    assert server.metric("dragoman_model_info", model="iris") == 1
    told = [line["message"] for line in map(json.loads, server.log.read_text().splitlines()) if line.get("model") == "iris"]
    assert told[-2:] == ["unloaded", "loaded"]


def test_the_same_over_grpc(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.unload_model("iris", headers={"authorization": f"Bearer {TOKEN}"})
        assert not client.is_model_ready("iris")
        assert everywhere(server, "/v2/models/iris/ready") == {(503, '{"name":"iris","ready":false}')}
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            client.get_model_metadata("iris")
        client.load_model("iris", headers={"authorization": f"Bearer {TOKEN}"})
        assert client.is_model_ready("iris")
        assert everywhere(server, "/v2/models/iris/ready") == {(200, '{"name":"iris","ready":true}')}
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            client.unload_model("iris", headers={"authorization": "Bearer guessed"})
        with pytest.raises(InferenceServerException, match="PERMISSION_DENIED"):
            client.unload_model("alone", headers={"authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize(
    ("model", "headers", "code"),
    [("iris", {}, 401), ("iris", {"Authorization": "Bearer guessed"}, 401), ("alone", ADMIN, 403), ("nothing", ADMIN, 404)],
)
@pytest.mark.parametrize("verb", ["load", "unload"])
def test_only_an_administrator_is_heeded(server: Server, verb: str, model: str, headers: dict[str, str], code: int) -> None:
    assert order(server, verb, model, headers).status_code == code
    assert server.predict("iris", [FLOWER]).status_code == 200


def test_a_request_in_flight_ends_as_it_would_have(server: Server) -> None:
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(server.predict, "changing", [told(4, seconds=1.5)] * 5)
        eventually(lambda: server.metric("dragoman_requests_in_flight") == 1)
        obeyed(server, "unload", "changing")
        assert not waiting.done()
        assert server.predict("changing", [told(4)]).status_code == 503
        assert waiting.result().json() == {"predictions": [8.0] * 5}
    obeyed(server, "load", "changing")
    assert server.predict("changing", [told(4)]).json() == {"predictions": [8.0]}


def test_what_was_overwritten_is_fetched_again_and_no_request_fails_meanwhile(server: Server, folder: Path) -> None:
    obeyed(server, "load", "changing")
    first = status(server, "changing")["digest"]
    (folder / "orders/slowly").write_text("0.7")
    (folder / "changing.py").write_text(SOURCE.replace("* 2", "* 3"))
    body = b'{"instances": [{"value": 4, "seconds": 0}]}'
    with load(f"{server.rest}/v1/models/changing:predict", lambda _: body, connections=4, keep_bodies=True) as running:
        obeyed(server, "load", "changing")
        answered = running.tally.answered
        eventually(lambda: running.tally.answered > answered + 20)
    (folder / "orders/slowly").unlink()
    assert running.tally.failed == []
    assert set(running.tally.statuses) == {200}
    assert {answer for _, answer in running.tally.bodies} == {b'{"predictions":[8.0]}', b'{"predictions":[12.0]}'}
    assert predicted(server, "changing", told(4)) == {(200, '{"predictions":[12.0]}')}
    second = status(server, "changing")["digest"]
    assert second != first
    assert index(server, "changing")["version"] == second.removeprefix("sha256:")[:12]


def test_what_cannot_be_loaded_is_said_and_what_was_served_goes_on(server: Server, folder: Path) -> None:
    (folder / "orders/broken").touch()
    (folder / "changing.py").write_text(SOURCE + "\n# another\n")
    before = predicted(server, "changing", told(4))
    reply = order(server, "load", "changing")
    (folder / "orders/broken").unlink()
    assert reply.status_code == 503
    assert "ModelLoadFailed" in reply.json()["error"]
    assert "broken for now" in reply.json()["error"]
    assert predicted(server, "changing", told(4)) == before
    assert status(server, "changing")["state"] == "Loaded"


def test_a_pin_holds_for_what_is_loaded_again(server: Server, folder: Path) -> None:
    digest = status(server, "pinned")["digest"]
    (folder / "pinned.py").write_text(SOURCE.replace("* 2", "* 5"))
    obeyed(server, "load", "pinned")  # the pinned bytes are still on this disk
    assert predicted(server, "pinned", told(4)) == {(200, '{"predictions":[8.0]}')}

    obeyed(server, "unload", "pinned")
    shutil.rmtree(server.log.parent / "cache/entries" / digest.removeprefix("sha256:"))
    reply = order(server, "load", "pinned")
    assert reply.status_code == 503
    assert "DigestMismatch" in reply.json()["error"]
    failed = status(server, "pinned")
    assert (failed["state"], failed["failure"]["reason"]) == ("Failed", "DigestMismatch")
    assert {code for code, _ in predicted(server, "pinned", told(4))} == {503}

    (folder / "pinned.py").write_text(PINNED)
    obeyed(server, "load", "pinned")
    assert predicted(server, "pinned", told(4)) == {(200, '{"predictions":[8.0]}')}
    assert "failure" not in status(server, "pinned")


def test_unloading_gives_the_memory_back(server: Server, folder: Path) -> None:
    def resident() -> float:
        """MiB of the worker that has the most."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in server.worker_pids()]
        return max(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses) / 1024

    before = resident()
    (folder / "orders/heavy").write_text("64")
    (folder / "changing.py").write_text(SOURCE + "# heavy\n")
    obeyed(server, "load", "changing")
    (folder / "orders/heavy").unlink()
    assert resident() > before + 48
    obeyed(server, "unload", "changing")
    eventually(lambda: resident() < before + 16)
    obeyed(server, "load", "changing")


def test_who_is_replaced_knows_what_was_unloaded_and_what_was_loaded(server: Server, folder: Path) -> None:
    (folder / "changing.py").write_text(SOURCE.replace("* 2", "* 7"))
    obeyed(server, "load", "changing")
    obeyed(server, "unload", "iris")
    for pid in server.worker_pids():
        replaced(server, pid)
    assert predicted(server, "changing", told(4)) == {(200, '{"predictions":[28.0]}')}
    assert {code for code, _ in predicted(server, "iris", FLOWER)} == {503}

    os.kill(_parent(server.worker_pids()[0]), signal.SIGKILL)  # the loader: a fresh one is told
    replaced(server, server.worker_pids()[0])
    assert predicted(server, "changing", told(4)) == {(200, '{"predictions":[28.0]}')}
    assert {code for code, _ in predicted(server, "iris", FLOWER)} == {503}
    assert predicted(server, "alone", told(4)) == {(200, '{"predictions":[8.0]}')}
    obeyed(server, "load", "iris")
    assert predicted(server, "iris", FLOWER) == {(200, '{"predictions":[0]}')}


def test_a_server_whose_only_model_is_unloaded_is_not_ready_until_it_is_back(folder: Path, tmp_path: Path) -> None:
    """Where processes start afresh, as on macOS, too."""
    (folder / "changing.py").write_text(SOURCE)
    administered = {"auth": {"adminTokens": {"file": str(folder / "token")}}}
    target = manifest(tmp_path, "only", folder / "changing.py", serving=administered)
    env = {"DRAGOMAN_TEST_LOADS": str(folder / "orders"), "DRAGOMAN_START_METHOD": "fresh"}
    with serving(tmp_path, target, env=env) as server:
        obeyed(server, "unload", "only")
        assert httpx.get(f"{server.management}/readyz").status_code == 503
        assert server.status()["phase"] == "Unloaded"
        assert httpx.get(f"{server.rest}/v2/health/ready").json() == {"ready": False}
        assert httpx.get(f"{server.management}/livez").status_code == 200
        obeyed(server, "load", "only")
        assert httpx.get(f"{server.management}/readyz").status_code == 200
        assert server.predict("only", [told(4)]).json() == {"predictions": [8.0]}
        assert server.terminate() == 0


def test_where_models_are_loaded_on_demand_an_unloaded_one_is_not(folder: Path, tmp_path: Path) -> None:
    (folder / "changing.py").write_text(SOURCE)
    administered = {"workers": 2, "auth": {"adminTokens": {"file": str(folder / "token")}}}
    for name in ("one", "two"):
        manifest(tmp_path, name, folder / "changing.py", serving=administered)
    with serving(tmp_path, tmp_path, "--cache-size", "1", env={"DRAGOMAN_TEST_LOADS": str(folder / "orders")}) as server:
        obeyed(server, "load", "one")
        assert status(server, "one")["heldBy"] == [0, 1]
        obeyed(server, "unload", "one")
        assert {code for code, _ in predicted(server, "one", told(4))} == {503}
        assert everywhere(server, "/v2/models/one/ready") == {(503, '{"name":"one","ready":false}')}
        assert (status(server, "one")["state"], index(server, "one")["state"]) == ("Unloaded", "UNAVAILABLE")
        assert predicted(server, "two", told(4)) == {(200, '{"predictions":[8.0]}')}

        (folder / "orders/broken").touch()
        (folder / "changing.py").write_text(SOURCE.replace("* 2", "* 3"))
        reply = order(server, "load", "one")
        (folder / "orders/broken").unlink()
        assert "broken for now" in reply.json()["error"]
        assert status(server, "one")["state"] == "Failed"
        obeyed(server, "load", "one")
        assert status(server, "one")["heldBy"] == [0, 1]
        assert predicted(server, "two", told(4)) == {(200, '{"predictions":[12.0]}')}  # nobody had the old one any more
        assert predicted(server, "one", told(4)) == {(200, '{"predictions":[12.0]}')}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
