from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dragoman import manifest
from dragoman.errors import InvalidSpec

GOOD: dict[str, Any] = {
    "apiVersion": "dragoman.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "iris"},
    "spec": {"model": {"uri": "s3://models/iris/"}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with one value set: `changed("spec.model.uri", "x")`."""
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    at = document
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
    return document


def test_defaults_live_in_the_structs() -> None:
    found = manifest.parse(GOOD)
    assert list(found.spec.serving.dialects.enabled()) == ["v1", "v2"]
    limits = found.spec.serving.limits
    assert (limits.timeout_seconds, limits.max_request_bytes, limits.max_concurrency) == (60, 52428800, 512)
    assert found.spec.scale.replicas == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.model.inputz", [], "spec.model.inputz: unknown field; did you mean 'inputs'?"),
        ("spec.serving.dialects.v3", {}, "spec.serving.dialects.v3: unknown field; did you mean"),
        (
            "spec.model.inputs",
            [{"name": "a"}, {"name": "b", "tipe": "number"}],
            "spec.model.inputs[].tipe: unknown field; did you mean 'type'?",
        ),
        (
            "spec.model.inputs",
            [{"name": "a", "type": "float"}],
            "spec.model.inputs[].type: must be one of number, integer, string, boolean, got 'float'",
        ),
        ("spec.model.uri", 3, "spec.model.uri: must be a string, got 3"),
        (
            "spec.model.storage",
            {"options": {"region": "eu", "allow_http": True}},
            'spec.model.storage.options.allow_http: must be a string, got true: in quotes it is one: "true"',
        ),
        (
            "spec.pod",
            {"annotations": {"example.com/port": 80}},
            "spec.pod.annotations['example.com/port']: must be a string, got 80: in quotes it is one: \"80\"",
        ),
        (
            "spec.pod",
            {"nodeSelector": {True: "a"}},
            'spec.pod.nodeSelector: its keys must be strings, got true: in quotes it is one: "true"',
        ),
        (
            "spec.serving.dialects",
            {"seldon": {"classMap": {0: "setosa", 1: ["versicolor"]}}},
            "spec.serving.dialects.seldon.classMap['1']: must be a string, got a list",
        ),
        ("spec.model.uri", "", "spec.model.uri: must not be empty"),
        (
            "spec.model.digest",
            "sha256:abc",
            "spec.model.digest: must be sha256: and 64 hex digits, got 'sha256:abc'; `dragoman digest` prints it",
        ),
        ("spec.model.inputs", [{"name": "a"}, {"name": "a"}], "spec.model.inputs[].name: each name once, and 'a' is that of inputs[] too"),
        ("spec.serving.workers", 0, "spec.serving.workers: must be between 1 and 64"),
        ("spec.serving.limits.timeoutSeconds", 0, "spec.serving.limits.timeoutSeconds: must be greater than 0"),
        ("spec.serving.dialects", {}, "spec.serving.dialects: at least one must be on"),
        ("metadata.name", "Iris", "metadata.name: must be a DNS label"),
        ("metadata.name", "a" * 51, "metadata.name: must be a DNS label of at most 50 characters"),
        ("kind", None, "kind: is missing: write kind: ModelDeployment"),
        ("kind", "Deployment", "kind: must be ModelDeployment, got 'Deployment'"),
        ("apiVersion", "v1", "apiVersion: must be dragoman.dev/v1alpha1, got 'v1'"),
        ("spec.scale.replicas", -1, "spec.scale.replicas: must be 0 or more"),
    ],
)
def test_every_error_has_its_path_and_its_mend(path: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        manifest.parse(changed(path, value))
    assert _without_indexes(refused.value.message).startswith(message)


def test_what_kubectl_writes_is_accepted() -> None:
    document = changed("status", {"conditions": []})
    document["metadata"] |= {"uid": "x", "resourceVersion": "1", "managedFields": []}
    assert manifest.parse(document).name == "iris"


def test_a_file_may_hold_several_documents_and_a_relative_uri_is_meant_from_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    text = "apiVersion: dragoman.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: {0}}}\nspec: {{model: {{uri: {1}}}}}\n"
    file.write_text("---\n".join([text.format("a", "./a/"), text.format("b", "s3://models/b"), text.format("c", "c.onnx")]))
    found = manifest.load(file)
    assert [m.name for m in found] == ["a", "b", "c"]
    assert [m.spec.model.uri for m in found] == [f"{tmp_path}/a/", "s3://models/b", f"{tmp_path}/c.onnx"]


def test_an_error_names_the_file_and_the_document(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "apiVersion: dragoman.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: a}\nspec: {model: {uri: a}}\n---\nkind: Pod\n"
    )
    with pytest.raises(InvalidSpec, match=r"models\.yaml, document 2: kind: must be ModelDeployment, got 'Pod'"):
        manifest.load(file)


@pytest.mark.parametrize(
    ("text", "message"), [("", "no ModelDeployment found"), ("a: [", "not valid YAML"), ("[1]", "must be a ModelDeployment")]
)
def test_a_file_without_a_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=message):
        manifest.load(file)


def _without_indexes(message: str) -> str:
    import re

    return re.sub(r"\[\d+\]", "[]", message)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("compile: Off", 'spec.serving.compile: write "Off" in quotes: YAML reads Off as false'),
        ("compile: Always", "spec.serving.compile: must be one of Off, Auto, got 'Always'"),
        ("compileMemoryShare: 0", "spec.serving.compileMemoryShare: must be greater than 0, got 0"),
    ],
)
def test_what_is_wrong_with_compiling_is_said(said: str, problem: str) -> None:
    with pytest.raises(InvalidSpec, match=re.escape(problem)):
        manifest.parse(changed("spec.serving", yaml.safe_load(said)))
