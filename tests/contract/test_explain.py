"""Every served model answers the output explain, in whichever API it is asked for."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_iris
from tests.support.serving import Server, manifest, run, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = Path(__file__).parents[1] / "models"
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = load_iris().data[::10].tolist()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("explaining")
    manifest(folder, "iris", EXAMPLES / "iris/model.joblib", serving={"workers": 2})
    manifest(folder, "cancer", EXAMPLES / "breast-cancer/model.json")
    manifest(folder, "penguins", EXAMPLES / "penguins/model")
    manifest(folder, "digits", EXAMPLES / "digits/model.onnx")
    manifest(folder, "wine", EXAMPLES / "wine/model")
    manifest(folder, "centred", MODELS / "centred.py")
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "model.py").write_text(
        "import dragoman\n\nclass Hidden(dragoman.Model):\n    def predict(self, table):\n        return [1] * table.rows\n"
    )
    manifest(folder, "hidden", hidden)
    with serving(folder, folder) as started:
        yield started


def explain(server: Server, model: str, rows: list[Any]) -> httpx.Response:
    return httpx.post(f"{server.rest}/v1/models/{model}:explain", json={"instances": rows}, timeout=60)


def explanations(server: Server, model: str, rows: list[Any]) -> list[Any]:
    reply = explain(server, model, rows)
    assert reply.status_code == 200, reply.text
    found: list[Any] = reply.json()["explanations"]
    return found


def test_a_linear_model_names_what_each_input_contributes(server: Server) -> None:
    pipeline = joblib.load(EXAMPLES / "iris/model.joblib")
    with np.errstate(all="ignore"):
        scaled = pipeline[0].transform(load_iris(as_frame=True).data.iloc[::10].set_axis(NAMES, axis=1))
    predicted = (scaled @ pipeline[1].coef_.T + pipeline[1].intercept_).argmax(axis=1)
    found = explanations(server, "iris", ROWS)
    assert [list(row) for row in found] == [NAMES] * len(ROWS)
    np.testing.assert_allclose([list(row.values()) for row in found], scaled * pipeline[1].coef_[predicted], rtol=1e-12, atol=1e-14)
    assert explain(server, "iris", ROWS).json()["predictions"] == server.predict("iris", ROWS).json()["predictions"]


def test_the_page_of_docs_shows_what_is_answered(server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs/explanations.md").read_text()
    command, reply = (re.search(f"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("sh", "json"))
    assert command is not None
    assert reply is not None
    curl = shlex.split(command[1].replace("http://127.0.0.1:8080", server.rest))
    answered = json.loads(subprocess.run(curl, check=True, capture_output=True, timeout=30).stdout)
    shown = json.loads(reply[1])
    assert answered["predictions"] == shown["predictions"]
    assert answered["explanations"] == [pytest.approx(shown["explanations"][0], abs=1e-3)]


def test_a_booster_gives_its_own_contributions(server: Server) -> None:
    booster = xgboost.Booster(model_file=EXAMPLES / "breast-cancer/model.json")
    rows = load_breast_cancer().data[::100]
    given = booster.predict(xgboost.DMatrix(rows), pred_contribs=True, validate_features=False)
    found = explanations(server, "cancer", rows.tolist())
    np.testing.assert_allclose([list(row.values()) for row in found], given[:, :-1], rtol=1e-6, atol=1e-7)


def test_strings_and_missing_values_are_explained(server: Server) -> None:
    row = {"island": "Torgersen", "sex": None, "bill_length_mm": 39.1, "bill_depth_mm": None, "flipper_length_mm": 181, "body_mass_g": 3750}
    (found,) = explanations(server, "penguins", [row])
    assert list(found) == ["island", "sex", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    assert any(found.values())


def test_a_graph_is_explained_by_ablation(server: Server) -> None:
    (found,) = explanations(server, "digits", [[float(i % 17) for i in range(64)]])
    assert list(found) == [f"f{i}" for i in range(64)]
    assert any(found.values())


def test_a_models_own_explanations_are_given_as_they_are(server: Server) -> None:
    (found,) = explanations(server, "wine", [[13.0, 2.0, 5.0, 700.0]])
    assert list(found) == ["distance"]


def test_rows_that_depend_on_each_other_are_explained_together(server: Server) -> None:
    assert explanations(server, "centred", [[1, 2], [4, 6]]) == [{"a": -1.5, "b": -2.0}, {"a": 1.5, "b": 2.0}]


def test_a_model_whose_inputs_are_not_known_says_that_it_has_no_explanations(server: Server) -> None:
    reply = explain(server, "hidden", [[1, 2]])
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("model 'hidden' has no output 'explain'")


def test_v2_has_it_as_an_output_that_is_not_sent_unasked(server: Server) -> None:
    url = f"{server.rest}/v2/models/iris"
    described = httpx.get(url, timeout=10).json()["outputs"]
    assert {"name": "explain", "datatype": "FP64", "shape": [-1, 4]} in described
    tensor = {"name": "input", "shape": [len(ROWS), 4], "datatype": "FP64", "data": ROWS}
    unasked = httpx.post(f"{url}/infer", json={"inputs": [tensor]}, timeout=10).json()
    assert [output["name"] for output in unasked["outputs"]] == ["predict"]
    asked = httpx.post(f"{url}/infer", json={"inputs": [tensor], "outputs": [{"name": "explain"}]}, timeout=10).json()["outputs"][0]
    assert asked["shape"] == [len(ROWS), 4]
    expected = [value for row in explanations(server, "iris", ROWS) for value in row.values()]
    np.testing.assert_allclose(asked["data"], expected, rtol=1e-12)


def test_more_than_can_be_explained_in_a_request_is_refused(server: Server) -> None:
    reply = explain(server, "digits", [[0.0] * 64] * 3_126)
    assert reply.status_code == 413
    assert reply.json() == {
        "error": "explaining 3126 rows of 64 inputs takes 200064 predictions, and a request may take 200000: send at most 3125 rows"
    }


def test_rows_that_do_not_fit_are_refused_as_in_a_predict(server: Server) -> None:
    reply = explain(server, "iris", [[1, 2, 3, "wide"]])
    assert (reply.status_code, reply.json()["error"]) == (400, "row 0: 'petal_width' must be a number, got \"wide\"")


def test_no_rows_have_no_explanations(server: Server) -> None:
    assert explain(server, "iris", []).json() == {"predictions": [], "explanations": []}


def test_predicted_and_explained_together_each_is_answered_as_alone(server: Server) -> None:
    """Both kinds at once, over many connections."""
    alone = explanations(server, "penguins", PENGUINS), server.predict("penguins", PENGUINS).json()

    def ask(turn: int) -> Any:
        if turn % 3:
            return server.predict("penguins", PENGUINS).json()
        return explanations(server, "penguins", PENGUINS)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(48)))
    for turn, answer in enumerate(found):
        if turn % 3:
            assert answer == alone[1]
        else:
            np.testing.assert_allclose([list(r.values()) for r in answer], [list(r.values()) for r in alone[0]], rtol=0, atol=1e-12)


PENGUINS = [
    {"island": island, "sex": sex, "bill_length_mm": 40.0 + i, "bill_depth_mm": 18.0, "flipper_length_mm": 190.0, "body_mass_g": 3_800.0}
    for i, (island, sex) in enumerate([("Dream", "male"), ("Biscoe", None), ("Torgersen", "female")])
]


def test_inspect_says_how_and_predict_writes_them(tmp_path: Path) -> None:
    model = EXAMPLES / "penguins/model"
    assert "explanations: ablation against the background sample" in run(tmp_path, "inspect", model).stdout
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(PENGUINS))
    written = run(tmp_path, "predict", model, "--input", rows, "--outputs", "explain", "--output", tmp_path / "found.json")
    assert written.returncode == 0, written.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [len(row) for row in found] == [6, 6, 6]
