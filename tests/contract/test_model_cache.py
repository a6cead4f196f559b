"""--cache-size: so many models in memory, those used last; the others are loaded when a request comes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
from tests.support.every_dialect import KINDS, iris
from tests.support.serving import Server, eventually, manifest, serving

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
ROW = [5.1, 3.5, 1.4, 0.2]
HIT = "X-DataRobot-Model-Cache-Hit"
COLD = ("v1", "v2", "v2-grpc", "datarobot", "certifai", "porter", "described")


def told(value: float, seconds: float = 0.0) -> dict[str, float]:
    return {"value": value, "seconds": seconds}


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What models are told when they are loaded, and what they tell."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model files, which a test may write anew."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, orders: Path, objects: Path) -> Iterator[Server]:
    """Room for two models in the one worker."""
    folder = tmp_path_factory.mktemp("cache")
    for name, uri in (("one", MODELS / "loads_as_told.py"), ("two", MODELS / "loads_as_told.py"), ("three", IRIS)):
        manifest(folder, name, uri, serving={"dialects": {"v1": {}, "v2": {}, "datarobot": {"deploymentId": name}}})
    dialects: dict[str, Any] = {name: {name.partition("-")[0]: {}} for name in COLD} | {"described": {"v2": {}}}
    dialects["datarobot"] = {"datarobot": {"deploymentId": "cold"}}
    dialects["porter"] = {"porter": {"exposeDocs": True}}  # as that of iris: they are one application
    for name in COLD:
        manifest(folder, f"cold-{name}", MODELS / "loads_as_told.py", serving={"dialects": dialects[name]})
    for name in ("shared", "mended", "heavy", "busy"):
        manifest(folder, name, MODELS / "loads_as_told.py")
    manifest(folder, "late", MODELS / "loads_as_told.py", serving={"limits": {"timeoutSeconds": 1}})
    manifest(folder, "dies", MODELS / "dies_loading.py")
    manifest(folder, "overwritten", objects / "model.py")
    iris(folder, IRIS)
    with serving(folder, folder, "--cache-size", "2", env={"DRAGOMAN_TEST_LOADS": str(orders)}) as started:
        yield started


@pytest.fixture
def ordered(orders: Path) -> Iterator[Callable[[str, str], None]]:
    """`ordered("slowly", "1.5")`: for this test."""

    def order(name: str, text: str) -> None:
        (orders / name).write_text(text)

    yield order
    for name in ("slowly", "broken", "heavy"):
        (orders / name).unlink(missing_ok=True)


def in_memory(server: Server) -> set[str]:
    return {m["name"] for m in server.status()["models"] if m.get("heldBy")}


def state(server: Server, name: str) -> str:
    return next(str(m["state"]) for m in server.status()["models"] if m["name"] == name)


def ask(server: Server, name: str) -> httpx.Response:
    return server.predict(name, [ROW if name == "three" else told(4)])


def emptied(server: Server) -> None:
    """Nothing but `one` and `two` is in memory, `two` used last."""
    for name in ("one", "two"):
        assert ask(server, name).status_code == 200
    eventually(lambda: in_memory(server) == {"one", "two"})


def test_a_server_is_ready_before_any_model_is_in_memory(server: Server) -> None:
    assert httpx.get(f"{server.management}/readyz").status_code == 200
    status = server.status()
    assert (status["phase"], status["ready"], status["cacheSize"]) == ("Loaded", True, 2)
    never = next(m for m in status["models"] if m["name"] == "three")
    assert (never["state"], never.get("heldBy"), never.get("bytes")) == ("Unloaded", None, None)
    assert httpx.get(f"{server.rest}/v2/health/ready").json() == {"ready": True}
    assert httpx.get(f"{server.rest}/v1/models/three").json() == {"name": "three", "ready": True}
    assert state(server, "three") == "Unloaded"  # being asked about is not being asked


def test_the_least_recently_used_goes_out(server: Server) -> None:
    emptied(server)
    assert ask(server, "one").status_code == 200
    assert ask(server, "three").json() == {"predictions": [0]}
    eventually(lambda: in_memory(server) == {"one", "three"})
    assert state(server, "two") == "Unloaded"
    assert ask(server, "two").json() == {"predictions": [8.0]}
    eventually(lambda: in_memory(server) == {"two", "three"})


def test_the_header_says_whether_the_model_was_in_memory(server: Server) -> None:
    def hit(name: str) -> str:
        row = dict(zip("0123", ROW, strict=True)) if name == "three" else told(4)
        reply = httpx.post(f"{server.rest}/predApi/v1.0/deployments/{name}/predictions", json=[row], timeout=30)
        return str(reply.headers[HIT])

    emptied(server)
    assert hit("three") == "false"  # takes the place of one
    assert hit("three") == "true"
    assert hit("two") == "true"
    assert hit("one") == "false"
    assert hit("three") == "false"


def of_v1(server: Server) -> Any:
    return server.predict("cold-v1", [told(4)]).json()["predictions"]


def of_v2(server: Server) -> Any:
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in told(4).items()]
    reply = httpx.post(f"{server.rest}/v2/models/cold-v2/infer", json={"inputs": inputs}, timeout=30)
    return reply.json()["outputs"][0]["data"]


def of_v2_grpc(server: Server) -> Any:
    inputs = []
    for name, value in told(4).items():
        tensor = tritonclient.grpc.InferInput(name, [1], "FP64")
        tensor.set_data_from_numpy(np.array([value], dtype="float64"))
        inputs.append(tensor)
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        return client.infer("cold-v2-grpc", inputs).as_numpy("predict").tolist()


def of_datarobot(server: Server) -> Any:
    reply = httpx.post(
        f"{server.rest}/predApi/v1.0/deployments/cold/predictions",
        content="value,seconds\n4,0\n",
        headers={"content-type": "text/csv"},
        timeout=30,
    )
    assert reply.headers[HIT] == "false"
    return [row["prediction"] for row in reply.json()["data"]]


def of_certifai(server: Server) -> Any:
    reply = httpx.post(f"{server.rest}/cold-certifai/predict", json={"payload": {"instances": [[4, 0]]}}, timeout=30)
    return reply.json()["payload"]["predictions"]


def of_porter(server: Server) -> Any:
    reply = httpx.post(f"{server.rest}/cold-porter/v1/prediction", json=[{"id": 1, **told(4)}], timeout=30)
    return [row["prediction"] for row in reply.json()["predictions"]]


@pytest.mark.parametrize("of_dialect", [of_v1, of_v2, of_v2_grpc, of_datarobot, of_certifai, of_porter])
def test_a_model_that_was_never_loaded_answers_in_every_dialect(server: Server, of_dialect: Callable[[Server], Any]) -> None:
    assert of_dialect(server) == [8.0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_went_out_answers_in_every_dialect(server: Server, kind: str) -> None:
    emptied(server)
    asked = KINDS[kind]
    if asked.over_grpc:
        with grpc.insecure_channel(server.grpc) as channel:
            answer = asked.ask(channel, [ROW])
    else:
        with httpx.Client(base_url=server.rest, timeout=30) as client:
            answer = asked.ask(client, [ROW])
    assert answer.labels == ["setosa"]
    eventually(lambda: "iris" in in_memory(server))


def test_what_describes_a_model_brings_one_that_was_never_loaded(server: Server) -> None:
    described = httpx.get(f"{server.rest}/v2/models/cold-described", timeout=30).json()
    assert [tensor["shape"] for tensor in described["inputs"]] == [[-1, 2]]
    (version,) = described["versions"]
    assert httpx.get(f"{server.rest}/v2/models/cold-described/versions/{version}/ready").status_code == 200


def test_requests_that_come_together_share_one_load(server: Server, orders: Path, ordered: Callable[[str, str], None]) -> None:
    emptied(server)
    ordered("slowly", "0.5")
    before = set(orders.iterdir())
    with ThreadPoolExecutor(12) as clients:
        replies = list(clients.map(lambda value: server.predict("shared", [told(value)]), range(12)))
    assert [reply.json() for reply in replies] == [{"predictions": [value * 2.0]} for value in range(12)]
    worker = str(server.worker_pids()[0])
    loads = [told.name.partition("-")[0] for told in set(orders.iterdir()) - before]
    assert len(loads) == 2  # in the child that tries it, and in the worker
    assert worker in loads


def test_a_load_that_takes_longer_than_a_request_may_is_a_503_and_goes_on(server: Server, ordered: Callable[[str, str], None]) -> None:
    emptied(server)
    ordered("slowly", "1.2")  # each of the two loads
    reply = server.predict("late", [told(4)])
    assert reply.status_code == 503
    assert "was not there within 1 s" in reply.json()["error"]
    assert int(reply.headers["retry-after"]) >= 1
    assert ask(server, "one").status_code == 200  # the others go on meanwhile
    eventually(lambda: state(server, "late") == "Loaded")
    assert server.predict("late", [told(4)]).json() == {"predictions": [8.0]}


def test_a_model_that_fails_says_why_and_is_tried_again_later(server: Server, ordered: Callable[[str, str], None], orders: Path) -> None:
    ordered("broken", "")
    reply = server.predict("mended", [told(4)])
    assert reply.status_code == 503
    assert "ModelLoadFailed" in reply.json()["error"]
    assert "broken for now" in reply.json()["error"]
    assert int(reply.headers["retry-after"]) >= 1
    before = set(orders.iterdir())
    assert "broken for now" in server.predict("mended", [told(4)]).json()["error"]
    assert set(orders.iterdir()) == before  # not tried so soon
    (orders / "broken").unlink()
    assert ask(server, "one").status_code == 200
    assert eventually(lambda: server.predict("mended", [told(4)]).json().get("predictions")) == [8.0]
    model = next(m for m in server.status()["models"] if m["name"] == "mended")
    assert "failure" not in model
    assert model["digest"].startswith("sha256:")


def test_a_model_that_fails_in_the_worker_alone_is_tried_again_later_and_later(server: Server, ordered: Callable[[str, str], None]) -> None:
    emptied(server)
    ordered("broken", str(server.worker_pids()[0]))
    reply = server.predict("shared", [told(4)])
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "broken for now" in reply.json()["error"]
    eventually(lambda: server.predict("shared", [told(4)]).headers["retry-after"] == "2")
    ordered("broken", "0")
    assert eventually(lambda: server.predict("shared", [told(4)]).json().get("predictions")) == [8.0]


def test_a_model_that_ends_its_process_harms_no_other(server: Server) -> None:
    pids = server.worker_pids()
    reply = server.predict("dies", [[1.0]])
    assert reply.status_code == 503
    assert "SIGKILL" in reply.json()["error"]
    assert ask(server, "one").status_code == 200
    assert server.worker_pids() == pids


def test_a_call_that_has_begun_ends_though_its_model_goes_out(server: Server) -> None:
    assert server.predict("busy", [told(1)]).status_code == 200
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(server.predict, "busy", [told(4, seconds=1.5)] * 3)
        eventually(lambda: server.metric("dragoman_requests_in_flight") == 1)
        emptied(server)
        assert not waiting.done()
        assert waiting.result().json() == {"predictions": [8.0] * 3}


def test_memory_is_given_back(server: Server, ordered: Callable[[str, str], None], orders: Path) -> None:
    def resident() -> float:
        """MiB of the worker."""
        status = Path(f"/proc/{server.worker_pids()[0]}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    emptied(server)
    before = resident()
    ordered("heavy", "64")
    assert server.predict("heavy", [told(4)]).json() == {"predictions": [8.0]}
    assert resident() > before + 48
    (orders / "heavy").unlink()
    emptied(server)
    eventually(lambda: resident() < before + 16)


def test_an_object_that_was_overwritten_is_loaded_as_it_is_now(server: Server, objects: Path) -> None:
    shutil.copy(MODELS / "loads_as_told.py", objects / "model.py")
    assert server.predict("overwritten", [told(4)]).json() == {"predictions": [8.0]}
    first = httpx.get(f"{server.rest}/v2/models/overwritten").json()
    (objects / "model.py").write_text((MODELS / "loads_as_told.py").read_text().replace("* 2", "* 3"))
    assert server.predict("overwritten", [told(4)]).json() == {"predictions": [8.0]}
    emptied(server)
    assert server.predict("overwritten", [told(4)]).json() == {"predictions": [12.0]}
    second = httpx.get(f"{server.rest}/v2/models/overwritten").json()
    assert second["versions"] != first["versions"]
    assert httpx.get(f"{server.rest}/v2/models/overwritten/versions/{second['versions'][0]}").status_code == 200
    assert httpx.get(f"{server.rest}/v2/models/overwritten/versions/{first['versions'][0]}").status_code == 404


def test_workers_and_loaders_that_are_replaced_know_and_load_as_before(tmp_path: Path, orders: Path) -> None:
    for name in ("one", "two"):
        manifest(tmp_path, name, MODELS / "loads_as_told.py")
    told_where = {"DRAGOMAN_TEST_LOADS": str(orders)}
    with serving(tmp_path, tmp_path, "--cache-size", "1", "--workers", "2", env=told_where) as server:
        asked_of_both(server, "one")
        killed = server.worker_pids()[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len({killed, *server.worker_pids()}) == 3)
        assert _holders(server, "one") == [1]  # the new one has nothing yet
        os.kill(_parent(server.worker_pids()[1]), signal.SIGKILL)
        asked_of_both(server, "two")
        killed = server.worker_pids()[1]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len({killed, *server.worker_pids()}) == 3, seconds=60)
        asked_of_both(server, "one")

        (orders / "slowly").write_text("0.7")
        with ThreadPoolExecutor(1) as client:  # a drain waits for a model that is on its way
            waiting = client.submit(server.predict, "two", [told(4)])
            eventually(lambda: server.metric("dragoman_requests_in_flight") == 1)
            assert server.terminate() == 0
            assert waiting.result().json() == {"predictions": [8.0]}
        (orders / "slowly").unlink()


def asked_of_both(server: Server, name: str) -> None:
    """Until both workers have it in memory; every request is answered."""
    with ThreadPoolExecutor(16) as clients:
        while len(_holders(server, name)) < 2:
            replies = list(clients.map(server.predict, [name] * 16, [[told(4)]] * 16))
            assert {reply.text for reply in replies} == {'{"predictions":[8.0]}'}


def _holders(server: Server, name: str) -> list[int]:
    return next(list(m.get("heldBy", [])) for m in server.status()["models"] if m["name"] == name)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
