"""The porter API beside others on one server: a model of any format by its manifest, and an application of services that may mix."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.support.serving import Server, eventually, manifest, run, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
UNSAID: list[Any] = [positive_data_acceptance]  # which numbers overflow inside the model, no schema can say
PAGE = EXAMPLES.parent / "docs/dialects/porter.md"
ROWS = [
    {"id": 10, "sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
    {"id": 11, "sepal_length": 6.7, "sepal_width": 3.0, "petal_length": 5.2, "petal_width": 2.3},
]
MIXING = """
import time
import dragoman.porter.schemas as sc
from dragoman.porter import services
from dragoman.porter.datascience import BaseModel, BasePreProcessor

class Model(BaseModel):
    def predict(self, X):
        time.sleep(0.05)
        return [{"rows": len(X), "a": a, "kind": X["a"].dtype.kind} for a in X["a"].tolist()]

class Pre(BasePreProcessor):
    def process(self, X):
        return X.assign(b=1)

def checks(X):
    if (X["a"] < 0).any():
        raise ValueError("a must not be negative")

mixing = services.PredictionService(
    model=Model(), name="mixing", api_version="v1", rows_independent=True, preprocessor=Pre(), additional_checks=checks,
    feature_schema=sc.Object(properties={"a": sc.Number()}),
)
application = services.ModelApp([mixing])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("porter-models")
    (folder / "mixing").mkdir()
    (folder / "mixing/service.py").write_text(MIXING)
    porter = {"namespace": "flowers", "validateRequestData": True}
    iris = manifest(folder, "iris", EXAMPLES / "iris/model.joblib", serving={"dialects": {"porter": porter, "v1": {}}, "workers": 2})
    limits = {"maxRequestBytes": 100_000}
    mixing = manifest(folder, "mixing", folder / "mixing/service.py", serving={"dialects": {"porter": {}, "v1": {}}, "limits": limits})
    with serving(folder, iris, mixing) as running:
        yield running


def post(server: Server, path: str, document: Any) -> httpx.Response:
    return httpx.post(server.rest + path, json=document, timeout=30)


def test_a_model_of_any_format_answers_as_in_other_apis(server: Server) -> None:
    reply = post(server, "/flowers/iris/v1/prediction", ROWS)
    rows = [{name: value for name, value in row.items() if name != "id"} for row in ROWS]
    others = server.predict("iris", rows).json()["predictions"]
    assert reply.json()["predictions"] == [{"id": row["id"], "prediction": other} for row, other in zip(ROWS, others, strict=True)]


def test_rows_are_refused_in_the_schemas_words(server: Server) -> None:
    reply = post(server, "/flowers/iris/v1/prediction", [ROWS[0] | {"petal_width": "wide"}])
    assert (reply.status_code, reply.json()["error"]["messages"]) == (
        422,
        ["Schema validation failed: data[0].petal_width must be number"],
    )


def test_models_share_one_health_check(server: Server) -> None:
    ready = httpx.get(f"{server.rest}/-/ready")
    assert ready.status_code == 200
    assert set(ready.json()["services"]) == {"/flowers/iris/v1/prediction", "/mixing/v1/prediction"}
    assert httpx.get(f"{server.rest}/").status_code == 200


def test_elsewhere_it_is_nobodys_ground_where_several_apis_are_on(server: Server) -> None:
    assert httpx.get(f"{server.rest}/nothing").json().keys() == {"error"}
    assert httpx.get(f"{server.rest}/flowers/iris/v2/prediction").json().keys() == {"error"}
    assert httpx.get(f"{server.rest}/flowers/iris/v1/other").json()["error"]["name"] == "NotFound"
    assert httpx.get(f"{server.rest}/v1/models/nothing").json().keys() == {"error"}


def test_requests_of_services_share_a_predict_where_their_author_says_so(server: Server) -> None:
    def ask(i: int) -> Any:
        return post(server, "/mixing/v1/prediction", [{"id": i, "a": i}]).json()["predictions"]

    with ThreadPoolExecutor(8) as pool:

        def mixed() -> bool:
            answers = list(pool.map(ask, range(8)))
            assert [(p["id"], p["prediction"]["a"]) for (p,) in answers] == [(i, i) for i in range(8)]
            return bool(max(p["prediction"]["rows"] for (p,) in answers) > 1)

        assert eventually(mixed)


def test_a_column_is_of_the_type_that_its_own_request_makes_it(server: Server) -> None:
    """A request of whole numbers beside one of fractions: a frame of both would make floats of them."""
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda a: post(server, "/mixing/v1/prediction", [{"id": 1, "a": a}]).json()["predictions"][0], [1, 1.5] * 4)
        assert [answer["prediction"]["kind"] for answer in answers] == ["i", "f"] * 4


def test_one_bad_request_of_a_mix_fails_alone(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda a: post(server, "/mixing/v1/prediction", [{"id": 1, "a": a}]), [1, -1] * 4))
    assert [reply.status_code for reply in replies] == [200, 422] * 4
    assert replies[1].json()["error"]["messages"] == ["a must not be negative"]


def test_the_only_service_of_an_application_answers_in_other_apis(server: Server) -> None:
    assert server.predict("mixing", [{"a": 2.5}]).json()["predictions"][0]["a"] == 2.5
    assert server.predict("mixing", [{"a": "x"}]).status_code == 400


def test_services_that_a_manifest_describes_anew_are_refused(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(MIXING)
    path = manifest(tmp_path, "mixing", tmp_path / "service.py", serving={"dialects": {"porter": {"apiVersion": "v2"}}})
    ended = run(tmp_path, "serve", path, "--port", "0", "--grpc-port", "0", "--management-port", "0")
    assert ended.returncode == 10
    assert "spec.serving.dialects.porter.apiVersion: the services of model 'mixing' are written in its code" in ended.stderr


@pytest.mark.parametrize("body", [b" " * 200_000, gzip.compress(b" " * 10_000_000)])
def test_a_body_beyond_the_limit_is_refused(server: Server, body: bytes) -> None:
    """The second is a small one that unpacks to a large one."""
    headers = {"content-encoding": "gzip"} if len(body) < 100_000 else {}
    reply = httpx.post(f"{server.rest}/mixing/v1/prediction", content=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["name"]) == (413, "RequestEntityTooLarge")
    assert "serving.limits.maxRequestBytes" in reply.json()["error"]["messages"][0]
    assert reply.json()["model_context"]["model_name"] == "mixing"


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_fails_the_server(server: Server, mode: GenerationMode) -> None:
    """Whatever a client makes of the document."""
    api = schemathesis.openapi.from_url(f"{server.rest}/openapi.json")

    @given(case=api["/flowers/iris/v1/prediction"]["POST"].as_strategy(generation_mode=mode))
    @settings(
        max_examples=40, derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    def tried(case: Any) -> None:
        case.call_and_validate(timeout=20, excluded_checks=UNSAID)

    tried()


def test_the_walk_of_the_docs_page_works(tmp_path: Path) -> None:
    """Its manifest is served, and each of its commands answers what the page says."""
    page = PAGE.read_text(encoding="utf-8")
    (document,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (walk,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "modeldeployment.yaml"
    file.write_text(document.replace("examples/", f"{EXAMPLES}/"), encoding="utf-8")
    steps = re.findall(r"^\$ (curl .*?[^\\])\n(.*?)(?=^\$ |\Z)", walk, re.DOTALL | re.MULTILINE)
    assert len(steps) == 5
    with serving(tmp_path, file) as started:
        for command, answer in steps:
            done = subprocess.run(
                command.replace("http://127.0.0.1:8080", started.rest), shell=True, capture_output=True, text=True, timeout=30, check=True
            )
            expected = ".*".join(map(re.escape, answer.strip().split("…")))
            assert re.fullmatch(expected, done.stdout.strip()), done.stdout


def test_the_code_of_the_docs_page_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    made: dict[str, Any] = {"__name__": "app"}
    exec(code, made)
    client = made["app"].app.test_client()
    assert client.post("/doubling/v1/prediction", json=[{"id": 1, "x": 4}]).get_json()["predictions"] == [{"id": 1, "prediction": 8}]
    refused = client.post("/doubling/v1/prediction", json=[{"id": 1, "x": 400}]).get_json()
    assert refused["error"]["messages"] == ["x must not be above 100"]
