"""Status tells the truth: from what pods, Deployment and runtime say, to conditions that tools rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.test_operator_build import DIGEST, MINIMAL, SETTINGS, deployment_of

from dragoman_operator.errors import PASSING, Reason, Violation
from dragoman_operator.objects import Object
from dragoman_operator.report import Report, parse
from dragoman_operator.revision import choose
from dragoman_operator.status import Seen, merge_patch, refusal, status

MD = deployment_of(MINIMAL | {"scale": {"replicas": 2}})
REVISION = choose(MD, (), None, SETTINGS)
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def deployment(*, updated: int = 2, available: int = 2, replicas: int = 2, observed: int = 1, conditions: Any = ()) -> Object:
    told = {"replicas": replicas, "updatedReplicas": updated, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": {"generation": 1}, "status": {"observedGeneration": observed, "conditions": list(conditions), **told}}


def pod(name: str, container: Object | None = None, *, ready: bool = False, revision: str = "", **told: Any) -> Object:
    status_ = {"conditions": [{"type": "Ready", "status": str(ready)}], **told}
    if container is not None:
        status_["containerStatuses"] = [{"name": "model", **container}]
    return {"metadata": {"name": name, "labels": {"dragoman.dev/revision": revision or REVISION.name}}, "status": status_}


RUNNING = {"state": {"running": {}}, "containerID": "c"}


def ended(code: int, message: str = "", reason: str = "Error") -> Object:
    terminated = {"exitCode": code, "message": message, "reason": reason, "finishedAt": NOW}
    return {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": terminated}, "restartCount": 3}


def report(**model: Any) -> Report:
    found = parse(json.dumps({"phase": model.get("state", "Pending"), "ready": False, "models": [model], "workers": []}).encode())
    assert found is not None
    return found


def told(*pods: Object, live: Object | None = None, reports: Any = None, previous: Any = None, now: str = NOW, **seen: Any) -> Object:
    whole = Seen(revision=REVISION, deployment=live or deployment(available=0), pods=pods, reports=reports or {}, **seen)
    return status(MD, whole, previous or {}, now)


def condition(found: Object, kind: str) -> tuple[str, str]:
    one = next(c for c in found["conditions"] if c["type"] == kind)
    return one["status"], one["reason"]


def test_a_model_that_was_unloaded_in_a_running_pod_is_said() -> None:
    found = told(pod("a", RUNNING), reports={"a": report(state="Unloaded")})
    assert condition(found, "Ready") == ("False", "Unloaded")
    assert condition(found, "Stalled")[0] == "False"
    assert (found["model"]["state"], found["model"]["failure"]["reason"]) == ("Unloaded", "Unloaded")


def test_all_is_well() -> None:
    found = told(pod("a", RUNNING, ready=True), pod("b", RUNNING, ready=True), live=deployment())
    assert {c["type"]: c["status"] for c in found["conditions"]} == {
        "Available": "True",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "ModelLoaded": "True",
    }
    assert found["observedGeneration"] == 3
    assert found["model"]["state"] == "Loaded"
    assert found["selector"] == "dragoman.dev/modeldeployment=iris"
    assert found["url"] == "http://iris.science.svc:8080"
    assert {"dialect": "v1", "url": "http://iris.science.svc:8080/v1/models/iris:predict"} in found["endpoints"]


def test_each_dialects_url_is_told() -> None:
    dialects = {
        "v1": {},
        "v2": None,
        "porter": {"namespace": "/flowers/", "apiVersion": "v3"},
        "datarobot": {"deploymentId": "5f22"},
        "certifai": {"route": "/scan/predict"},
        "mlup": {},
        "seldon": {},
    }
    every = deployment_of(MINIMAL | {"serving": {"dialects": dialects}})
    found = {one["dialect"]: one["url"] for one in status(every, Seen(), {}, NOW)["endpoints"]}
    assert found == dict.fromkeys(("v2-grpc", "seldon-grpc"), "grpc://iris.science.svc:9000") | {
        name: f"http://iris.science.svc:8080{path}"
        for name, path in {
            "v1": "/v1/models/iris:predict",
            "v2": "/v2/models/iris/infer",
            "porter": "/flowers/iris/v3/prediction",
            "datarobot": "/predApi/v1.0/deployments/5f22/predictions",
            "certifai": "/scan/predict",
            "mlup": "/predict",
            "seldon": "/predict",
        }.items()
    }


@pytest.mark.parametrize(
    "live",
    [
        deployment(observed=0),
        deployment(updated=1),
        deployment(replicas=3),
        deployment(available=1),
    ],
    ids=["not seen yet", "half updated", "old pods left", "one not available"],
)
def test_an_unfinished_rollout_is_not_ready(live: Object) -> None:
    found = told(pod("a", RUNNING, ready=True), pod("b", RUNNING), live=live)
    assert condition(found, "Ready")[0] == "False"
    assert condition(found, "Reconciling")[0] == "True"
    assert condition(found, "Available")[0] == "True"


def test_the_way_of_a_model_is_told() -> None:
    fetching = told(pod("a", RUNNING), reports={"a": report(state="Fetching", bytes=30, totalBytes=100)})
    assert (fetching["model"]["state"], fetching["model"]["bytes"], fetching["model"]["totalBytes"]) == ("Fetching", 30, 100)
    assert condition(fetching, "Ready") == ("False", "Fetching")
    loading = told(pod("a", RUNNING), reports={"a": report(state="Loading", digest=DIGEST)})
    assert condition(loading, "ModelLoaded") == ("False", "Loading")
    loaded = told(pod("a", RUNNING, ready=True), pod("b"), reports={"a": report(state="Loaded", digest=DIGEST, format="sklearn")})
    assert loaded["model"] == {"state": "Loaded", "digest": DIGEST, "format": "sklearn", "bytes": 0}
    assert condition(loaded, "Ready") == ("False", "RollingOut")
    assert condition(loaded, "ModelLoaded") == ("True", "Loaded")


def test_of_several_pods_the_furthest_is_shown() -> None:
    reports = {"a": report(state="Fetching"), "b": report(state="Loading")}
    assert told(pod("a", RUNNING), pod("b", RUNNING), pod("c"), reports=reports)["model"]["state"] == "Loading"


def test_bytes_are_written_in_steps_of_a_tenth() -> None:
    def after(count: int, previous: Object) -> int:
        found = told(pod("a", RUNNING), reports={"a": report(state="Fetching", bytes=count, totalBytes=1000)}, previous=previous)
        return int(found["model"]["bytes"])

    before = told(pod("a", RUNNING), reports={"a": report(state="Fetching", bytes=310, totalBytes=1000)})
    assert [after(count, before) for count in (310, 399, 400, 1000)] == [310, 310, 400, 1000]


WORDS = json.dumps({"reason": "DigestMismatch", "message": "the model has digest sha256:00…, not the one that is pinned"})

NO_TOKENS = "iris: spec.serving.auth.tokens: /run/dragoman/tokens: the folder holds no token: a key of the Secret needs one a line"

FAILURES: list[tuple[str, Object, Report | None, Reason, str]] = [
    ("the runtime's last words", pod("a", ended(13, WORDS)), None, Reason.DIGEST_MISMATCH, "the model has digest"),
    ("an exit code alone", pod("a", ended(12, "some log line")), None, Reason.ACCESS_DENIED, "exit code 12"),
    ("an unknown end", pod("a", ended(3)), None, Reason.CONTAINER_CRASHED, "kubectl logs a --previous"),
    ("killed for memory", pod("a", ended(137, reason="OOMKilled")), None, Reason.OUT_OF_MEMORY, "limits.memory"),
    ("killed by a signal", pod("a", ended(139)), None, Reason.CONTAINER_CRASHED, "signal 11"),
    (
        "a failure while it runs on",
        pod("a", RUNNING),
        report(state="Failed", failure={"reason": "ModelNotFound", "message": "s3://models/iris.joblib: no such object"}),
        Reason.MODEL_NOT_FOUND,
        "no such object",
    ),
    (
        "a reason of a newer runtime",
        pod("a", ended(99, json.dumps({"reason": "Novel", "message": "new in 2.0"}))),
        None,
        Reason.MODEL_LOAD_FAILED,
        "new in 2.0",
    ),
    (
        "an image that cannot be pulled",
        pod("a", {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}),
        None,
        Reason.IMAGE_PULL_FAILED,
        "Back-off pulling image; check the image's name",
    ),
    (
        "a missing Secret",
        pod("a", {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s3-read" not found'}}}),
        None,
        Reason.SECRET_NOT_FOUND,
        "the Secret 's3-read' does not exist",
    ),
    (
        "a missing Secret of tokens",
        pod("a", ended(10, json.dumps({"reason": "InvalidSpec", "message": NO_TOKENS}))),
        None,
        Reason.SECRET_NOT_FOUND,
        "the Secret that spec.serving.auth.tokens names does not exist in this namespace, or holds no token",
    ),
    (
        "no node that takes it",
        pod("a", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: cpu"}]),
        None,
        Reason.UNSCHEDULABLE,
        "0/1 nodes: cpu",
    ),
    (
        "an eviction",
        pod("a", phase="Failed", reason="Evicted", message="node was low on memory"),
        None,
        Reason.EVICTED,
        "low on memory",
    ),
]


@pytest.mark.parametrize(("failing", "said", "reason", "words"), [pytest.param(*one[1:], id=one[0]) for one in FAILURES])
def test_a_failure_is_read_from_what_says_it(failing: Object, said: Report | None, reason: Reason, words: str) -> None:
    found = told(failing, reports={"a": said} if said else {})
    assert condition(found, "Ready") == ("False", reason)
    assert condition(found, "Stalled")[0] == str(reason not in PASSING)
    assert condition(found, "Reconciling")[0] == str(reason in PASSING)
    assert found["model"]["state"] == "Failed"
    assert words in found["model"]["failure"]["message"]
    assert found["model"]["failure"]["pod"] == "a"


def test_a_crash_stays_told_while_the_container_is_tried_again() -> None:
    """A restarted container is fetching again; that it failed before, and why, must not flicker."""
    again = {**ended(17, json.dumps({"reason": "ModelLoadFailed", "message": "boom"})), **RUNNING}
    found = told(pod("a", again), reports={"a": report(state="Fetching")})
    assert condition(found, "Stalled") == ("True", "ModelLoadFailed")


def test_a_pod_that_recovered_has_no_failure() -> None:
    found = told(pod("a", {**ended(20), **RUNNING}, ready=True), pod("b", RUNNING, ready=True), live=deployment())
    assert condition(found, "Ready")[0] == "True"
    assert "failure" not in found["model"]


def test_a_broken_new_version_leaves_the_old_one_available() -> None:
    old = [pod(name, RUNNING, ready=True, revision="former") for name in ("x", "y")]
    found = told(*old, pod("new", ended(17, WORDS)), live=deployment(replicas=3, updated=1, available=2))
    assert condition(found, "Available") == ("True", "Serving")
    assert condition(found, "Ready") == ("False", "DigestMismatch")
    assert condition(found, "Stalled")[0] == "True"
    assert condition(found, "ModelLoaded")[0] == "False"


def test_one_bad_replica_of_many_is_not_stalled() -> None:
    found = told(pod("a", RUNNING, ready=True), pod("b", ended(17, WORDS)), live=deployment(available=1))
    assert condition(found, "Stalled")[0] == "False"
    assert condition(found, "Ready") == ("False", "DigestMismatch")


def test_replicas_that_loaded_different_bytes_are_told() -> None:
    other = "sha256:" + "00" * 32
    reports = {"a": report(state="Loaded", digest=DIGEST), "b": report(state="Loaded", digest=other)}
    found = told(pod("a", RUNNING, ready=True), pod("b", RUNNING, ready=True), live=deployment(), reports=reports)
    assert condition(found, "Ready") == ("False", "DigestDrift")
    assert condition(found, "Available")[0] == "True"


def test_pods_that_are_refused_are_told() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    found = told(live=deployment(updated=0, available=0, replicas=0, conditions=[refused]))
    assert condition(found, "Ready") == ("False", "PodsRefused")
    assert "exceeded quota" in found["conditions"][1]["message"]


def test_nothing_is_asked_for() -> None:
    none = deployment_of(MINIMAL | {"scale": {"replicas": 0}})
    found = status(none, Seen(revision=REVISION, deployment=deployment(updated=0, available=0, replicas=0)), {}, NOW)
    assert condition(found, "Ready") == ("True", "ScaledToZero")
    assert condition(found, "Available") == ("False", "ScaledToZero")
    assert condition(found, "ModelLoaded") == ("False", "ScaledToZero")


def test_pods_that_are_leaving_say_nothing() -> None:
    leaving = pod("a", ended(17, WORDS))
    leaving["metadata"]["deletionTimestamp"] = NOW
    assert condition(told(leaving), "Ready") == ("False", "WaitingForPods")


def test_a_spec_that_cannot_be_acted_on_keeps_the_old_revision_and_says_why() -> None:
    before = told(pod("a", RUNNING, ready=True), pod("b", RUNNING, ready=True), live=deployment())
    seen = Seen(deployment=deployment(), violation=Violation(Reason.INVALID_SPEC, "no such field", "spec.pod.image"))
    found = status(MD, seen, before, LATER)
    assert condition(found, "Stalled") == ("True", "InvalidSpec")
    assert condition(found, "Available")[0] == "True"
    assert found["revision"] == before["revision"]
    assert found["conditions"][1]["message"] == "spec.pod.image: no such field"


def test_a_manifest_that_cannot_be_read_is_stalled() -> None:
    obj = {"metadata": {"generation": 7}, "status": told(pod("a", RUNNING, ready=True), live=deployment())}
    found = refusal(obj, Violation(Reason.INVALID_SPEC, "expected `int`, got `str`", "spec.scale.replicas"), LATER)
    assert found["observedGeneration"] == 7
    assert condition(found, "Stalled") == ("True", "InvalidSpec")
    assert condition(found, "Available")[0] == "True", "what serves goes on serving"


def test_however_much_the_api_server_quotes_a_condition_stays_short() -> None:
    """A message beyond the schema's bound would be refused, and with it the whole status."""
    seen = Seen(deployment=deployment(), violation=Violation(Reason.INVALID_SPEC, "data: Invalid value: " + "x\n" * 9000))
    assert max(len(c["message"]) for c in status(MD, seen, {}, NOW)["conditions"]) <= 1024


def test_times_move_only_with_the_status() -> None:
    before = told(pod("a", RUNNING))
    after = told(pod("a", ended(17, WORDS)), previous=before, now=LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times["Ready"] == NOW, "still False, though for another reason"
    assert times["Stalled"] == LATER


def test_the_same_world_makes_the_same_status() -> None:
    pods = [pod("a", ended(17, WORDS)), pod("b", RUNNING)]
    reports = {"b": report(state="Failed", failure={"reason": "ModelNotFound", "message": "gone"})}
    before = told(*pods, reports=reports)
    assert merge_patch(before, told(*pods, reports=reports, previous=before, now=LATER)) == {}


def test_a_patch_holds_what_changed_and_nothing_else() -> None:
    before = {"a": 1, "model": {"state": "Failed", "failure": {"reason": "x"}}, "conditions": [1, 2], "gone": True}
    after = {"a": 1, "model": {"state": "Loaded"}, "conditions": [1, 3]}
    assert merge_patch(before, after) == {"model": {"state": "Loaded", "failure": None}, "conditions": [1, 3], "gone": None}


def test_what_is_known_of_a_loaded_model_outlives_a_restart_of_the_operator() -> None:
    pods = [pod("a", RUNNING, ready=True), pod("b", RUNNING, ready=True)]
    said = report(state="Loaded", digest=DIGEST, format="sklearn", bytes=10, totalBytes=10)
    before = told(*pods, live=deployment(), reports={"a": said, "b": said})
    assert merge_patch(before, told(*pods, live=deployment(), previous=before)) == {}


def test_an_answer_that_is_no_report_says_nothing() -> None:
    assert parse(b"<html>") is None
    assert parse(b'{"phase": 3}') is None
