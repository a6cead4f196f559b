"""The vocabulary that the porter API describes values in: what it accepts is what JSON Schema accepts, and its texts are the contract's."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.porter import schemas
from dragoman.porter.schemas.openapi import inlined
from dragoman.porter.schemas.validation import BadSchema

NAMES = st.sampled_from(["a", "b", "c", "id"])
SMALL = st.integers(-3, 3) | st.floats(-3, 3, allow_nan=False, width=32)
VALUES = st.recursive(
    st.none() | st.booleans() | SMALL | st.sampled_from(["", "x", "yy", "a-b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
NUMBERS = {"minimum": SMALL, "maximum": SMALL, "multipleOf": st.sampled_from([1, 2, 0.5]), "enum": st.lists(SMALL, min_size=1, max_size=3)}
TEXTS = {
    "minLength": st.integers(0, 2),
    "maxLength": st.integers(0, 2),
    "pattern": st.sampled_from(["^x", "-", "y+$"]),
    "enum": st.lists(st.sampled_from(["x", "yy"]), min_size=1),
}
PLAIN = st.one_of(
    st.builds(schemas.Number, additional_params=st.fixed_dictionaries({}, optional=NUMBERS), nullable=st.booleans()),
    st.builds(schemas.Integer, additional_params=st.fixed_dictionaries({}, optional=NUMBERS), nullable=st.booleans()),
    st.builds(schemas.String, additional_params=st.fixed_dictionaries({}, optional=TEXTS), nullable=st.booleans()),
    st.builds(schemas.Boolean, nullable=st.booleans()),
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def built(properties: dict[str, Any], additional: Any, required: Any, nullable: bool) -> schemas.Object:
        names = "all" if required == "all" else [name for name in required if name in properties]
        return schemas.Object(properties=properties, additional_properties_type=additional, required=names, nullable=nullable)

    return st.builds(
        built, st.dictionaries(NAMES, inner, max_size=3), st.none() | inner, st.just("all") | st.lists(NAMES, unique=True), st.booleans()
    )


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    counts = st.fixed_dictionaries(
        {}, optional={"minItems": st.integers(0, 2), "maxItems": st.integers(0, 3), "uniqueItems": st.just(True)}
    )
    return st.builds(schemas.Array, item_type=st.none() | inner, additional_params=counts, nullable=st.booleans())


SCHEMAS = st.recursive(PLAIN, lambda inner: arrays(inner) | objects(inner), max_leaves=6)


def json_schema(definition: Any) -> Any:
    """OpenAPI 3.0's `nullable`, which lets null pass whatever else is asked, as JSON Schema says it."""
    if isinstance(definition, list):
        return [json_schema(one) for one in definition]
    if not isinstance(definition, dict):
        return definition
    made = {key: json_schema(value) for key, value in definition.items() if key != "nullable"}
    return {"anyOf": [{"type": "null"}, made]} if definition.get("nullable") is True else made


def accepts(schema: schemas.ApiObject, value: Any) -> bool:
    try:
        schema.validate(value)
    except ValueError as error:
        told = str(error)
    else:
        return True
    assert told.startswith("Schema validation failed: data")
    return False


@given(SCHEMAS, VALUES)
def test_what_is_accepted_is_what_json_schema_accepts(schema: schemas.ApiObject, value: Any) -> None:
    assert accepts(schema, value) == jsonschema_rs.validator_for(json_schema(schema.definition())).is_valid(value)


@given(SCHEMAS)
def test_a_schema_comes_back_from_its_json(schema: schemas.ApiObject) -> None:
    definition = none_required(json.loads(json.dumps(schema.definition())))
    assert schemas.of_definition(definition).definition() == schema.definition()


def none_required(definition: Any) -> Any:
    """With `required` written out where it is empty: left out, it means all."""
    if isinstance(definition, list):
        return [none_required(one) for one in definition]
    if not isinstance(definition, dict):
        return definition
    made = {key: none_required(value) for key, value in definition.items()}
    return {"required": []} | made if made.get("type") == "object" else made


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        (schemas.Integer(), 1.5, "data must be integer"),
        (schemas.Integer(), True, "data must be integer"),
        (schemas.Number(nullable=True), "x", "data must be number or null"),
        (schemas.Number(additional_params={"minimum": 100}), 1, "data must be bigger than or equal to 100"),
        (schemas.Number(additional_params={"minimum": 0, "exclusiveMinimum": True}), 0, "data must be bigger than 0"),
        (schemas.Number(additional_params={"exclusiveMaximum": 5}), 5, "data must be smaller than 5"),
        (schemas.Number(additional_params={"multipleOf": 2}), 3, "data must be multiple of 2"),
        (schemas.String(additional_params={"enum": ["x", "y"]}), "z", "data must be one of ['x', 'y']"),
        (schemas.String(additional_params={"minLength": 2}), "z", "data must be longer than or equal to 2 characters"),
        (schemas.String(additional_params={"maxLength": 2}), "zzz", "data must be shorter than or equal to 2 characters"),
        (schemas.String(additional_params={"pattern": "^a"}), "b", "data must match pattern ^a"),
        (schemas.String(additional_params={"format": "date"}), "today", "data must be date"),
        (schemas.String(additional_params={"const": "x"}), "y", "data must be same as const definition: x"),
        (
            schemas.Anything(additional_params={"anyOf": [{"type": "string"}, {"type": "null"}]}),
            1,
            "data cannot be validated by any definition",
        ),
        (
            schemas.Anything(additional_params={"oneOf": [{"type": "number"}, {"type": "integer"}]}),
            1,
            "data must be valid exactly by one definition",
        ),
        (schemas.Anything(additional_params={"not": {"type": "null"}}), None, "data must NOT match a disallowed definition"),
        (schemas.Anything(additional_params={"allOf": [{"minimum": 2}]}), 1, "data must be bigger than or equal to 2"),
        (schemas.Array(item_type=schemas.String(), additional_params={"minItems": 1}), [], "data must contain at least 1 items"),
        (schemas.Array(additional_params={"maxItems": 1}), [1, 2], "data must contain less than or equal to 1 items"),
        (schemas.Array(additional_params={"uniqueItems": True}), [1, 1.0], "data must contain unique items"),
        (schemas.Array(item_type=schemas.Array(item_type=schemas.Number())), [[1], [1, "x"]], "data[1][1] must be number"),
        (
            schemas.Object(properties={"a": schemas.Object(properties={"b": schemas.Boolean()})}),
            {"a": {"b": 1}},
            "data.a.b must be boolean",
        ),
        (schemas.Object(properties={"b": schemas.Number(), "a": schemas.Number()}), {}, "data must contain ['b', 'a'] properties"),
        (schemas.Object(properties={"a": schemas.Number()}, required=[]), {"a": "x"}, "data.a must be number"),
        (schemas.Object(additional_properties_type=schemas.Integer()), {"z": "x"}, "data.z must be integer"),
        (
            schemas.Object(properties={"a": schemas.Number()}, additional_params={"additionalProperties": False}),
            {"a": 1, "z": 1},
            "data must not contain ['z'] properties",
        ),
    ],
)
def test_texts(schema: schemas.ApiObject, value: Any, text: str) -> None:
    with pytest.raises(ValueError) as told:
        schema.validate(value)
    assert str(told.value) == f"Schema validation failed: {text}"


def test_an_object_without_required_keys() -> None:
    schemas.Object(properties={"a": schemas.Number()}, required=[]).validate({})
    schemas.Object(properties={"a": schemas.Number()}, required=False).validate({})
    with pytest.raises(ValueError, match="needs properties"):
        schemas.Object()


def test_references() -> None:
    inner = schemas.Object("Inner.", properties={"a": schemas.Number(nullable=True)}, reference_name="Inner")
    outer = schemas.Array(item_type=inner)
    schema, references = outer.to_openapi()
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}}
    assert references["Inner"]["properties"] == {"a": {"type": "number", "nullable": True}}
    assert outer.definition()["items"]["type"] == "object"
    assert inlined(schema, references)["items"]["properties"] == {"a": {"type": ["number", "null"]}}


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        ([], "featureSchema: must be an object with a type"),
        ({"type": "text"}, "featureSchema: type must be one of object, array, string, number, integer, boolean, got 'text'"),
        ({"properties": {"a": {"type": "number", "minimum": "x"}}}, "featureSchema.properties.a: minimum must be a number, got 'x'"),
        ({"properties": {"a": {"type": "string", "pattern": "("}}}, "featureSchema.properties.a: pattern '(' is no regular expression"),
        ({"properties": [1]}, "featureSchema: properties must be an object of schemas by name"),
        ({"type": "array", "items": {"type": "number", "enum": 3}}, "featureSchema.items: enum must be a list, got 3"),
        ({"type": "number", "multipleOf": 0}, "featureSchema: multipleOf must be greater than 0, got 0"),
    ],
)
def test_a_schema_that_cannot_be_used_says_where(definition: Any, complaint: str) -> None:
    with pytest.raises(BadSchema) as told:
        schemas.of_definition(definition, "featureSchema")
    assert str(told.value).startswith(complaint)
