"""Status tells the truth: while a model comes, when it cannot, and when it was mended; what cannot be meant is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.errors import ClusterError
from tests.cluster.installed import LITTLE, Release, Store, await_ready, enter_storage, merged
from tests.cluster.operating import Models, Object, eventually
from tests.cluster.s3 import S3
from tests.servers.behaviour import stalls
from tests.servers.hostile import hostile_http

MODELS = Path(__file__).parents[1] / "models"
GREEDY = b"""
import dragoman


class Greedy(dragoman.Model):
    inputs = {"a": "number"}

    def load(self, folder):
        self.held = b"x" * 2_000_000_000

    def predict(self, table):
        return table.to_numpy()[:, 0]
"""
SLOW = """
import urllib.request

import dragoman


class Slow(dragoman.Model):
    inputs = {{"a": "number"}}

    def load(self, folder):
        urllib.request.urlopen("{gate}").read()

    def predict(self, table):
        return table.to_numpy()[:, 0]
"""


@dataclass(frozen=True)
class Failing:
    """What is wrong, and how status says so."""

    spec: Callable[[Store], Object]
    reason: str
    words: tuple[str, ...]  # what is wrong, and what mends it
    stalled: bool = True  # only a change can help


def model(**changes: Any) -> Callable[[Store], Object]:
    """A good model, but for some fields of spec.model."""
    return lambda store: merged(store.twice().spec(), {"model": changes})


def pod(**changes: Any) -> Callable[[Store], Object]:
    return lambda store: merged(store.twice().spec(), {"pod": changes})


def corrupt(store: Store) -> Object:
    whole = store.iris("whole.joblib")[0].file.read_bytes()
    return store.put("corrupt.joblib", whole[: len(whole) // 2]).spec()


# grouped by where it fails; the first of each group is mended. So few at a time, as their processes share two cores.
STORAGE: Mapping[str, Failing] = {
    "absent": Failing(model(uri="s3://models/absent.py"), "ModelNotFound", ("s3://models/absent.py",)),
    "denied": Failing(
        model(credentials={"secretName": "s3-wrong"}),
        "AccessDenied",
        ("s3://models/twice.py", "AWS_SECRET_ACCESS_KEY", "spec.model.credentials.secretName"),
    ),
    "other-bytes": Failing(
        model(digest="sha256:" + "0" * 64),
        "DigestMismatch",
        ("sha256:" + "0" * 64, "pin the one that `dragoman digest` prints"),
    ),
}
LOADING: Mapping[str, Failing] = {
    "unpinned": Failing(
        lambda store: store.iris("unpinned.joblib")[0].spec(pinned=False),
        "PolicyViolation",
        ("unpinned.joblib", "RequireDigest", "pin it with spec.model.digest", "dragoman digest"),
    ),
    "corrupt": Failing(corrupt, "ModelLoadFailed", ("corrupt.joblib could not be loaded",)),
    "raises": Failing(
        lambda store: store.put("raises.py", (MODELS / "raises_loading.py").read_bytes()).spec(),
        "ModelLoadFailed",
        ("ValueError: the weights are for another shape",),
    ),
    "greedy": Failing(
        lambda store: merged(store.put("greedy.py", GREEDY).spec(), {"pod": {"resources": {"limits": {"memory": "400Mi"}}}}),
        "OutOfMemory",
        ("more memory than the container has", "give it more"),
    ),
}
RUNNING: Mapping[str, Failing] = {
    "no-node": Failing(pod(nodeSelector={"disk": "none"}), "Unschedulable", ("node affinity/selector",), False),
    "no-image": Failing(pod(image="localhost/nowhere:1"), "ImagePullFailed", ("localhost/nowhere:1", "spec.pod.imagePullSecrets"), False),
    "no-secret": Failing(
        model(credentials={"secretName": "absent"}),
        "SecretNotFound",
        ("'absent' does not exist", "spec.model.credentials.secretName"),
        False,
    ),
}


@pytest.mark.parametrize("group", [STORAGE, LOADING, RUNNING], ids=["storage", "loading", "running"])
def test_failures_are_told_and_mended(models: Models, store: Store, s3: S3, group: Mapping[str, Failing]) -> None:
    """Each has its own reason, within 30 s, in words that say how to mend it; and a mended spec is enough."""
    enter_storage(models.cluster, models.namespace, s3, "s3-wrong", AWS_SECRET_ACCESS_KEY="wrong")
    for name, failing in group.items():
        models.apply(name, failing.spec(store))
    for name, failing in group.items():
        status = models.await_reason(name, failing.reason, 30 * len(group))  # they start at once, on two cores
        conditions = {one["type"]: one for one in status["conditions"]}
        assert conditions["Ready"]["status"] == conditions["Available"]["status"] == conditions["ModelLoaded"]["status"] == "False", name
        assert conditions["Stalled"]["status"] == str(failing.stalled), name
        assert (status["model"]["state"], status["model"]["failure"]["reason"]) == ("Failed", failing.reason), name
        for words in failing.words:
            assert words in conditions["Ready"]["message"], name

    mended, *others = group
    for name in others:
        models.delete("md", name)
    models.apply(mended, store.twice().spec())
    await_ready(models, [mended])
    assert "failure" not in models.status(mended)["model"]


def test_a_secret_that_comes_later_is_found(models: Models, store: Store, s3: S3) -> None:
    models.apply("late", merged(store.twice().spec(), {"model": {"credentials": {"secretName": "s3-late"}}}))
    models.await_reason("late", "SecretNotFound", 30)
    enter_storage(models.cluster, models.namespace, s3, "s3-late")
    await_ready(models, ["late"])


def test_status_follows_a_large_model_from_fetching_to_loaded(models: Models, release: Release) -> None:
    """Its storage stalls amid the file, and its loading waits, until they are told to go on."""
    address = release.cluster.address
    with hostile_http({"gate": b"open"}, stalls(after=0), address) as gate:
        source = SLOW.format(gate=gate.uri("gate")).encode() + b"# padding\n" * 70_000  # a MB is the most that such a source may have
        with hostile_http({"slow.py": source}, stalls(after=len(source) // 2), address) as storage:
            digest = "sha256:" + hashlib.sha256(source).hexdigest()
            models.apply("slow", {"model": {"uri": storage.uri("slow.py"), "digest": digest}, "pod": LITTLE})

            fetching = _await_model(models, "slow", lambda model: model["state"] == "Fetching" and model.get("bytes", 0) > 0)
            assert 0 < fetching["bytes"] < fetching["totalBytes"] == len(source)
            assert "digest" not in fetching
            assert models.condition("slow") == ("False", "Fetching")
            assert models.condition("slow", "Reconciling") == ("True", "Fetching")
            storage.resume()

            loading = _await_model(models, "slow", lambda model: model["state"] == "Loading")
            assert (loading["bytes"], loading["totalBytes"]) == (len(source), len(source))
            assert models.condition("slow", "ModelLoaded") == ("False", "Loading")
            assert models.condition("slow", "Available")[0] == "False"
            gate.resume()

            await_ready(models, ["slow"])
    whole = {"state": "Loaded", "digest": digest, "format": "python", "bytes": len(source), "totalBytes": len(source)}
    _await_model(models, "slow", lambda model: model == whole)  # a pod that has become ready is asked once more
    assert models.condition("slow", "ModelLoaded")[0] == "True"


def test_replicas_that_loaded_different_bytes_are_told(models: Models, store: Store) -> None:
    models.apply("drift", store.step("drift.json").spec(pinned=False))
    await_ready(models, ["drift"])
    other = store.step("drift.json", edge=25.0)  # overwritten
    models.cluster.kubectl("scale", "md/drift", "--replicas=2", "-n", models.namespace)

    status = models.await_reason("drift", "DigestDrift", 30)

    conditions = {one["type"]: (one["status"], one["message"]) for one in status["conditions"]}
    assert conditions["Available"][0] == "True"
    assert conditions["Stalled"][0] == "True"
    assert "s3://models/drift.json was overwritten; pin spec.model.digest" in conditions["Ready"][1]
    models.patch("md", "drift", {"spec": {"model": {"digest": other.digest}}})
    await_ready(models, ["drift"])
    assert models.status("drift")["readyReplicas"] == 2


def _await_model(models: Models, name: str, wanted: Callable[[Object], bool]) -> Object:
    """`status.model`, when it is as wanted."""

    def look() -> Object:
        found: Object = models.status(name).get("model") or {"state": ""}
        return found if wanted(found) else {}

    try:
        return eventually(look, 60)
    except AssertionError:
        raise AssertionError(f"{name}: {models.status(name)}") from None


# --- what cannot be meant ---

MODEL = {"uri": "s3://models/iris.onnx"}
REFUSED: Mapping[str, tuple[Object, str]] = {
    "nothing to serve": ({"serving": {}}, "spec.model: Required value"),
    "a path of one's own machine": ({"model": {"uri": "./model.joblib"}}, "a path on your machine is not seen by the cluster"),
    "an unknown scheme": ({"model": {"uri": "ftp://models/iris"}}, "must be a URI of one of these schemes: s3://"),
    "a claim without a path": ({"model": {"uri": "pvc://claim"}}, "must name a claim and a path in it"),
    "credentials in a URI": ({"model": {"uri": "s3://me:secret@models/iris"}}, "name it in spec.model.credentials.secretName"),
    "a secret in the options": (
        {"model": MODEL | {"storage": {"options": {"aws_secret_access_key": "x"}}}},
        "secrets do not belong in a manifest",
    ),
    "half a digest": ({"model": MODEL | {"digest": "sha256:12ab"}}, "`dragoman digest ./the-file-you-trained` prints it"),
    "an unknown format": ({"model": MODEL | {"format": "tensorflow"}}, 'supported values: "sklearn"'),
    "bounds that nothing meets": (
        {"model": MODEL | {"inputs": [{"name": "a", "minimum": 2, "maximum": 1}]}},
        "minimum must not be greater than maximum",
    ),
    "the same input twice": ({"model": MODEL | {"inputs": [{"name": "a"}, {"name": "a"}]}}, 'duplicate entries for key [name="a"]'),
    "no dialect": ({"model": MODEL, "serving": {"dialects": {}}}, "at least one dialect must be on"),
    "a rollout that cannot move": ({"model": MODEL, "rollout": {"maxSurge": 0, "maxUnavailable": "0%"}}, "nothing could ever change"),
    "our variables": (
        {"model": MODEL, "pod": {"env": [{"name": "DRAGOMAN_PORT", "value": "1"}]}},
        "start with DRAGOMAN_ are the operator's",
    ),
    "our folders": (
        {"model": MODEL, "pod": {"volumes": [{"name": "a", "mountPath": "/cache/a", "emptyDir": {}}]}},
        "choose another folder",
    ),
    "a volume of two sources": (
        {"model": MODEL, "pod": {"volumes": [{"name": "a", "mountPath": "/a", "emptyDir": {}, "secret": {"secretName": "b"}}]}},
        "must have one source",
    ),
    "our annotations": ({"model": MODEL, "pod": {"annotations": {"dragoman.dev/x": "1"}}}, "choose another prefix"),
    "a cache of no size": ({"model": MODEL, "pod": {"cache": {"sizeLimit": "0"}}}, "must be a quantity greater than 0"),
    "a misspelt field": ({"model": MODEL | {"url": "s3://models/iris"}}, "field not declared in schema"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_api_server_refuses(release: Release, what: str) -> None:
    spec, words = REFUSED[what]
    with pytest.raises(ClusterError) as refused:
        Models(release.cluster, "default").apply("refused", spec)
    assert words in str(refused.value)


def test_a_name_that_no_service_can_have_is_refused(release: Release) -> None:
    with pytest.raises(ClusterError, match="must be a DNS label of at most 50 characters"):
        Models(release.cluster, "default").apply("a" * 51, {"model": MODEL})


def test_what_the_schema_cannot_catch_is_invalid_until_it_is_mended(models: Models, store: Store) -> None:
    good = store.twice().spec()
    models.apply("much", merged(good, {"pod": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}}))
    status = models.await_reason("much", "InvalidSpec")
    (ready,) = (one for one in status["conditions"] if one["type"] == "Ready")
    assert ready["message"].startswith("spec.pod.resources: ")
    assert "raise the limit or lower the request" in ready["message"]
    assert models.condition("much", "Stalled")[0] == "True"
    models.apply("much", good)
    await_ready(models, ["much"])
