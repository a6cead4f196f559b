"""What the API server itself refuses, in our words; and what it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.operating import Object, install_crd
from tests.unit.test_operator_build import CASES

URI = "s3://models/iris.joblib"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/modeldeployment.yaml"))


@pytest.fixture(scope="module")
def plane(control_plane: Cluster) -> Cluster:
    install_crd(control_plane)
    return control_plane


def applied(plane: Cluster, spec: Object, name: str = "iris") -> None:
    body = {
        "apiVersion": "dragoman.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }
    plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(body))


def model(**more: Any) -> Object:
    return {"model": {"uri": URI, **more}}


def mlup(**options: Any) -> Object:
    return {"model": {"uri": URI}, "serving": {"dialects": {"mlup": options}}}


def datarobot(**options: Any) -> Object:
    return {"model": {"uri": URI}, "serving": {"dialects": {"datarobot": options}}}


def rule(trigger: Object, action: Object) -> Object:
    return datarobot(humility=[{"id": "1", "name": "one", "trigger": trigger, "action": action}])


def pod(**more: Any) -> Object:
    return {"model": {"uri": URI}, "pod": more}


RESULTS: Object = {"memcached": {"servers": ["memcached:11211"]}}
SHARED = "`is_long_predict` needs `scale.replicas: 1` or a shared result store (memcached)"

SERIES: Object = {"timestampColumn": "t", "forecastWindow": {"end": 12}}
UNCERTAIN: Object = {"uncertainPrediction": {"lower": 0.2, "upper": 0.8}}

LOOKUP: Object = {"name": "lookup", "mountPath": "/mnt/lookup", "configMap": {"name": "lookup"}}

REFUSED: list[tuple[str, Object, str]] = [
    ("no model", {}, "spec.model: Required value"),
    ("a path", model(uri="/home/me/iris.joblib"), "copy the model to object storage first"),
    ("an unknown scheme", model(uri="ftp://models/iris.joblib"), "must be a URI of one of these schemes"),
    ("a claim without a path", model(uri="pvc://models"), "pvc://claim/path/model.joblib"),
    ("a relative file", model(uri="file://iris.joblib"), "a file URI is absolute on a cluster"),
    ("credentials in a URI", model(uri="s3://me:secret@models/iris"), "credentials do not belong in a URI"),
    ("a short digest", model(digest="sha256:00"), "`dragoman digest ./the-file-you-trained` prints it"),
    ("a digest in capitals", model(digest="sha256:" + "AB" * 32), "64 hex digits in lower case"),
    ("an unknown format", model(format="tensorflow"), 'Unsupported value: "tensorflow"'),
    ("a secret option", model(storage={"options": {"aws_secret_access_key": "x"}}), "secrets do not belong in a manifest"),
    ("an input twice", model(inputs=[{"name": "a"}, {"name": "a"}]), "duplicate entries"),
    ("bounds the wrong way round", model(inputs=[{"name": "a", "minimum": 2, "maximum": 1}]), "minimum must not be greater than maximum"),
    ("too many inputs", model(inputs=[{"name": str(n)} for n in range(2001)]), "must have at most 2000 items"),
    ("no dialect", model() | {"serving": {"dialects": {}}}, "at least one dialect must be on"),
    ("an unknown field", model() | {"serving": {"worker": 1}}, "worker"),
    ("results in several replicas", mlup(isLongPredict=True) | {"scale": {"replicas": 2}}, SHARED),
    ("columns to hold rows against, and none", mlup(columnValidation=True), "columnValidation holds rows against columns"),
    ("another library's type", mlup(dtypeForPredict="Int8Dtype"), "dtypeForPredict is a type of the transformer"),
    ("no throttle", mlup(throttlingMaxRequests=0), "should be greater than or equal to 1"),
    ("no time to wait", mlup(ttlClientWait=0), "greater than 0"),
    ("a store without a name", mlup(memcached={"servers": [":11211"]}), "must be host:port, such as memcached:11211"),
    ("an adjustment of nothing", datarobot(exposureAdjustment="divide"), "exposureAdjustment says what is done with exposureColumn"),
    ("an exposed forecast", datarobot(exposureColumn="e", timeSeries=SERIES), "leave exposureColumn or timeSeries out"),
    ("steps of no unit", datarobot(timeSeries=SERIES | {"timeStep": 2}), "timeStep counts time units"),
    (
        "a window the wrong way round",
        datarobot(timeSeries=SERIES | {"forecastWindow": {"start": 3, "end": 2}}),
        "start must not be after end",
    ),
    (
        "two triggers",
        rule(UNCERTAIN | {"outlyingInput": {"feature": "x", "lower": 0}}, {"noOperation": {}}),
        "must have exactly one of uncertain",
    ),
    ("no action", rule(UNCERTAIN, {}), "must have exactly one of noOperation"),
    ("no bound", rule({"uncertainPrediction": {}}, {"noOperation": {}}), "must have lower, upper or both"),
    ("a deployment of two parts", datarobot(deploymentId="a/b"), "must be letters, digits"),
    ("no timeout", model() | {"serving": {"limits": {"timeoutSeconds": 0}}}, "greater than 0"),
    ("too many workers", model() | {"serving": {"workers": 65}}, "less than or equal to 64"),
    ("negative replicas", model() | {"scale": {"replicas": -1}}, "greater than or equal to 0"),
    ("a rollout that cannot move", model() | {"rollout": {"maxSurge": 0, "maxUnavailable": "0%"}}, "nothing could ever change"),
    ("a surge that is neither", model() | {"rollout": {"maxSurge": "some"}}, "must be a number of pods or a percentage"),
    ("one of our variables", pod(env=[{"name": "DRAGOMAN_PORT", "value": "1"}]), "names that start with DRAGOMAN_ are the operator's"),
    ("value and valueFrom", pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]), "not both"),
    ("a host's folder", pod(volumes=[LOOKUP | {"hostPath": {"path": "/"}}]), "hostPath"),
    ("a volume without source", pod(volumes=[{"name": "a", "mountPath": "/mnt/a"}]), "must have one source"),
    ("a mount over the cache", pod(volumes=[LOOKUP | {"mountPath": "/cache/x"}]), "are the operator's: choose another folder"),
    ("a relative mount", pod(volumes=[LOOKUP | {"mountPath": "mnt"}]), "must be an absolute path"),
    ("one of our volumes", pod(volumes=[LOOKUP | {"name": "tmp"}]), "choose another name"),
    ("one of our annotations", pod(annotations={"dragoman.dev/x": "1"}), "choose another prefix"),
    ("a cache of no size", pod(cache={"sizeLimit": "0"}), "must be a quantity greater than 0"),
    ("a cache of some size", pod(cache={"sizeLimit": "much"}), "must be a quantity greater than 0"),
]


@pytest.mark.parametrize(("spec", "words"), [pytest.param(*one[1:], id=one[0]) for one in REFUSED])
def test_a_bad_spec_is_refused_with_what_mends_it(spec: Object, words: str, plane: Cluster) -> None:
    with pytest.raises(ClusterError) as refused:
        applied(plane, spec)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["a" * 51, "1ris", "ir.is"])
def test_a_name_that_no_service_could_have_is_refused(name: str, plane: Cluster) -> None:
    with pytest.raises(ClusterError, match="DNS label of at most 50 characters"):
        applied(plane, model(), name)


@pytest.mark.parametrize("name", ["a" * 50, "iris-2"])
def test_a_good_name_is_taken(name: str, plane: Cluster) -> None:
    applied(plane, model(), name)


MLUP_TAKEN: list[Object] = [
    mlup(),
    mlup(isLongPredict=True),
    mlup(isLongPredict=False) | {"scale": {"replicas": 3}},
    mlup(isLongPredict=True, **RESULTS) | {"scale": {"replicas": 3}},
    mlup(columnValidation=True, columns=[{"name": "a", "type": "int", "required": False, "default": 5}]),
    mlup(dtypeForPredict="float32"),
    mlup(dtypeForPredict="Float32Dtype", dataTransformerForPredict="pandas"),
    mlup(ttlClientWait=0.5, batchWorkerTimeout=0.1, mode="batching", compatibility="0.4"),
]


DATAROBOT_TAKEN: list[Object] = [
    datarobot(deploymentId="5f22ba7ade0f435ba7217bcf", positiveClass=True, threshold=0.3, datarobotKeyEnv="DATAROBOT_KEY"),
    datarobot(positiveClass="malignant", exposureColumn="e", exposureAdjustment="divide"),
    datarobot(classOrder=["a", 1, False]),
    datarobot(timeSeries=SERIES | {"timeUnit": "month", "timeStep": 3, "knownInAdvance": ["holiday"]}),
    rule(UNCERTAIN, {"overridePrediction": {"value": 5220}}),
    rule({"lowObservationRegion": {"feature": "x", "values": ["a", 1]}}, {"throwError": {}}),
]


@pytest.mark.parametrize("spec", MLUP_TAKEN + DATAROBOT_TAKEN, ids=str)
def test_options_that_go_together_are_taken(spec: Object, plane: Cluster) -> None:
    applied(plane, spec)


@pytest.mark.parametrize("name", CASES)
def test_what_the_builders_are_tested_with_is_taken(name: str, plane: Cluster) -> None:
    applied(plane, CASES[name][0])


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_examples_are_taken_once_their_model_lies_in_storage(file: Path, plane: Cluster) -> None:
    for found in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        applied(plane, found["spec"] | {"model": found["spec"]["model"] | {"uri": URI}}, found["metadata"]["name"])


def test_values_of_any_type_are_kept_in_enums_classes_and_examples(plane: Cluster) -> None:
    spec = model(inputs=[{"name": "a", "enum": [1, "one", 2.5, True], "example": 1}], outputs={"classes": [0, "x", False]})
    body = {
        "apiVersion": "dragoman.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "kept", "namespace": "default"},
        "spec": spec,
    }
    plane.apply(json.dumps(body))
    assert plane.get("md", "kept", "-n", "default")["spec"]["model"] == spec["model"]


def test_kubectl_explain_reads_as_documentation(plane: Cluster) -> None:
    told = plane.kubectl("explain", "md.spec.model.digest")
    assert "dragoman digest" in told
