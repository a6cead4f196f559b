"""One ModelDeployment that speaks every API, on a real Kubernetes: each is called through its Service, in its own language."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.cluster.installed import Release, Store, await_ready, enter_storage, merged
from tests.cluster.operating import Models
from tests.cluster.s3 import S3

CLASSIFY, TRITON = (Path(__file__).with_name(name) for name in ("classify_ask.py", "triton_ask.py"))
NAMESPACE = "every-dialect"
NAMES = ("setosa", "versicolor", "virginica")
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ROWS = [[5.0, 3.5, 1.5, 0.25], [6.0, 3.0, 5.0, 1.75], [5.75, 2.75, 4.25, 1.25]]  # exact in 32 bits, as Classify carries them
DIALECTS: dict[str, dict[str, Any]] = {
    "v1": {},
    "v2": {},
    "porter": {"namespace": "flowers"},
    "datarobot": {"deploymentId": "5f22ba7ade0f435ba7217bcf"},
    "certifai": {"route": "scan/predict"},
    "mlup": {},
    "seldon": {},
}
PATHS = {
    "v1": "/v1/models/iris:predict",
    "v2": "/v2/models/iris/infer",
    "porter": "/flowers/iris/v1/prediction",
    "datarobot": "/predApi/v1.0/deployments/5f22ba7ade0f435ba7217bcf/predictions",
    "certifai": "/scan/predict",
    "mlup": "/predict",
    "seldon": "/predict",
}


class Everything:
    """The ModelDeployment, and the model that it serves, in this process."""

    def __init__(self, models: Models, model: Any) -> None:
        self.models = models
        self.host = models.cluster.service("iris", models.namespace)
        self.labels: list[int] = model.predict(ROWS).tolist()
        self.scores: Any = model.predict_proba(ROWS)

    def post(self, dialect: str, document: Any) -> Any:
        reply = httpx.post(f"http://{self.host}:8080{PATHS[dialect]}", json=document, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def program(self, *command: str | Path) -> Any:
        return json.loads(self.models.cluster.run(sys.executable, *command, stdin=json.dumps(ROWS)))

    def same(self, scores: Any) -> None:
        np.testing.assert_allclose(scores, self.scores, rtol=1e-12, atol=0)


@pytest.fixture(scope="module")
def served(release: Release, store: Store, s3: S3) -> Iterator[Everything]:
    release.cluster.make_namespace(NAMESPACE)
    enter_storage(release.cluster, NAMESPACE, s3)
    models = Models(release.cluster, NAMESPACE)
    stored, model = store.iris("every-dialect.joblib")
    inputs = [{"name": name, "type": "number"} for name in FEATURES]
    spec = stored.spec(inputs=inputs, outputs={"target": "species", "classes": list(NAMES)})
    models.apply("iris", merged(spec, {"serving": {"dialects": DIALECTS}}))
    await_ready(models, ["iris"])
    yield Everything(models, model)
    release.cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_status_lists_the_url_of_each(served: Everything) -> None:
    host = f"iris.{NAMESPACE}.svc"
    found = {one["dialect"]: one["url"] for one in served.models.status("iris")["endpoints"]}
    rest = {name: f"http://{host}:8080{path}" for name, path in PATHS.items()}
    assert found == rest | dict.fromkeys(("v2-grpc", "seldon-grpc"), f"grpc://{host}:9000")


def test_v1_answers(served: Everything) -> None:
    assert served.post("v1", {"instances": ROWS})["predictions"] == served.labels


def test_v2_answers_over_rest_and_grpc(served: Everything) -> None:
    answers = served.program(TRITON, served.host, "iris")
    assert set(answers) == {"http", "grpc"}
    for answer in answers.values():
        assert answer["predict"] == served.labels
        served.same(answer["predict_proba"])


def test_porter_answers(served: Everything) -> None:
    rows = [{"id": 10 + i} | dict(zip(FEATURES, row, strict=True)) for i, row in enumerate(ROWS)]
    answer = served.post("porter", rows)
    assert answer["predictions"] == [{"id": 10 + i, "prediction": label} for i, label in enumerate(served.labels)]
    assert answer["model_context"] == {"model_name": "iris", "api_version": "v1", "model_meta": {}}


def test_datarobot_answers(served: Everything) -> None:
    rows = served.post("datarobot", [dict(zip(FEATURES, row, strict=True)) for row in ROWS])["data"]
    assert [row["prediction"] for row in rows] == [NAMES[label] for label in served.labels]
    served.same([[one["value"] for one in row["predictionValues"]] for row in rows])


def test_certifai_answers(served: Everything) -> None:
    payload = served.post("certifai", {"payload": {"instances": ROWS}})["payload"]
    assert payload["predictions"] == [NAMES[label] for label in served.labels]
    assert payload["labels"] == list(NAMES)
    served.same(payload["scores"])


def test_mlup_answers_json_and_seldon_what_is_none_on_the_path_that_they_share(served: Everything) -> None:
    assert served.post("mlup", {"X": ROWS}) == {"predict_result": served.labels}
    url = f"http://{served.host}:8080{PATHS['seldon']}"
    asked = [{"client": "test", "json": json.dumps({"data": row})} for row in ROWS]
    for answers in ([httpx.get(url, params=each) for each in asked], [httpx.post(url, data=each) for each in asked]):
        found = [answer.json()["predictions"] for answer in answers]
        assert [[one["classId"] for one in row] for row in found] == [list(NAMES)] * len(ROWS)
        served.same([[one["score"] for one in row] for row in found])


def test_classify_answers_over_grpc(served: Everything) -> None:
    found = served.program(CLASSIFY, served.host)
    assert [[name for _, name in row] for row in found] == [list(NAMES)] * len(ROWS)
    served.same([[score for score, _ in row] for row in found])
