"""The operator against a real API server and real controllers. There is no node: the tests say what the kubelet would."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.operating import Models, Object, Operator, eventually, faulty, install_crd, operator

SPEC: Object = {"model": {"uri": "s3://models/iris.joblib"}, "scale": {"replicas": 2}}
Start = Callable[..., Operator]
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def plane(control_plane: Cluster) -> Cluster:
    install_crd(control_plane)
    return control_plane


@pytest.fixture
def models(plane: Cluster, request: pytest.FixtureRequest) -> Iterator[Models]:
    """A namespace of the test's own."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    name = f"{words[:40].strip('-')}-{next(NUMBERS)}"
    plane.kubectl("create", "namespace", name)
    yield Models(plane, name)
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def start(models: Models, tmp_path: Path) -> Iterator[Start]:
    """Starts an operator, for this namespace only, that ends with the test."""
    with ExitStack() as until_the_end:

        def begin(command: tuple[str, ...] | None = None, **settings: str) -> Operator:
            more = {"command": command} if command else {}
            return until_the_end.enter_context(
                operator(models.cluster, models.namespace, tmp_path / "operator.log", settings=settings, **more)  # type: ignore[arg-type]
            )

        yield begin


def test_a_model_is_rolled_out_and_status_tells_how_far(models: Models, start: Start) -> None:
    running = start()
    models.apply("iris", SPEC)
    models.await_reason("iris", "WaitingForPods")
    models.await_pods("iris", 2)
    assert models.condition("iris", "Available") == ("False", "WaitingForPods")
    status = models.make_ready("iris")
    assert status["replicas"] == status["readyReplicas"] == 2
    assert status["model"]["state"] == "Loaded"
    models.cluster.kubectl("wait", "--for=condition=Ready", "md/iris", "-n", models.namespace, "--timeout=5s")
    assert [event["type"] for event in eventually(lambda: models.events("RolledOut"))] == ["Normal"]
    assert running.get("/livez") == "ok\n"
    assert running.metric("dragoman_operator_reconciles_total") > 0


def test_kubectl_scale_scales(models: Models, start: Start) -> None:
    start()
    models.apply("iris", SPEC)
    models.await_pods("iris", 2)
    models.cluster.kubectl("scale", "md/iris", "--replicas=3", "-n", models.namespace)
    models.await_pods("iris", 3)
    models.cluster.kubectl("scale", "md/iris", "--replicas=0", "-n", models.namespace)
    models.await_reason("iris", "ScaledToZero")
    scale = json.loads(
        models.cluster.kubectl("get", "--raw", f"/apis/dragoman.dev/v1alpha1/namespaces/{models.namespace}/modeldeployments/iris/scale")
    )
    assert scale["status"] == {"replicas": 0, "selector": "dragoman.dev/modeldeployment=iris"}


FOREIGN: dict[str, Object] = {
    "service": {"apiVersion": "v1", "kind": "Service", "spec": {"type": "ExternalName", "externalName": "example.com"}},
    "deployment": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "c", "image": "theirs"}]}},
        },
    },
    "poddisruptionbudget": {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": 1}},
    "networkpolicy": {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_somebody_elses_object_of_the_same_name_is_left_untouched(kind: str, models: Models, start: Start) -> None:
    theirs = FOREIGN[kind] | {"metadata": {"name": "iris", "namespace": models.namespace}}
    models.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(theirs))
    before = models.get(kind, "iris")
    start()
    models.apply("iris", SPEC)
    models.await_reason("iris", "NameTaken")
    assert models.condition("iris", "Stalled") == ("True", "NameTaken")
    after = models.get(kind, "iris")
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert "ownerReferences" not in after["metadata"]
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    models.delete(kind, "iris")
    models.await_reason("iris", "WaitingForPods", 40)


def test_a_config_map_of_a_revisions_name_is_left_untouched(models: Models, start: Start) -> None:
    with_first = start()
    models.apply("iris", SPEC)
    revision = models.await_reason("iris", "WaitingForPods")["revision"]
    with_first.kill()
    models.delete("md", "iris")
    eventually(lambda: models.get("configmap", f"iris-{revision}") is None, 30)
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"iris-{revision}", "namespace": models.namespace}}
    models.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(theirs | {"data": {"theirs": "1"}}))
    start()
    models.apply("iris", SPEC)
    models.await_reason("iris", "NameTaken", 30)
    assert (models.get("configmap", f"iris-{revision}") or {})["data"] == {"theirs": "1"}
    assert models.get("deployment", "iris") is None, "nothing that needs it is made"


def test_drift_is_put_right_without_restarting_pods(models: Models, start: Start) -> None:
    start()
    models.apply("iris", SPEC)
    revision = models.make_ready("iris")["revision"]
    pods = {pod["metadata"]["uid"] for pod in models.pods("iris")}
    for kind, name in (
        ("deployment", "iris"),
        ("service", "iris"),
        ("networkpolicy", "iris"),
        ("poddisruptionbudget", "iris"),
        ("configmap", f"iris-{revision}"),
        ("controllerrevision", f"iris-{revision}"),
    ):
        uid = models.uid(kind, name)
        models.cluster.kubectl("delete", kind, name, "-n", models.namespace, "--cascade=orphan", "--wait=false")
        eventually(partial(models.is_replaced, kind, name, uid), 10, what=f"{kind} made anew")
    models.patch("service", "iris", {"spec": {"selector": {"app": "evil"}}})
    models.patch("deployment", "iris", {"spec": {"replicas": 7, "minReadySeconds": 3}})
    eventually(lambda: (models.get("service", "iris") or {})["spec"]["selector"] == {"dragoman.dev/modeldeployment": "iris"}, 10)
    eventually(lambda: (models.get("deployment", "iris") or {})["spec"]["replicas"] == 2, 10)
    assert (models.get("deployment", "iris") or {})["spec"]["minReadySeconds"] == 3, "what is not ours is left alone"
    models.make_ready("iris")
    assert pods <= {pod["metadata"]["uid"] for pod in models.pods("iris")}
    told = eventually(lambda: [e["message"] for e in models.events("Corrected") if "spec.replicas" in e["message"]])
    assert "HorizontalPodAutoscaler must aim at the ModelDeployment" in told[0]


def test_what_others_add_survives(models: Models, start: Start) -> None:
    start()
    models.apply("iris", SPEC)
    models.make_ready("iris")
    models.cluster.kubectl("annotate", "deployment/iris", "theirs=1", "-n", models.namespace)
    models.cluster.kubectl("label", "service/iris", "theirs=1", "-n", models.namespace)
    models.cluster.kubectl("scale", "md/iris", "--replicas=3", "-n", models.namespace)
    models.await_pods("iris", 3)
    assert (models.get("deployment", "iris") or {})["metadata"]["annotations"]["theirs"] == "1"
    assert (models.get("service", "iris") or {})["metadata"]["labels"]["theirs"] == "1"


def test_a_restart_over_a_settled_cluster_writes_nothing(models: Models, start: Start) -> None:
    first = start()
    for number in range(10):
        models.apply(f"iris-{number}", SPEC)
    for number in range(10):
        models.make_ready(f"iris-{number}", 60)
    eventually(lambda: first.metric("dragoman_operator_queue_length") == 0)
    assert first.stop() == 0
    before = models.versions()
    second = start()
    eventually(lambda: second.metric("dragoman_operator_reconciles_total") >= 10)
    eventually(lambda: second.metric("dragoman_operator_queue_length") == 0)
    assert second.writes == 0
    assert models.versions() == before


def test_changes_made_while_the_operator_was_down_are_picked_up(models: Models, start: Start) -> None:
    first = start()
    models.apply("iris", SPEC)
    models.apply("tulip", SPEC)
    models.make_ready("iris")
    models.await_pods("tulip", 2)
    first.kill()
    models.apply("iris", SPEC | {"scale": {"replicas": 1}})
    models.apply("rose", SPEC)
    models.delete("md", "tulip")
    eventually(lambda: models.get("md", "tulip") is None, what="deleting needs no operator")
    eventually(lambda: models.get("deployment", "tulip") is None, 30)
    start(LEASE_SECONDS="5")
    models.await_pods("rose", 2, 30)
    models.await_pods("iris", 1, 30)


def test_a_namesake_made_right_after_a_deletion_takes_over(models: Models, start: Start) -> None:
    start()
    models.apply("iris", SPEC)
    models.make_ready("iris")
    models.delete("md", "iris")
    models.apply("iris", SPEC | {"scale": {"replicas": 1}})
    models.make_ready("iris", 60)
    owner = (models.get("deployment", "iris") or {})["metadata"]["ownerReferences"][0]["uid"]
    assert owner == (models.get("md", "iris") or {})["metadata"]["uid"]


def test_of_two_operators_one_acts_and_the_other_takes_over(models: Models, start: Start) -> None:
    first = start()
    eventually(lambda: first.leads)
    second = start()
    models.apply("iris", SPEC)
    models.await_pods("iris", 2)
    assert second.writes == 0
    eventually(lambda: second.get("/readyz") == "ok\n")
    first.kill()
    models.apply("tulip", SPEC)
    models.await_pods("tulip", 2, 22)
    assert second.leads


def test_a_lease_that_is_taken_away_ends_the_operator(models: Models, start: Start) -> None:
    running = start()
    eventually(lambda: running.leads)
    models.patch("lease", "dragoman-operator", {"spec": {"holderIdentity": "another", "renewTime": "2100-01-01T00:00:00.000000Z"}})
    eventually(lambda: not running.running, 15)
    assert running.process.returncode == 1


def test_an_operator_that_stops_hands_over_at_once(models: Models, start: Start) -> None:
    first = start()
    eventually(lambda: first.leads)
    second = start()
    eventually(lambda: second.get("/livez") == "ok\n")
    assert first.stop() == 0
    eventually(lambda: second.leads, 8)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 8))
def test_killed_at_any_write_it_converges(at: int, after: bool, models: Models, start: Start) -> None:
    killed = start(command=faulty(at, after), LEASE_SECONDS="3")
    models.apply("iris", SPEC)
    eventually(lambda: not killed.running, 20, what="the operator is killed")
    start(LEASE_SECONDS="3")
    models.make_ready("iris", 30)
    kinds = sorted(kind for kind, name in models.versions() if name.startswith("iris"))
    assert kinds == [
        "ConfigMap",
        "ControllerRevision",
        "Deployment",
        "ModelDeployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    ]


def test_an_upgrade_of_the_operator_restarts_no_pod_until_it_is_asked_to(models: Models, start: Start) -> None:
    first = start()
    for name in ("iris", "tulip"):
        models.apply(name, SPEC)
        models.make_ready(name)
    first.stop()
    pods = {pod["metadata"]["uid"] for name in ("iris", "tulip") for pod in models.pods(name)}
    second = start(RUNTIME_IMAGE="registry.example/dragoman:2.0.0", CODE_FORMATS="Deny")
    eventually(lambda: second.metric("dragoman_operator_reconciles_total") >= 2)
    assert second.writes == 0
    assert pods == {pod["metadata"]["uid"] for name in ("iris", "tulip") for pod in models.pods(name)}

    models.cluster.kubectl("annotate", "md/iris", "dragoman.dev/refresh=now", "-n", models.namespace)
    eventually(lambda: _image(models, "iris").endswith(":2.0.0"))
    models.make_ready("iris", 60)
    assert _image(models, "tulip").endswith(":1.0.0")

    second.stop()
    third = start(RUNTIME_IMAGE="registry.example/dragoman:3.0.0", UPGRADE_POLICY="Immediate", UPGRADE_CONCURRENCY="1")
    eventually(lambda: third.leads)
    eventually(lambda: {_image(models, name)[-5:] for name in ("iris", "tulip")} & {"3.0.0"})
    moved = [name for name in ("iris", "tulip") if _image(models, name).endswith(":3.0.0")]
    assert len(moved) == 1, "one at a time"
    models.make_ready(moved[0], 60)
    other = "tulip" if moved == ["iris"] else "iris"
    eventually(lambda: _image(models, other).endswith(":3.0.0"), 30)


def test_going_back_takes_the_pods_as_they_were(models: Models, start: Start) -> None:
    first = start()
    models.apply("iris", SPEC)
    revision = models.make_ready("iris")["revision"]
    first.stop()
    start(RUNTIME_IMAGE="registry.example/dragoman:2.0.0")
    models.apply("iris", SPEC | {"model": {"uri": "s3://models/iris-2.joblib"}})
    models.make_ready("iris", 60)
    assert _image(models, "iris").endswith(":2.0.0")
    models.apply("iris", SPEC)
    assert models.make_ready("iris", 60)["revision"] == revision
    assert _image(models, "iris").endswith(":1.0.0")


def test_a_replaced_template_is_not_applied(models: Models, start: Start) -> None:
    first = start()
    models.apply("iris", SPEC)
    revision = models.make_ready("iris")["revision"]
    first.kill()
    stored = models.get("controllerrevision", f"iris-{revision}") or {}
    models.delete("controllerrevision", f"iris-{revision}")
    stored["data"]["template"]["spec"]["containers"][0]["image"] = "evil:1"
    for name in ("resourceVersion", "uid", "creationTimestamp"):
        stored["metadata"].pop(name)
    models.cluster.kubectl("create", "-f", "-", stdin=json.dumps(stored))
    start(LEASE_SECONDS="5")
    eventually(lambda: "evil" not in json.dumps((models.get("controllerrevision", f"iris-{revision}") or {"data": "evil"})["data"]), 30)
    assert _image(models, "iris") == "registry.example/dragoman:1.0.0"


def test_what_the_schema_cannot_catch_is_invalid_and_recovers(models: Models, start: Start) -> None:
    start()
    models.apply("iris", SPEC | {"pod": {"image": "own:1"}})
    assert "spec.pod.image" in models.await_reason("iris", "InvalidSpec")["conditions"][1]["message"]
    models.apply("iris", SPEC | {"pod": {"affinity": {"nodeAffinity": "near"}}})
    eventually(lambda: "affinity" in str(models.status("iris")["conditions"][1]["message"]).lower())
    assert models.condition("iris", "Stalled") == ("True", "InvalidSpec")
    models.apply("iris", SPEC)
    models.make_ready("iris")


def test_a_failing_new_version_leaves_the_old_one_serving(models: Models, start: Start) -> None:
    start()
    models.apply("iris", SPEC)
    models.make_ready("iris")
    models.apply("iris", SPEC | {"model": {"uri": "s3://models/broken.joblib"}})
    (new,) = [pod for pod in models.await_pods("iris", 3) if not pod["status"].get("podIP") and pod["status"]["phase"] == "Pending"]
    words = json.dumps({"reason": "ModelNotFound", "message": "s3://models/broken.joblib: no such object"})
    crashed = {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 11, "message": words}},
        "restartCount": 2,
        "name": "model",
        "ready": False,
        "image": "",
        "imageID": "",
    }
    models.patch("pod", new["metadata"]["name"], {"status": {"containerStatuses": [crashed]}}, "--subresource=status")
    status = models.await_reason("iris", "ModelNotFound")
    assert models.condition("iris", "Available") == ("True", "Serving")
    assert models.condition("iris", "Stalled") == ("True", "ModelNotFound")
    assert status["model"]["failure"]["exitCode"] == 11
    assert [event["type"] for event in eventually(lambda: models.events("ModelNotFound"))] == ["Warning"]
    models.apply("iris", SPEC)
    models.await_reason("iris", "RolledOut", 30)


def _image(models: Models, name: str) -> str:
    return str((models.get("deployment", name) or {})["spec"]["template"]["spec"]["containers"][0]["image"])
