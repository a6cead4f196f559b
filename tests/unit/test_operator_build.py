"""What a ModelDeployment is made of in the cluster, as golden YAML: `pytest --update-golden` rewrites it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import Golden

from dragoman_operator.objects import Object
from dragoman_operator.plan import desired
from dragoman_operator.revision import choose
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment, read

SETTINGS = Settings(runtime_image="registry.example/dragoman:1.2.3", identity="operator-0")
DIGEST = "sha256:" + "9f" * 32


def manifest(spec: Object, **metadata: Any) -> Object:
    return {
        "apiVersion": "dragoman.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "iris", "namespace": "science", "uid": "1234-5678", "generation": 3, **metadata},
        "spec": spec,
    }


def deployment_of(spec: Object, **metadata: Any) -> ModelDeployment:
    md = read(manifest(spec, **metadata))
    assert isinstance(md, ModelDeployment)
    return md


MINIMAL: Object = {"model": {"uri": "s3://models/iris.joblib"}, "scale": {"replicas": 1}}
FULL: Object = {
    "model": {
        "uri": "s3://models/iris/",
        "digest": DIGEST,
        "format": "sklearn",
        "credentials": {"secretName": "s3-read"},
        "storage": {"options": {"endpoint": "https://minio.storage:9000"}},
        "inputs": [{"name": "sepal_length", "type": "number", "minimum": 0}],
        "outputs": {"target": "species", "classes": ["setosa", "versicolor", "virginica"]},
    },
    "serving": {
        "dialects": {"v2": {}},
        "workers": 4,
        "limits": {"timeoutSeconds": 12.5, "loadTimeoutSeconds": 90},
        "auth": {"tokens": {"secretName": "clients"}, "adminTokens": {"secretName": "admins"}},
    },
    "scale": {"replicas": 3},
    "rollout": {"maxSurge": 1, "maxUnavailable": "10%"},
    "pod": {
        "resources": {"requests": {"cpu": "0.5", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
        "env": [{"name": "TZ", "value": "UTC"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one"}}}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "imagePullSecrets": [{"name": "own"}, {"name": "shared"}],
        "volumes": [
            {"name": "lookup", "mountPath": "/mnt/lookup", "configMap": {"name": "lookup"}},
            {"name": "scratch", "mountPath": "/mnt/scratch", "readOnly": False, "emptyDir": {"sizeLimit": "1Gi"}},
        ],
        "annotations": {"team": "science"},
        "serviceAccountName": "reader",
        "image": "registry.example/own:1",
        "cache": {"sizeLimit": "5Gi"},
    },
}
CLAIM: Object = {"model": {"uri": "pvc://models/iris/model.joblib"}, "scale": {"replicas": 0}}
NARROWED = Settings(
    runtime_image="registry.example/dragoman:1.2.3",
    runtime_image_pull_policy="Always",
    image_pull_secrets=("shared", "registry"),
    operator_namespace="platform",
    code_formats="Deny",
    pod_image="Allow",
    monitoring_from=({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},),
    egress=({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},),
)

CASES: dict[str, tuple[Object, Settings]] = {
    "minimal": (MINIMAL, SETTINGS),
    "full": (FULL, NARROWED),
    "claim": (CLAIM, SETTINGS),
    "without-network-policy": (MINIMAL, Settings(runtime_image="dragoman:1", network_policy=False)),
}


class _Plain(yaml.SafeDumper):
    """No aliases, and text of several lines as it is read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Plain.add_representer(str, _Plain.text)


@pytest.mark.parametrize("name", CASES)
def test_everything_that_a_model_is_made_of(name: str, golden: Golden) -> None:
    spec, settings = CASES[name]
    md = deployment_of(spec)
    objects = desired(md, choose(md, (), None, settings), settings)
    golden.check(f"operator-{name}.yaml", yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=120))


def test_what_is_rendered_satisfies_the_restricted_pod_security_standard() -> None:
    for spec, settings in CASES.values():
        md = deployment_of(spec)
        pod = choose(md, (), None, settings).template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert not any("hostPath" in volume for volume in pod["volumes"])


def test_a_pod_is_given_time_for_its_longest_request() -> None:
    md = deployment_of(MINIMAL | {"serving": {"limits": {"timeoutSeconds": 100.2}}})
    pod = choose(md, (), None, SETTINGS).template["spec"]
    assert pod["terminationGracePeriodSeconds"] == 5 + 101 + 15
    assert pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 5


def test_a_secret_cannot_change_what_the_operator_sets() -> None:
    """Keys of a credentials Secret become environment variables; what is set explicitly wins over them."""
    container = choose(deployment_of(FULL), (), None, NARROWED).template["spec"]["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "s3-read"}}]
    assert {"name": "DRAGOMAN_CODE_FORMATS", "value": "Deny"} in container["env"]


def test_the_cache_is_kept_below_the_limit_at_which_the_pod_would_be_evicted() -> None:
    container = choose(deployment_of(FULL), (), None, NARROWED).template["spec"]["containers"][0]
    cache = next(int(one["value"]) for one in container["env"] if one["name"] == "DRAGOMAN_CACHE_BYTES")
    assert cache < 5 * 2**30


def test_names_fit_into_a_label_at_their_longest() -> None:
    md = deployment_of(MINIMAL, name="m" * 50)
    names = [one["metadata"]["name"] for one in desired(md, choose(md, (), None, SETTINGS), SETTINGS)]
    assert max(map(len, names)) <= 63
