"""From `helm install` and `kubectl apply` to a prediction: a model in S3, served on a real Kubernetes to real clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.cluster.installed import Release, Store, Stored, await_ready, enter_storage, iris_rows
from tests.cluster.operating import Models, eventually
from tests.cluster.s3 import S3

TRITON = Path(__file__).with_name("triton_ask.py")
NAMESPACES = ("serving", "serving-too")
SERVICES = {"v1": "/v1/models/iris:predict", "v2": "/v2/models/iris/infer"}


@dataclass(frozen=True)
class Served:
    """`iris` in the first namespace, and another model of that name in the second."""

    models: Models
    others: Models
    stored: Stored
    model: Any  # the same, in this process

    def url(self, path: str) -> str:
        """At the Service's own address: this process asks no DNS of the cluster's."""
        return f"http://{self.host}:8080{path}"

    @property
    def host(self) -> str:
        return self.models.cluster.service("iris", self.models.namespace)


@pytest.fixture(scope="module")
def served(release: Release, store: Store, s3: S3) -> Iterator[Served]:
    cluster = release.cluster
    for namespace in NAMESPACES:
        cluster.make_namespace(namespace)
        enter_storage(cluster, namespace, s3)
    models, others = (Models(cluster, namespace) for namespace in NAMESPACES)
    stored, model = store.iris()
    models.apply("iris", stored.spec(outputs={"target": "species"}))
    others.apply("iris", store.step().spec())
    for each in (models, others):
        await_ready(each, ["iris"])
    # a pod that has become ready is asked once more, a moment later
    eventually(lambda: all(each.status("iris")["model"].get("format") for each in (models, others)), what="both formats in status")
    yield Served(models, others, stored, model)
    cluster.kubectl("delete", "namespace", *NAMESPACES, "--wait=false")


def test_v1_answers_as_the_model_does_in_process(served: Served) -> None:
    rows = iris_rows()
    answer = httpx.post(served.url("/v1/models/iris:predict"), json={"instances": rows})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == served.model.predict(rows).tolist()


def test_v2_answers_as_the_model_does_in_process_over_rest_and_grpc(served: Served) -> None:
    rows = iris_rows()
    answers = json.loads(served.models.cluster.run(sys.executable, TRITON, served.host, "iris", stdin=json.dumps(rows)))
    assert set(answers) == {"http", "grpc"}
    for answer in answers.values():
        assert answer["predict"] == served.model.predict(rows).tolist()
        np.testing.assert_allclose(answer["predict_proba"], served.model.predict_proba(rows), rtol=1e-12, atol=0)


def test_a_model_of_the_same_name_in_another_namespace_is_another_model(served: Served) -> None:
    host = served.others.cluster.service("iris", served.others.namespace)
    answer = httpx.post(f"http://{host}:8080/v1/models/iris:predict", json={"instances": [[3], [30]]})
    assert answer.json()["predictions"] == [0, 1]


def test_its_name_finds_it_from_within_a_pod(served: Served) -> None:
    """As `status.url` says."""
    url = f"{served.models.status('iris')['url']}/v1/models/iris:predict"
    ask = f"""
import urllib.request
asked = urllib.request.Request({url!r}, {json.dumps({"instances": iris_rows(75)}).encode()!r}, {{"content-type": "application/json"}})
print(urllib.request.urlopen(asked).read().decode())
"""
    printed = served.others.cluster.kubectl("exec", "-n", served.others.namespace, "deployment/iris", "--", "python", "-c", ask)
    assert json.loads(printed)["predictions"] == served.model.predict(iris_rows(75)).tolist()


def test_the_digest_is_what_the_command_prints_of_the_file_that_was_trained(served: Served) -> None:
    printed = served.models.cluster.run(Path(sys.executable).with_name("dragoman"), "digest", served.stored.file).split()[0]
    model = served.models.status("iris")["model"]
    assert model == {"state": "Loaded", "digest": printed, "format": "sklearn"} | dict.fromkeys(
        ("bytes", "totalBytes"), served.stored.file.stat().st_size
    )


def test_status_says_what_tools_rely_on(served: Served) -> None:
    found = served.models.get("md", "iris") or {}
    status = found["status"]
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Available": "True",
        "Ready": "True",
        "ModelLoaded": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    where = {one["dialect"]: one["url"] for one in status["endpoints"]}
    host = f"iris.{served.models.namespace}.svc"
    assert where == {name: f"http://{host}:8080{path}" for name, path in SERVICES.items()} | {"v2-grpc": f"grpc://{host}:9000"}


def test_kubectl_get_shows_what_one_wants_to_know(served: Served) -> None:
    status = served.models.status("iris")
    printed = served.models.cluster.kubectl("get", "md", "iris", "-n", served.models.namespace, "-o", "wide")
    heading, line = (row.split() for row in printed.strip().splitlines())
    assert heading == ["NAME", "READY", "MODEL", "REPLICAS", "REVISION", "URL", "REASON", "AGE", "DIGEST", "FORMAT"]
    age = line.pop(heading.index("AGE"))
    assert line == ["iris", "True", "Loaded", "1", status["revision"], status["url"], "RolledOut", served.stored.digest, "sklearn"]
    assert age.endswith(("s", "m"))
    assert "iris" in served.models.cluster.kubectl("get", "dragoman", "-n", served.models.namespace, "-o", "name")  # the category


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("md.spec.model", "credentials <Object>"),
        ("md.spec.model.digest", "`dragoman digest ./the-file-you-trained`"),
        ("md.spec.serving.limits.timeoutSeconds", "Default: 60."),
        ("md.status.conditions", "Ready: the current generation is loaded"),
    ],
)
def test_kubectl_explain_reads_as_documentation(served: Served, path: str, told: str) -> None:
    # the API server publishes a new kind's description a few seconds after it took the kind
    eventually(lambda: told in " ".join(served.models.cluster.kubectl("explain", path, check=False).split()), what=told)


def test_pods_and_the_operator_are_admitted_where_restricted_is_enforced(served: Served, release: Release) -> None:
    for namespace in (served.models.namespace, release.namespace):
        labels = release.cluster.get("namespace", namespace)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        pods = release.cluster.get("pods", "-n", namespace)["items"]
        assert {pod["status"]["phase"] for pod in pods} == {"Running"}


def test_the_chart_tests_itself(release: Release) -> None:
    told = release.cluster.helm("test", release.name, "--namespace", release.namespace)
    assert told.count("Phase:          Succeeded") == 3, told  # a model's file, the model, and a pod that asks it


def test_deleting_it_takes_everything_along(models: Models, store: Store) -> None:
    models.apply("gone", store.step().spec())
    await_ready(models, ["gone"])
    kinds = "deployments,services,configmaps,controllerrevisions.apps,networkpolicies,pods"

    def made() -> list[str]:
        found = models.cluster.get(kinds, "-n", models.namespace, "-l", "dragoman.dev/modeldeployment=gone")["items"]
        return sorted(one["kind"] for one in found)

    assert made() == ["ConfigMap", "ControllerRevision", "Deployment", "NetworkPolicy", "Pod", "Service"]
    models.cluster.kubectl("delete", "md/gone", "-n", models.namespace)
    eventually(lambda: made() == [], 60, what="nothing of it is left")
