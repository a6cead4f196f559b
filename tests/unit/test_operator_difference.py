"""When an apply would change nothing, and where it would."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dragoman_operator.difference import difference
from dragoman_operator.quantity import quantity

DESIRED: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u", "controller": True}]},
    "spec": {
        "replicas": 0,
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "model",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
                "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}, "limits": {"cpu": 1}},
                "command": ["serve", "x"],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "20Gi"}}, {"name": "c", "configMap": {"name": "c"}}],
        "tolerations": [{"key": "k"}],
        "selector": {"app": "iris"},
    },
}


def observed() -> dict[str, Any]:
    """As the API server stores and others change it: defaults, other fields, other items, another order."""
    stored = copy.deepcopy(DESIRED)
    stored["metadata"]["labels"]["theirs"] = "2"
    stored["metadata"]["ownerReferences"].append({"uid": "w"})
    container = stored["spec"]["containers"][0]
    container["env"] = [{"name": "B"}, {"name": "THEIRS", "value": "3"}, {"name": "A", "value": "1"}]
    container["resources"] = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}}
    container["imagePullPolicy"] = "Always"
    stored["spec"]["containers"].insert(0, {"name": "sidecar"})
    config_map = {"name": "c", "configMap": {"name": "c", "defaultMode": 420}}
    stored["spec"]["volumes"] = [
        config_map,
        {"name": "v", "emptyDir": {"sizeLimit": "20Gi"}},
    ]
    stored["status"] = {"replicas": 0}
    return stored


def test_what_others_add_is_no_difference() -> None:
    assert difference(DESIRED, observed()) is None


def _set(path: str, value: Any) -> dict[str, Any]:
    """What is observed, with one place changed; None removes it."""
    stored = observed()
    at: Any = stored
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return stored


@pytest.mark.parametrize(
    ("changed", "value", "told"),
    [
        ("metadata.labels.a", "2", "metadata.labels.a"),
        ("metadata.labels.a", None, "metadata.labels.a"),
        ("metadata.ownerReferences.0.controller", None, "metadata.ownerReferences[u].controller"),
        ("spec.replicas", 3, "spec.replicas"),
        ("spec.automountServiceAccountToken", None, "spec.automountServiceAccountToken"),  # missing means true there
        ("spec.containers.1", None, "spec.containers[model]"),
        ("spec.containers.1.env.2.value", "x", "spec.containers[model].env[A].value"),
        ("spec.containers.1.env.0.value", "x", "spec.containers[model].env[B].value"),
        ("spec.containers.1.command", ["serve", "y"], "spec.containers[model].command[1]"),
        ("spec.containers.1.command", ["serve", "x", "y"], "spec.containers[model].command"),
        ("spec.containers.1.resources.requests.cpu", "501m", "spec.containers[model].resources.requests.cpu"),
        ("spec.containers.1.volumeMounts", None, "spec.containers[model].volumeMounts"),
        ("spec.volumes.1.emptyDir.sizeLimit", "21Gi", "spec.volumes[v].emptyDir.sizeLimit"),
        ("spec.volumes.1", {"name": "v", "hostPath": {"path": "/"}}, "spec.volumes[v].emptyDir.sizeLimit"),
        ("spec.tolerations", [], "spec.tolerations"),
        ("spec.selector.theirs", "1", "spec.selector"),  # a Service that selects by one label more selects nothing
    ],
)
def test_drift_is_told_by_its_place(changed: str, value: Any, told: str) -> None:
    found = difference(DESIRED, _set(changed, value))
    assert found is not None
    assert told.startswith(found)


@pytest.mark.parametrize("empty", ["", [], {}, None, False])
def test_what_is_empty_may_be_left_out(empty: Any) -> None:
    assert difference({"a": empty}, {}) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("0.5", "0.5"), (1, "1"), ("1Gi", "1073741824"), ("1024Mi", "1073741824"), ("1e3", "1000"), ("2k", "2000")],
)
def test_quantities_are_equal_by_value(text: str | int, value: str) -> None:
    found = quantity(text)
    assert found is not None
    assert found == quantity(value)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "one", "1gi"])
def test_what_is_no_quantity_has_no_value(text: str) -> None:
    assert quantity(text) is None
