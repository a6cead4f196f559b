"""Every example: trained by its script, served from its manifest, and answering over a socket as its model does in process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import xgboost
from palmerpenguins import load_penguins
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from tests.support.models import json_rows
from tests.support.serving import Server, serving

from dragoman import manifest
from dragoman.storage.digest import digest_of

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/train.py"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, each trained as its README says, and what each script printed beside it."""
    folder = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=lambda _, names: [n for n in names if n in ("model.joblib", "model.json", "model.onnx")])
    for name in NAMES:
        run = subprocess.run([sys.executable, "-W", "error", str(folder / name / "train.py")], capture_output=True, text=True, check=True)
        (folder / name / "printed").write_text(run.stdout)
    return folder


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All of them in one process."""
    with serving(tmp_path_factory.mktemp("serving"), *(trained / name / "modeldeployment.yaml" for name in NAMES)) as running:
        yield running


def predictions(server: Server, name: str, rows: list[Any]) -> list[Any]:
    reply = server.predict(name, rows)
    assert reply.status_code == 200, reply.text
    found: list[Any] = reply.json()["predictions"]
    return found


def test_the_examples_are_those_that_are_promised() -> None:
    assert NAMES == [
        "breast-cancer",
        "diabetes",
        "digits",
        "gatherings",
        "iris",
        "penguins",
        "porter-penguins",
        "seldon-iris",
        "turnover",
        "wine",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_script_prints_the_digest_of_what_is_served(trained: Path, name: str) -> None:
    (deployment,) = manifest.load(trained / name / "modeldeployment.yaml")
    assert (trained / name / "printed").read_text().strip() == digest_of(Path(deployment.spec.model.uri))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_trained_from_a_package_alone(name: str) -> None:
    assert not any(word in (EXAMPLES / name / "train.py").read_text() for word in ("http", "fetch_", "urllib", "requests"))


def test_every_example_is_ready_without_a_warning(server: Server) -> None:
    told = {model["name"]: (model["state"], model.get("warnings", [])) for model in server.status()["models"]}
    assert told == {name: ("Loaded", []) for name in NAMES}


def test_iris_answers_as_in_process(server: Server, trained: Path) -> None:
    rows, species = load_iris(return_X_y=True)
    frame = pd.DataFrame(rows, columns=["sepal_length", "sepal_width", "petal_length", "petal_width"])
    expected = joblib.load(trained / "iris" / "model.joblib").predict(frame).tolist()
    assert predictions(server, "iris", rows.tolist()) == expected
    assert predictions(server, "iris", frame.to_dict("records")) == expected
    assert np.mean(np.array(expected) == species) > 0.9


def test_diabetes_answers_as_in_process(server: Server, trained: Path) -> None:
    rows, _ = load_diabetes(return_X_y=True, as_frame=True)
    expected = joblib.load(trained / "diabetes" / "model" / "model.joblib").predict(rows)
    np.testing.assert_allclose(predictions(server, "diabetes", rows.to_numpy().tolist()), expected, rtol=1e-12)


def test_breast_cancer_answers_as_in_process(server: Server, trained: Path) -> None:
    rows, benign = load_breast_cancer(return_X_y=True)
    model = xgboost.XGBClassifier()
    model.load_model(trained / "breast-cancer" / "model.json")
    got = predictions(server, "breast-cancer", rows.tolist())
    assert got == model.predict(rows).tolist()
    assert np.mean(np.array(got) == benign) > 0.9


def test_penguins_answer_as_in_process_with_strings_and_nulls(server: Server, trained: Path) -> None:
    columns = ["island", "sex", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    penguins = load_penguins()
    rows = json_rows(penguins[columns])
    assert any(value is None for row in rows for value in row.values())
    got = predictions(server, "penguins", rows)
    assert got == joblib.load(trained / "penguins" / "model" / "model.joblib").predict(penguins[columns]).tolist()
    assert np.mean(np.array(got) == penguins["species"]) > 0.9


def test_digits_answer_as_onnxruntime_does(server: Server, trained: Path) -> None:
    pixels, digits = load_digits(return_X_y=True)
    session = onnxruntime.InferenceSession(str(trained / "digits" / "model.onnx"), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: pixels[:200].astype(np.float32)})[0].tolist()
    assert predictions(server, "digits", pixels[:200].tolist()) == expected
    assert np.mean(np.array(expected) == digits[:200]) > 0.8


def test_wine_answers_from_its_own_code(server: Server) -> None:
    wines, growers = load_wine(return_X_y=True, as_frame=True)
    got = predictions(server, "wine", json_rows(wines[["alcohol", "flavanoids", "color_intensity", "proline"]]))
    assert np.mean(np.array(got) == growers) > 0.8


def test_wine_refuses_what_cannot_be(server: Server) -> None:
    reply = server.predict("wine", [{"alcohol": -1, "flavanoids": 1, "color_intensity": 1, "proline": 1}])
    assert reply.status_code == 400
    assert "row 0: 'alcohol' must be at least 0, got -1" in reply.text


def test_gatherings_are_recommended_as_their_own_code_does(server: Server, trained: Path) -> None:
    chosen = np.load(trained / "gatherings" / "model" / "chosen.npy")
    lengths = np.linalg.norm(chosen, axis=0)
    alike = chosen.T @ chosen / np.outer(lengths, lengths) * (1 - np.eye(chosen.shape[1]))
    for woman in range(1, len(chosen) + 1):
        asked: dict[str, Any] = {"client": "natchez", "user_id": woman, "exclusion_items": "12", "limit": 3}
        found = httpx.get(f"{server.rest}/recommend", params=asked, timeout=30).json()["recommended"]
        scores = {item + 1: score for item, score in enumerate(alike @ chosen[woman - 1]) if not chosen[woman - 1, item] and item != 11}
        best = sorted(scores, key=lambda item: -scores[item])[:3]
        assert [element["item"] for element in found] == best
        assert [element["score"] for element in found] == pytest.approx([scores[item] / scores[best[0]] for item in best])


def test_seldon_iris_answers_over_rest_and_grpc_as_in_process(server: Server, trained: Path) -> None:
    flower = {"f1": 5.1, "f2": 3.5, "f3": 1.4, "f4": 0.2}
    expected = joblib.load(trained / "seldon-iris" / "model" / "pipeline" / "model.joblib").predict_proba(pd.DataFrame([flower]))[0]
    found = httpx.get(f"{server.rest}/predict", params={"client": "test", "json": json.dumps(flower)}, timeout=30).json()["predictions"]
    assert [element["score"] for element in found] == pytest.approx(expected.tolist(), rel=1e-12)
    ask = [sys.executable, "-B", str(trained / "seldon-iris" / "ask.py"), server.grpc]
    lines = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert lines[0].startswith("flower-1, answered by iris ")
    assert [line.split() for line in lines[1:]] == [[e["classId"], f"{e['score']:.4f}"] for e in found]


def test_porter_penguins_answer_with_their_hooks(server: Server) -> None:
    """Its README's request, and one that its check refuses."""
    text = (EXAMPLES / "porter-penguins/README.md").read_text()
    path, _, rest = text.partition("curl localhost:8080")[2].partition(" -d '")
    answer = httpx.post(f"{server.rest}{path}", content=rest.partition("'")[0]).json()
    assert answer["predictions"] == [{"id": 1, "prediction": "Pygoscelis adelie"}]
    row = {"island": "Dream", "bill_length_mm": 16.7, "bill_depth_mm": 39.5, "flipper_length_mm": 178, "body_mass_g": 3250}
    refused = httpx.post(f"{server.rest}/biology/penguin/v1/prediction", json={"id": 1, **row})
    assert (refused.status_code, refused.json()["error"]["messages"]) == (422, ["a bill is longer than it is deep: were the two mixed up?"])


def test_the_readmes_requests_work(server: Server) -> None:
    """Each README's curl, sent to this server."""
    sent = 0
    for name in NAMES:
        text = (EXAMPLES / name / "README.md").read_text()
        _, curl, rest = text.partition(f"curl localhost:8080/v1/models/{name}:predict -d '")
        if curl:
            body = rest.partition("'")[0]
            assert httpx.post(f"{server.rest}/v1/models/{name}:predict", content=body, timeout=30).status_code == 200
            sent += 1
    assert sent >= 2
