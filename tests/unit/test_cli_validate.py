"""`dragoman validate`: each wrong manifest, with the path of what is wrong and what would mend it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from dragoman.cli import app

GOOD: dict[str, Any] = {
    "apiVersion": "dragoman.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "iris"},
    "spec": {"model": {"uri": "s3://models/iris/"}},
}
GONE = object()


def validate(*files: Path) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, files)])


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    at = document
    for part in parents:
        at = at.setdefault(part, {})
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return document


def test_a_good_one_is_said_to_be_valid(tmp_path: Path) -> None:
    file = tmp_path / "iris.yaml"
    file.write_text(yaml.dump(GOOD))
    found = validate(file)
    assert (found.exit_code, found.stdout, found.stderr) == (0, f"{file}: iris is valid\n", "")


INPUTS = "spec.model.inputs"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # names that are not known
        ("metdata", {"name": "x"}, "metdata: unknown field; did you mean 'metadata'?"),
        ("spec.modle", {}, "spec.modle: unknown field; did you mean 'model'?"),
        ("spec.model.digset", "x", "spec.model.digset: unknown field; did you mean 'digest'?"),
        ("spec.model.storage.option", {}, "spec.model.storage.option: unknown field; did you mean 'options'?"),
        (INPUTS, [{"name": "a"}, {"name": "b", "tpye": "number"}], "spec.model.inputs[1].tpye: unknown field; did you mean 'type'?"),
        ("spec.serving.limits.timeout", 3, "spec.serving.limits.timeout: unknown field; did you mean 'timeoutSeconds'?"),
        ("spec.serving.zzz", 3, "spec.serving.zzz: unknown field; known here: dialects, workers, batching, limits"),
        ("spec.serving.dialects.v3", {}, "spec.serving.dialects.v3: unknown field; did you mean 'v"),
        ("spec.serving.dialects.v1.x", 1, "spec.serving.dialects.v1.x: unknown field; nothing can be set here: write {}"),
        ("spec.replicas", 2, "spec.replicas: unknown field; "),
        # what is missing
        ("metadata", GONE, "metadata: is missing"),
        ("spec", GONE, "spec: is missing"),
        ("spec.model.uri", GONE, "spec.model.uri: is missing"),
        (INPUTS, [{"type": "number"}], "spec.model.inputs[0].name: is missing"),
        ("spec.model.credentials", {}, "spec.model.credentials.secretName: is missing"),
        # wrong types
        ("spec", None, "spec: must be an object, got null"),
        ("spec.model", "s3://x/y", "spec.model: must be an object, got 's3://x/y'"),
        ("metadata.name", 5, "metadata.name: must be a string, got 5: in quotes it is one: \"5\""),
        ("spec.model.digest", 12, "spec.model.digest: must be a string, got 12: in quotes it is one: \"12\""),
        ("spec.model.uri", ["a"], "spec.model.uri: must be a string, got a list"),
        ("spec.serving.workers", "two", "spec.serving.workers: must be a whole number, got 'two'"),
        ("spec.serving.workers", 1.5, "spec.serving.workers: must be a whole number, got 1.5"),
        ("spec.serving.workers", True, "spec.serving.workers: must be a whole number, got true"),
        ("spec.serving.batching.rowsIndependent", "yes", "spec.serving.batching.rowsIndependent: must be true or false, got 'yes'"),
        (INPUTS, {"a": "number"}, "spec.model.inputs: must be a list, got an object"),
        ("spec.model.outputs.classes", "a,b", "spec.model.outputs.classes: must be a list, got 'a,b'"),
        ("spec.pod.env", {"A": "b"}, "spec.pod.env: must be a list, got an object"),
        # choices
        ("spec.model.format", "keras", "spec.model.format: must be one of sklearn, xgboost, lightgbm, onnx, "),
        ("spec.model.format", "xgbost", "got 'xgbost'; did you mean 'xgboost'?"),
        (INPUTS, [{"name": "a", "type": "int"}], "must be one of number, integer, string, boolean, got 'int'; did you mean 'integer'"),
        # values
        ("kind", "ModelDeploymnt", "kind: must be ModelDeployment, got 'ModelDeploymnt'"),
        ("apiVersion", "v1", "apiVersion: must be dragoman.dev/v1alpha1, got 'v1'"),
        ("metadata.name", "Iris_1", "metadata.name: must be a DNS label of at most 50 characters"),
        ("metadata.name", "iris-", "not ending with -), got 'iris-'"),
        ("metadata.name", "a" * 51, "metadata.name: must be a DNS label of at most 50 characters"),
        ("metadata.name", "", "metadata.name: must be a DNS label of at most 50 characters"),
        ("spec.model.uri", "", "spec.model.uri: must not be empty"),
        ("spec.model.uri", "s3a://b/k", "spec.model.uri: s3a://b/k: the scheme 's3a' is not known; did you mean s3://?"),
        ("spec.model.uri", "s3://me:secret@b/k", "spec.model.uri: s3://b/k: credentials do not belong in a URI"),
        ("spec.model.digest", "abc", "spec.model.digest: must be sha256: and 64 hex digits, got 'abc'; `dragoman digest` prints it"),
        ("spec.model.digest", "sha256:" + "A" * 64, "spec.model.digest: must be sha256: and 64 hex digits"),
        (INPUTS, [{"name": "a"}, {"name": "b"}, {"name": "a"}], "inputs[2].name: each name once, and 'a' is that of inputs[0] too"),
        (INPUTS, [{"name": ""}], "spec.model.inputs[0].name: must not be empty"),
        (INPUTS, [{"name": "a", "minimum": 5, "maximum": 1}], "spec.model.inputs[0].minimum: 5 is greater than maximum: 1"),
        (INPUTS, [{"name": "a", "type": "string", "maximum": 1}], "inputs[0].maximum: only numbers have bounds, and 'a' is a string"),
        (INPUTS, [{"name": "a", "enum": [1, "x"]}], "spec.model.inputs[0].enum[1]: 'x' is not of the field's type, number"),
        (INPUTS, [{"name": f"f{i}"} for i in range(2001)], "spec.model.inputs: at most 2000 can be declared, got 2001; wider"),
        ("spec.model.outputs.classes", ["a", "b", "a"], "spec.model.outputs.classes: each class once, got a, b, a"),
        ("spec.serving.dialects", {}, "spec.serving.dialects: at least one must be on; write one of v1: {}"),
        ("spec.serving.dialects.v1", None, "spec.serving.dialects: at least one must be on; write one of v1: {}"),
        ("spec.serving.workers", 65, "spec.serving.workers: must be between 1 and 64, got 65"),
        ("spec.serving.batching.maxRows", 0, "spec.serving.batching.maxRows: must be at least 1, got 0"),
        ("spec.serving.limits.timeoutSeconds", 0, "spec.serving.limits.timeoutSeconds: must be greater than 0, got 0"),
        ("spec.serving.limits.maxRequestBytes", 0, "spec.serving.limits.maxRequestBytes: must be at least 1, got 0"),
        ("spec.serving.limits.maxConcurrency", 0, "spec.serving.limits.maxConcurrency: must be at least 1, got 0"),
        ("spec.serving.limits.loadTimeoutSeconds", -1, "spec.serving.limits.loadTimeoutSeconds: must be greater than 0, got -1"),
        ("spec.scale.replicas", -1, "spec.scale.replicas: must be 0 or more, got -1"),
    ],
)  # fmt: skip
def test_a_wrong_manifest_is_told_by_path_and_mend(path: str, value: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "iris.yaml"
    file.write_text(yaml.dump(changed(path, value)))
    found = validate(file)
    assert found.exit_code == 10
    assert found.stdout == ""
    assert found.stderr.startswith("")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert "secret@" not in found.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no ModelDeployment found; "),
        (b"---\n---\n# nothing\n", "no ModelDeployment found; "),
        (b"a: [1,\nb: }", "not valid YAML: line 2, column 4: expected the node content, but found '}'"),
        (b"a: 1\n\tb: 2\n", "not valid YAML: line 2, column 1: found character '\\t' that cannot start any token"),
        (b"kind: x\nkind: y\n", "not valid YAML: line 2, column 1: 'kind' stands here twice"),
        (b"- a\n- b\n", "must be a ModelDeployment, an object with apiVersion, kind, metadata and spec"),
        (b"hello", "must be a ModelDeployment, an object with apiVersion, kind, metadata and spec"),
        (b"\x80\x03cmodel", "not a text file in UTF-8: byte 0 is 0x80"),
        (b"a: !!python/object/apply:os.getcwd []\n", "not valid YAML: line 1, column 4: could not determine a constructor"),
    ],
)
def test_what_is_no_manifest_at_all_is_told_with_its_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "iris.yaml"
    file.write_bytes(content)
    found = validate(file)
    assert found.exit_code == 10
    assert found.stderr.startswith(f"{file}: {message}")
    assert found.stderr.count("\n") == 1


def test_every_document_of_a_file_is_told_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    documents = [changed("spec.serving.workers", 0), changed("metadata.name", "wine"), changed("spec.modle", 1)]
    file.write_text("---\n".join(yaml.dump(d) for d in documents))
    found = validate(file)
    assert found.exit_code == 10
    assert found.stdout == f"{file}: wine is valid\n"
    first, third = found.stderr.splitlines()
    assert first.startswith(f"{file}, document 1: spec.serving.workers: ")
    assert third.startswith(f"{file}, document 3: spec.modle: ")


def test_a_name_twice_in_one_folder_is_told_with_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.dump(GOOD))
    (tmp_path / "b.json").write_text(json.dumps(GOOD))
    (tmp_path / "c.yml").write_text(yaml.dump(changed("metadata.namespace", "other")))
    found = validate(tmp_path)
    assert found.exit_code == 10
    assert found.stdout.count("iris is valid") == 2
    assert found.stderr == f"{tmp_path}/b.json: metadata.name: 'iris' is the name of another one in {tmp_path}/a.yaml; each needs its own\n"


def test_other_files_of_a_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.dump(GOOD))
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (tmp_path / "model.json").write_text('{"learner": {}}')
    assert validate(tmp_path).exit_code == 0


def test_a_folder_without_one_and_a_file_that_is_not_there_are_told(tmp_path: Path) -> None:
    found = validate(tmp_path, tmp_path / "nowhere.yaml")
    assert found.exit_code == 10
    folder, file = found.stderr.splitlines()
    assert folder.startswith(f"{tmp_path}: no ModelDeployment found")
    assert file == f"{tmp_path}/nowhere.yaml: no such file"


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_text("")
    good.write_text(yaml.dump(GOOD))
    found = validate(bad, good)
    assert (found.exit_code, found.stdout) == (10, f"{good}: iris is valid\n")
