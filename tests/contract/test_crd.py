"""The CRD, the runtime's structs and the operator's structs say the same: fields, types, what is required, and defaults."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
import yaml

from dragoman import manifest
from dragoman_operator import spec as operator_spec
from dragoman_operator.quantity import quantity

CRD = Path(__file__).parents[2] / "crds" / "modeldeployments.yaml"
Schema = dict[str, Any]

DEFINITION: Schema = yaml.safe_load(CRD.read_text(encoding="utf-8"))
VERSION: Schema = DEFINITION["spec"]["versions"][0]
SPEC: Schema = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]
STATUS: Schema = VERSION["schema"]["openAPIV3Schema"]["properties"]["status"]

JSON_TYPES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    tuple: "array",
    list: "array",
}


class At(NamedTuple):
    """A field of a struct, beside the schema at the same place; `schema` is None where the CRD has none."""

    path: str
    field: msgspec.structs.FieldInfo
    schema: Schema | None


def fields_of(struct: type[msgspec.Struct], schema: Schema, path: str = "spec") -> Iterator[At]:
    """Every field below a struct, with the schema it is to agree with."""
    for field in msgspec.structs.fields(struct):
        where = f"{path}.{field.encode_name}"
        found = schema.get("properties", {}).get(field.encode_name)
        yield At(where, field, found)
        inner, several = struct_in(field.type)
        if inner is not None and found is not None:
            yield from fields_of(inner, found["items"] if several else found, where + ("[]" if several else ""))


def struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The struct in `S`, `S | None` or `tuple[S, ...]`, and whether there are several of it."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint, False
    several = typing.get_origin(hint) in (tuple, list)
    for part in typing.get_args(hint):
        inner, _ = struct_in(part)
        if inner is not None:
            return inner, several
    return None, False


def plain(hint: Any) -> Any:
    """A type without `| None`."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    is_optional = type(None) in typing.get_args(hint)
    return parts[0] if is_optional and len(parts) == 1 else hint


def struct_at(path: str) -> type[msgspec.Struct] | None:
    """The runtime's struct for a path such as spec.model.inputs[]; None where it takes any object."""
    kind: Any = manifest.Spec
    for name in path.replace("[]", "").split(".")[1:]:
        kind = struct_in(next(f.type for f in msgspec.structs.fields(kind) if f.encode_name == name))[0]
        if kind is None:
            return None
    return typing.cast(type[msgspec.Struct], kind)


def objects_in(schema: Schema, path: str = "spec") -> Iterator[tuple[str, Schema]]:
    """Every place in the schema that has named properties."""
    if "properties" in schema:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects_in(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from objects_in(schema["items"], path + "[]")


def every_schema(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from every_schema(inner, f"{path}.{name}")
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from every_schema(inner, path + "[]")


RUNTIME = list(fields_of(manifest.Spec, SPEC))
OPERATOR = list(fields_of(operator_spec._Whole, SPEC))


@pytest.mark.parametrize("at", RUNTIME, ids=lambda at: at.path)
def test_every_field_of_the_runtime_is_in_the_crd_with_its_type(at: At) -> None:
    assert at.schema is not None, f"{at.path} is not in the CRD"
    hint = plain(at.field.type)
    if typing.get_origin(hint) is Literal:
        assert at.schema["type"] == "string"
        assert tuple(at.schema["enum"]) == typing.get_args(hint)
    elif at.schema.get("x-kubernetes-int-or-string"):
        assert set(typing.get_args(hint)) - {type(None)} == {int, str}
    elif hint is not Any:
        kind = typing.get_origin(hint) or hint
        expected = "object" if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else JSON_TYPES[kind]
        assert at.schema["type"] == expected


@pytest.mark.parametrize("at", OPERATOR, ids=lambda at: at.path)
def test_every_field_that_the_operator_reads_is_in_the_crd(at: At) -> None:
    assert at.schema is not None


@pytest.mark.parametrize(("path", "schema"), [pytest.param(*one, id=one[0]) for one in objects_in(SPEC)])
def test_every_field_of_the_crd_is_known_to_the_runtime(path: str, schema: Schema) -> None:
    struct = struct_at(path)
    if struct is None:
        assert path.startswith("spec.pod."), "only spec.pod has Kubernetes' own shapes"
        return
    known = {f.encode_name for f in msgspec.structs.fields(struct)}
    assert set(schema["properties"]) == known
    assert set(schema.get("required", [])) == {f.encode_name for f in msgspec.structs.fields(struct) if f.required}


def scalar_default(field: msgspec.structs.FieldInfo) -> str | None:
    """A field's default as its description is to name it; None where it has none, or one that says "nothing"."""
    value = field.default
    if value is msgspec.NODEFAULT or value is None or value in ("", {}, ()) or isinstance(value, msgspec.Struct):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def told_default(schema: Schema) -> str | None:
    match = re.search(r"Default: (\S+)\.$", schema.get("description", ""))
    return match[1] if match else None


# who decides on a field's default: what the runtime only passes on, the operator decides
DECIDED = [at for at in RUNTIME if at.path.startswith(("spec.model", "spec.serving"))] + [
    at for at in OPERATOR if at.path.startswith(("spec.scale", "spec.rollout", "spec.pod"))
]


@pytest.mark.parametrize("at", DECIDED, ids=lambda at: at.path)
def test_a_default_is_the_one_that_the_description_names(at: At) -> None:
    assert at.schema is not None
    if at.path == "spec.pod.serviceAccountName":
        assert told_default(at.schema) == "default"  # the namespace's own, which Kubernetes takes
        return
    assert told_default(at.schema) == scalar_default(at.field)


def test_no_description_names_a_default_that_nobody_decides_on() -> None:
    told = {path for path, schema in every_schema(SPEC, "spec") if told_default(schema) is not None}
    decided = {at.path for at in DECIDED}
    kubernetes_own = {"spec.pod.volumes[].readOnly"}  # the operator's, in build/pod_template.py
    assert told <= decided | kubernetes_own


def test_the_description_of_resources_names_what_is_requested_by_default() -> None:
    requests = operator_spec.Pod().resources["requests"]
    text = SPEC["properties"]["pod"]["properties"]["resources"]["description"]
    assert f"cpu {requests['cpu']} and memory {requests['memory']}" in text
    assert quantity(operator_spec.Cache().size_limit) is not None


def test_time_limits_have_the_same_defaults_in_runtime_and_operator() -> None:
    runtime, operator = manifest.Limits(), operator_spec.Limits()
    assert runtime.timeout_seconds == operator.timeout_seconds
    assert runtime.load_timeout_seconds == operator.load_timeout_seconds
    assert set(manifest.Serving().dialects.enabled()) == set(operator_spec.Serving().dialects)


def test_only_the_number_of_replicas_has_a_default() -> None:
    """The API server applies defaults when it reads: one more would change every stored object, and restart every model."""
    found = {path: schema["default"] for path, schema in every_schema(SPEC, "spec") if "default" in schema}
    assert found == {"spec.scale": {}, "spec.scale.replicas": 1}


def test_everything_is_described_and_bounded() -> None:
    for path, schema in [*every_schema(SPEC, "spec"), *every_schema(STATUS, "status")]:
        leaf = path.rpartition(".")[2]
        assert "[]" in leaf or schema.get("description"), f"{path} has no description"
        kind = schema.get("type")
        if kind == "array":
            assert "maxItems" in schema, path
        if kind == "string" and schema.get("format") != "date-time":
            assert "maxLength" in schema or "enum" in schema, path
        if kind == "object" and "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_every_dialect_can_be_the_only_one() -> None:
    dialects = SPEC["properties"]["serving"]["properties"]["dialects"]
    (rule,) = dialects["x-kubernetes-validations"]
    assert set(re.findall(r"has\(self\.(\w+)\)", rule["rule"])) == set(dialects["properties"])


def test_the_states_of_a_model_are_the_runtimes() -> None:
    states = STATUS["properties"]["model"]["properties"]["state"]["enum"]
    assert tuple(states) == typing.get_args(manifest.State)


def test_it_is_small_enough_for_every_tool() -> None:
    assert CRD.stat().st_size < 100 * 1024


def test_people_see_what_matters() -> None:
    columns = [(column["name"], column.get("priority", 0)) for column in VERSION["additionalPrinterColumns"]]
    assert columns == [(name, 0) for name in ("Ready", "Model", "Replicas", "Revision", "URL", "Reason", "Age")] + [
        ("Digest", 1),
        ("Format", 1),
    ]
    assert DEFINITION["spec"]["names"]["shortNames"] == ["md"]
    assert DEFINITION["spec"]["names"]["categories"] == ["dragoman"]
