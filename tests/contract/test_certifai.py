"""certifai over a real socket: its page, row by row, with a plain HTTP client; and the walk of docs/dialects/certifai.md."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from tests.support.serving import Server, manifest, run, serving
from xgboost import XGBClassifier

ROOT = Path(__file__).parents[2]
EXAMPLES, MODELS = ROOT / "examples", ROOT / "tests/models"
JSON = "application/json"
FORMAT = 'Expected format {"payload": {"instances": []}}'
NOT_INSTANCES = "`instances` must be either be an array of instances or a single instance, containing an array of feature values"
ROW = [5.1, 3.5, 1.4, 0.2]
ROWS = [ROW, [6.0, 3.0, 5.0, 1.8], [5.7, 2.9, 4.2, 1.3]]
TUMOURS: list[list[float]] = load_breast_cancer().data[:40].tolist()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("certifai")

    def model(name: str, uri: Path, outputs: dict[str, Any] | None = None, **options: Any) -> None:
        manifest(folder, name, uri, model={"outputs": outputs or {}}, serving={"dialects": {"certifai": options}})

    model("iris", EXAMPLES / "iris/model.joblib", {"classes": ["setosa", "versicolor", "virginica"]})
    model("plain", EXAMPLES / "iris/model.joblib", scores="none", route="bank_marketing_dtree/predict")
    tumour = {"classes": ["malignant", "benign"]}
    model("tumour", EXAMPLES / "breast-cancer/model.json", tumour, scores="positive")
    model("cautious", EXAMPLES / "breast-cancer/model.json", tumour, scores="positive", threshold=0.9, route="/cautious")
    model("diabetes", EXAMPLES / "diabetes/model")
    model("model", MODELS / "on_order.py")
    with serving(folder, folder) as started:
        yield started


def frame(rows: Any) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["sepal_length", "sepal_width", "petal_length", "petal_width"])


def predict(server: Server, instances: Any, path: str = "/iris/predict") -> Any:
    reply = httpx.post(server.rest + path, json={"payload": {"instances": instances}}, timeout=30)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == JSON
    return reply.json()


# --- replies -----------------------------------------------------------------------------------------------------


def test_form_2_has_a_score_a_label(server: Server) -> None:
    payload = predict(server, ROWS)["payload"]
    assert payload["labels"] == ["setosa", "versicolor", "virginica"]
    np.testing.assert_allclose(payload["scores"], joblib.load(EXAMPLES / "iris/model.joblib").predict_proba(frame(ROWS)), rtol=1e-12)
    assert payload["predictions"] == ["setosa", "virginica", "versicolor"]
    assert set(payload) == {"predictions", "scores", "labels"}


def test_a_flat_list_is_one_instance(server: Server) -> None:
    assert predict(server, ROW) == predict(server, [ROW])
    assert len(predict(server, ROW)["payload"]["predictions"]) == 1


def test_predictions_come_in_the_order_of_the_instances(server: Server) -> None:
    flowers = load_iris().data
    payload = predict(server, flowers.tolist())["payload"]
    expected = joblib.load(EXAMPLES / "iris/model.joblib").predict(frame(flowers))
    assert payload["predictions"] == [payload["labels"][i] for i in expected]
    assert predict(server, flowers[::-1].tolist())["payload"]["predictions"] == payload["predictions"][::-1]


@pytest.mark.parametrize(("path", "threshold"), [("/tumour/predict", 0.5), ("/cautious", 0.9)])
def test_form_1_has_a_score_of_the_positive_class_and_its_threshold(server: Server, path: str, threshold: float) -> None:
    payload = predict(server, TUMOURS, path)["payload"]
    classifier = XGBClassifier()
    classifier.load_model(EXAMPLES / "breast-cancer/model.json")
    np.testing.assert_allclose(payload["scores"], classifier.predict_proba(np.array(TUMOURS))[:, 1], rtol=1e-6)
    assert payload["threshold"] == threshold
    assert payload["predictions"] == ["benign" if score >= threshold else "malignant" for score in payload["scores"]]
    assert set(payload["predictions"]) == {"benign", "malignant"}
    assert set(payload) == {"predictions", "scores", "threshold"}


def test_without_scores_there_are_predictions_alone_on_the_configured_route(server: Server) -> None:
    assert predict(server, ROWS, "/bank_marketing_dtree/predict") == {"payload": {"predictions": [0, 2, 1]}}


def test_a_regressor_has_predictions_alone(server: Server) -> None:
    row = httpx.get(f"{server.rest}/openapi.json").json()["paths"]["/diabetes/predict"]["post"]["requestBody"]["content"][JSON]["example"]
    ((name, values),) = predict(server, row["payload"]["instances"], "/diabetes/predict")["payload"].items()
    assert (name, len(values), isinstance(values[0], float)) == ("predictions", 1, True)


@pytest.mark.parametrize("path", ["/iris/predict", "/tumour/predict", "/bank_marketing_dtree/predict"])
@pytest.mark.parametrize("instances", [[], [[]]])
def test_no_instances_have_no_predictions(server: Server, path: str, instances: Any) -> None:
    assert predict(server, instances, path) == {"payload": {"predictions": []}}


def test_strings_and_numbers_mix_in_an_instance(server: Server) -> None:
    assert predict(server, [["double", 4], ["double", 0.5]], "/model/predict") == {"payload": {"predictions": [8.0, 1.0]}}


def test_a_gzipped_body_is_read(server: Server) -> None:
    body = gzip.compress(json.dumps({"payload": {"instances": [ROW]}}).encode())
    reply = httpx.post(f"{server.rest}/iris/predict", content=body, headers={"content-type": JSON, "content-encoding": "gzip"})
    assert reply.json() == predict(server, [ROW])


# --- refusals ----------------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    """A request, and what it is answered: `error` is the whole text, or a pattern where it starts with ^."""

    name: str
    status: int
    error: str
    body: bytes = b""
    path: str = "/iris/predict"
    method: str = "POST"
    content_type: str = JSON


def instances(value: str) -> bytes:
    return b'{"payload":{"instances":%b}}' % value.encode()


REFUSED = (
    Refused("no payload", 400, f"Missing `payload`. {FORMAT}", b"{}"),
    Refused("a list", 400, f"Missing `payload`. {FORMAT}", b"[[1,2,3,4]]"),
    Refused("payload is a list", 400, f"`payload` must be of type dict. {FORMAT}", b'{"payload":[]}'),
    Refused("payload is null", 400, f"`payload` must be of type dict. {FORMAT}", b'{"payload":null}'),
    Refused("no instances", 400, f"Missing `instances`. {FORMAT}", b'{"payload":{}}'),
    Refused("instances are a string", 400, NOT_INSTANCES, instances('"a"')),
    Refused("instances are an object", 400, NOT_INSTANCES, instances('{"a":1}')),
    Refused("instances are null", 400, NOT_INSTANCES, instances("null")),
    Refused("instances are objects", 400, NOT_INSTANCES, instances('[{"a":1}]')),
    Refused("lists and values mix", 400, NOT_INSTANCES, instances("[[1,2,3,4],5]")),
    Refused("ragged", 400, "row 1: has 3 values, row 0 has 4", instances("[[1,2,3,4],[1,2,3]]")),
    Refused("too few values", 400, "^row 0: has 3 values, the model takes 4", instances("[1,2,3]")),
    Refused(
        "a string for a number", 400, """row 1: 'petal_width' must be a number, got "wide\"""", instances('[[1,2,3,4],[1,2,3,"wide"]]')
    ),
    Refused("a missing value", 400, "^row 0: 'petal_width' must be", instances("[1,2,3,null]")),
    Refused("not JSON", 400, "^the body is not valid JSON", b'{"payload":'),
    Refused("NaN is not JSON", 400, "^the body is not valid JSON", instances("[1,2,3,NaN]")),
    Refused("not UTF-8", 400, "^the body is not valid JSON", b'{"payload":"\xff"}'),
    Refused("an empty body", 400, "the body is empty, JSON was expected"),
    Refused("text", 415, "content-type must be application/json, got 'text/plain'", instances("[]"), content_type="text/plain"),
    Refused("a form", 415, "^content-type must be application/json", b"a=1", content_type="application/x-www-form-urlencoded"),
    Refused("no media type", 415, "content-type must be application/json", instances("[]"), content_type=""),
    Refused("the model raises", 500, "the model failed: RuntimeError: told to raise", instances('["raise",1]'), "/model/predict"),
    Refused("GET", 405, "GET is not allowed on /iris/predict", method="GET"),
    Refused("PUT", 405, "PUT is not allowed on /iris/predict", method="PUT"),
    Refused("an unknown model", 404, "^nothing is served at /wine/predict; predictions are at .*/iris/predict", path="/wine/predict"),
    Refused("the name, where a route is configured", 404, "^nothing is served at /plain/predict", path="/plain/predict"),
    Refused("below the route", 404, "^nothing is served at /iris/predict/more", path="/iris/predict/more"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name.replace(" ", "-"))
def test_a_refusal_says_what_is_wrong_in_the_apis_own_shape(server: Server, case: Refused) -> None:
    connection = HTTPConnection(httpx.URL(server.rest).netloc.decode(), timeout=30)
    connection.request(case.method, case.path, case.body, {"content-type": case.content_type} if case.content_type else {})
    reply = connection.getresponse()
    document = json.loads(reply.read())
    connection.close()
    assert (reply.status, reply.getheader("content-type")) == (case.status, JSON)
    assert document["payload"].keys() == {"success", "error"}
    assert document["payload"]["success"] is False
    if case.error.startswith("^"):
        assert re.match(case.error, document["payload"]["error"])
    else:
        assert document["payload"]["error"] == case.error
    assert len(document["payload"]["error"].splitlines()) == 1


# --- health, and what is refused at the start --------------------------------------------------------------------


def test_health_is_ok(server: Server) -> None:
    reply = httpx.get(f"{server.rest}/health")
    assert (reply.status_code, reply.text, reply.headers["content-type"]) == (200, "OK!", "text/plain; charset=utf-8")
    assert httpx.post(f"{server.rest}/health").status_code == 405


def test_scores_that_the_model_cannot_give_end_the_start(tmp_path: Path) -> None:
    options = {"dialects": {"certifai": {"scores": "positive"}}}
    done = run(tmp_path, "serve", manifest(tmp_path, "iris", EXAMPLES / "iris/model.joblib", serving=options), "--port", "0")
    assert done.returncode == 19
    assert "spec.serving.dialects.certifai.scores: positive needs a score of two classes" in done.stderr + done.stdout


def test_the_walk_of_the_docs_page_works(tmp_path: Path) -> None:
    """Its manifest is served, and each of its commands answers what the page says."""
    page = (ROOT / "docs/dialects/certifai.md").read_text(encoding="utf-8")
    (document,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (walk,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "modeldeployment.yaml"
    file.write_text(document.replace("examples/", f"{EXAMPLES}/"), encoding="utf-8")
    steps = re.findall(r"^\$ (curl .*?[^\\])\n(.*?)(?=^\$ |\Z)", walk, re.DOTALL | re.MULTILINE)
    assert len(steps) >= 4
    with serving(tmp_path, file) as started:
        for command, answer in steps:
            done = subprocess.run(
                command.replace("http://127.0.0.1:8080", started.rest), shell=True, capture_output=True, text=True, timeout=30, check=True
            )
            expected = ".*".join(map(re.escape, answer.strip().split("…")))
            assert re.fullmatch(expected, done.stdout.strip()), done.stdout
