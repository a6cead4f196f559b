"""Compiled models in a server: made beside serving, taken up by every worker, and never in the way of a request."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from tests.support.load import load
from tests.support.models import iris, nuclei
from tests.support.serving import Server, eventually, manifest, serving

from dragoman.storage.compiled import CompiledModels
from dragoman.storage.digest import digest_of

IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
CENTRED = Path(__file__).parents[1] / "models/centred.py"
FLOWER = [5.1, 3.5, 1.4, 0.2]
AUTO = {"compile": "Auto"}
ADMIN = {"Authorization": "Bearer let-me-in"}
ENDED = ("Compiled", "LeftOut", "Failed", "Off")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest, a model that changes, a token; and the cache of all servers here."""
    folder = tmp_path_factory.mktemp("models")
    measurements, benign = nuclei()
    joblib.dump(RandomForestClassifier(40, random_state=0).fit(measurements, benign), folder / "forest.joblib")
    (folder / "changing.joblib").write_bytes(IRIS.read_bytes())
    (folder / "token").write_text("let-me-in\n")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    manifests = folder / "manifests"
    manifests.mkdir()
    administered = AUTO | {"auth": {"adminTokens": {"file": str(folder / "token")}}}
    manifest(manifests, "iris", IRIS, serving=AUTO | {"workers": 2})
    manifest(manifests, "forest", folder / "forest.joblib", serving=AUTO)
    manifest(manifests, "changing", folder / "changing.joblib", serving=administered)
    manifest(manifests, "centred", CENTRED, serving=AUTO)
    manifest(manifests, "tight", folder / "forest.joblib", serving=AUTO | {"compileMemoryShare": 0.0001})
    manifest(manifests, "off", IRIS)
    with serving(folder, manifests) as started:
        yield started


def compiled(server: Server, model: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in server.status()["models"] if m["name"] == model)["compiled"]
    return found


def settled(server: Server, model: str, workers: int = 2) -> dict[str, Any]:
    """What came of it, once every worker that is to use it does."""

    def told() -> dict[str, Any] | None:
        found = compiled(server, model)
        whole = len(found.get("workers", ())) == workers or found["state"] != "Compiled"
        return found if found["state"] in ENDED and whole else None

    found: dict[str, Any] = eventually(told, seconds=90)
    return found


def lines(server: Server, message: str) -> list[dict[str, Any]]:
    """Of the server's log."""
    found = (json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in found if line["message"] == message]


def probabilities(server: Server, model: str, rows: Any) -> Any:
    body = {
        "inputs": [{"name": "rows", "datatype": "FP64", "shape": list(rows.shape), "data": rows.tolist()}],
        "outputs": [{"name": "predict_proba"}],
    }
    reply = httpx.post(f"{server.rest}/v2/models/{model}/infer", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    return np.reshape(output["data"], output["shape"])


def everywhere(ask: Callable[[], httpx.Response]) -> set[tuple[int, str]]:
    """What many connections at once are answered, which the workers share."""
    with ThreadPoolExecutor(8) as clients:
        return {(reply.status_code, reply.text) for reply in clients.map(lambda _: ask(), range(16))}


def order(server: Server, verb: str, model: str) -> None:
    reply = httpx.post(f"{server.rest}/v2/repository/models/{model}/{verb}", headers=ADMIN, timeout=60)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(("model", "engine", "path"), [("iris", "onnx", IRIS), ("forest", "treelite", None)])
def test_a_compiled_model_answers_as_the_original_does(server: Server, folder: Path, model: str, engine: str, path: Path | None) -> None:
    found = settled(server, model)
    assert (found["state"], found["engine"], found["workers"]) == ("Compiled", engine, [0, 1])
    assert found["rows"] > 100
    assert found["largestDifference"] <= 1e-12
    assert found["fasterUpToRows"] >= 1
    assert {"predict", "predict_proba"} <= set(found["outputs"])
    assert server.metric("dragoman_model_compiled", model=model) == 1
    rows = (iris() if model == "iris" else nuclei())[0].to_numpy()[::5]
    original = joblib.load(path or folder / "forest.joblib")
    expected = original.predict_proba(rows if not hasattr(original, "feature_names_in_") else _named(original, rows))
    for row, wanted in zip(rows, expected, strict=True):
        np.testing.assert_allclose(probabilities(server, model, row[None, :])[0], wanted, rtol=1e-12, atol=1e-12)


def _named(original: Any, rows: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(rows, columns=original.feature_names_in_)


def test_what_a_compiled_model_does_not_answer_the_original_answers(server: Server) -> None:
    found = settled(server, "forest")
    rows = np.repeat(nuclei()[0].to_numpy()[:3], found["fasterUpToRows"], axis=0)
    whole = probabilities(server, "forest", rows)
    np.testing.assert_array_equal(whole, np.repeat(whole[:: found["fasterUpToRows"]], found["fasterUpToRows"], axis=0))
    explained = httpx.post(f"{server.rest}/v1/models/iris:explain", json={"instances": [FLOWER]}, timeout=30)
    assert explained.status_code == 200, explained.text


def test_what_is_not_compiled_says_why(server: Server) -> None:
    own_code = settled(server, "centred")
    assert (own_code["state"], own_code["reason"]) == ("LeftOut", "its author's own code answers")
    tight = settled(server, "tight")
    assert tight["state"] == "LeftOut"
    assert "serving.compileMemoryShare" in tight["reason"]
    assert tight["memoryBytes"] >= 0
    assert "workers" not in tight
    assert server.predict("tight", [[1.0] * 6]).status_code == 200
    assert server.metric("dragoman_model_compiled", model="tight") == 0
    assert compiled(server, "off") == {"state": "Off"}


def test_a_worker_that_comes_later_takes_it_up(server: Server) -> None:
    settled(server, "iris")
    pid = server.worker_pids()[1]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len({pid, *server.worker_pids()}) == 3)
    assert settled(server, "iris")["workers"] == [0, 1]
    assert settled(server, "forest")["workers"] == [0, 1]
    assert everywhere(lambda: server.predict("iris", [FLOWER])) == {(200, '{"predictions":[0]}')}


def test_it_goes_and_comes_with_the_model(server: Server, folder: Path) -> None:
    assert settled(server, "changing")["state"] == "Compiled"
    order(server, "unload", "changing")
    assert compiled(server, "changing") == {"state": "Waiting"}
    order(server, "load", "changing")
    assert settled(server, "changing")["workers"] == [0, 1]
    assert lines(server, "compiled")[-1]["kept"]  # these bytes were compiled before

    flowers, species = iris()
    joblib.dump(LogisticRegression(max_iter=200).fit(flowers, np.where(species == 0, 2, 0)), folder / "changing.joblib")
    order(server, "load", "changing")
    assert everywhere(lambda: server.predict("changing", [FLOWER])) == {(200, '{"predictions":[2]}')}
    assert settled(server, "changing")["workers"] == [0, 1]
    assert not lines(server, "compiled")[-1]["kept"]
    assert everywhere(lambda: server.predict("changing", [FLOWER])) == {(200, '{"predictions":[2]}')}


@pytest.fixture(scope="module")
def second(server: Server, folder: Path) -> Iterator[Server]:
    """Another one with the same cache: what was made of the forest is broken, and another model has ended its process again and again."""
    for model in ("iris", "forest"):
        assert settled(server, model)["state"] == "Compiled"
    for file in folder.glob("cache/compiled/*/model/model.treelite"):
        file.chmod(0o644)
        file.write_bytes(b"\0" * file.stat().st_size)
    hopeless = folder / "hopeless.joblib"
    joblib.dump(LogisticRegression().fit(*iris()), hopeless)
    while CompiledModels(folder / "cache", 1 << 30, folder).attempt(digest_of(hopeless)):
        pass
    manifests = [folder / "manifests/iris.yaml", folder / "manifests/forest.yaml", manifest(folder, "hopeless", hopeless, serving=AUTO)]
    with serving(folder, *manifests) as started:
        yield started


def test_what_was_made_once_is_found_and_what_is_broken_is_made_anew(second: Server) -> None:
    assert settled(second, "iris")["state"] == "Compiled"
    assert settled(second, "forest")["state"] == "Compiled"
    assert [line["model"] for line in lines(second, "compiling")] == ["forest"]
    assert {line["model"]: line["kept"] for line in lines(second, "compiled")} == {"iris": True, "forest": False}


def test_bytes_that_ended_their_process_again_and_again_are_left_alone(second: Server) -> None:
    found = settled(second, "hopeless")
    assert (found["state"], "has ended its process" in found["reason"]) == ("Failed", True)
    assert second.predict("hopeless", [FLOWER]).json() == {"predictions": [0]}


def test_after_two_crashes_of_workers_that_used_it_the_original_answers_again(second: Server) -> None:
    for _ in range(2):
        assert settled(second, "iris")["workers"] == [0, 1]
        pid = second.worker_pids()[0]
        os.kill(pid, signal.SIGSEGV)
        eventually(lambda pid=pid: len({pid, *second.worker_pids()}) == 3)
    failed = eventually(lambda: (found := compiled(second, "iris"))["state"] == "Failed" and found)
    assert failed["reason"] == "2 workers crashed that used it"
    assert "workers" not in failed
    assert everywhere(lambda: second.predict("iris", [FLOWER])) == {(200, '{"predictions":[0]}')}


def held(server: Server, model: str, number: int = 1) -> int:
    """The process that compiles this model, the first one or a later one, held still as soon as it says so."""
    found = eventually(lambda: [line["pid"] for line in lines(server, "compiling") if line["model"] == model][number - 1 :], every=0.002)
    pid: int = found[0]
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_requests_go_on_while_a_model_is_compiled_and_taken_up(tmp_path: Path) -> None:
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS, serving=AUTO), "--workers", "2") as server:
        pid = held(server, "iris")
        body = json.dumps({"instances": [FLOWER]}).encode()
        with load(f"{server.rest}/v1/models/iris:predict", lambda _: body, connections=8, keep_bodies=True, pause_seconds=0.002) as running:
            eventually(lambda: running.tally.answered > 100)
            assert compiled(server, "iris")["state"] == "Compiling"
            os.kill(pid, signal.SIGCONT)
            assert settled(server, "iris")["workers"] == [0, 1]
            answered = running.tally.answered
            eventually(lambda: running.tally.answered > answered + 100)
        assert running.tally.failed == []
        assert set(running.tally.statuses) == {200}
        assert {body for _, body in running.tally.bodies} == {b'{"predictions":[0]}'}


def test_a_process_that_compiles_may_die_with_its_loader_or_be_in_the_way_of_a_drain(folder: Path, tmp_path: Path) -> None:
    manifest(tmp_path, "iris", IRIS, serving=AUTO)
    manifest(tmp_path, "other", folder / "forest.joblib", serving=AUTO)
    with serving(tmp_path, tmp_path) as server:
        os.kill(held(server, "iris"), signal.SIGKILL)
        failed = settled(server, "iris")
        assert (failed["state"], failed["reason"]) == ("Failed", "the process that compiled it ended: killed by SIGKILL")
        assert server.predict("iris", [FLOWER]).json() == {"predictions": [0]}
        assert httpx.get(f"{server.management}/readyz").status_code == 200

        orphan = held(server, "other")  # the next one's turn: the first is not tried again
        loader = int(Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(loader, signal.SIGKILL)
        again = held(server, "other", 2)  # the next loader begins again
        eventually(lambda: not Path(f"/proc/{orphan}").exists())
        assert compiled(server, "other")["state"] == "Compiling"
        assert server.predict("other", [[1.0] * 6]).status_code == 200

        assert server.terminate() == 0
        assert not Path(f"/proc/{again}").exists()
    assert [line["model"] for line in lines(server, "compiling")] == ["iris", "other", "other"]


def test_processes_that_start_afresh_compile_and_a_cache_that_takes_nothing_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/compiled").write_text("in the way")
    deployment = manifest(tmp_path, "iris", IRIS, serving=AUTO)
    with serving(tmp_path, deployment, env={"DRAGOMAN_START_METHOD": "fresh"}) as server:
        assert settled(server, "iris", workers=1)["state"] == "Compiled"
        assert server.predict("iris", [FLOWER]).json() == {"predictions": [0]}
