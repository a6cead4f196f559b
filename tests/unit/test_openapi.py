"""/openapi.json: valid OpenAPI 3.1, with each model's own fields, and examples that work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import numpy as np
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import Prediction
from dragoman.check import Checker
from dragoman.dialect_options import Dialects
from dragoman.dialects import DIALECTS
from dragoman.dialects import OPTIONS as SWITCHES
from dragoman.dialects.dialect import Predict, Request
from dragoman.errors import BadRequest
from dragoman.openapi import field_schema, openapi_document, outputs_schema, row_schema
from dragoman.signature import Field, Output, Signature

EXPLAINED = ServedAs("explained", signature=Signature((Field("x"),), (Output("predict"), Output("explain", width=1))))
POSITIONAL = ServedAs("positional", signature=Signature((Field("f0"), Field("f1")), (Output("predict"),), named=False))
UNKNOWN = ServedAs("unknown")
UNLOADED = ServedAs("unloaded", version="", format="", state="Failed", reason="ModelLoadFailed: no")
MODELS = (IRIS, PENGUINS, EXPLAINED, POSITIONAL, UNKNOWN, UNLOADED)
OPTIONS: dict[str, msgspec.Struct] = msgspec.convert({dialect.option: {} for dialect in DIALECTS.values()}, Dialects).enabled()
JSON = {"content-type": "application/json"}
JSON_APIS = ("v1", "v2", "v2_grpc", "certifai")  # the requests of which their schemas describe whole
SURFACES = {name: DIALECTS[name].surface([(model, OPTIONS[DIALECTS[name].option]) for model in MODELS]) for name in JSON_APIS}
DOCUMENT: dict[str, Any] = json.loads(openapi_document(MODELS, list(SURFACES.values())))
PREDICTS = {p.path: p for surface in SURFACES.values() for p in surface.predicts}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def resolved(schema: Any) -> Any:
    """With the document's components beside it, so that references resolve."""
    return schema | {"components": DOCUMENT["components"]}


def request_schema(path: str) -> Any:
    return resolved(DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])


def accepts(predict: Predict, body: Any) -> bool:
    """Whether the dialect and the signature's check take a body."""
    try:
        Checker(predict.model.signature)(predict.decode(Request("POST", predict.path, JSON, json.dumps(body).encode())).table)
    except BadRequest:
        return False
    return True


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    OPENAPI_31_VALIDATOR.validate(DOCUMENT)


def test_what_switches_a_dialect_on_is_known_without_importing_it() -> None:
    assert {name: dialect.option for name, dialect in DIALECTS.items()} == dict(SWITCHES)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_api_is_documented_in_valid_openapi(name: str) -> None:
    dialect = DIALECTS[name]
    for guarded in (False, True):
        document = json.loads(openapi_document([IRIS], [dialect.surface([(IRIS, OPTIONS[dialect.option])])], guarded=guarded))
        OPENAPI_31_VALIDATOR.validate(document)


def test_every_schema_is_a_json_schema_whose_references_resolve() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator(resolved(schema))
    for _, _, operation in operations():
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in contents:
            for media in content.get("content", {}).values():
                jsonschema_rs.Draft202012Validator(resolved(media["schema"]))


def test_operations_are_named_once_each() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert {"v1_iris_predict", "v1_explained_explain", "v2_penguins_infer"} <= set(names)
    assert "v1_iris_explain" not in names


def test_every_path_that_is_documented_is_there() -> None:
    there = {(p.path, p.method) for p in PREDICTS.values()}
    there |= {(a.path, a.method) for surface in SURFACES.values() for a in surface.answers}
    assert {(path, method.upper()) for path, method, _ in operations()} <= there


def test_predicting_operations_document_every_error() -> None:
    for path, method, operation in operations():
        if path in PREDICTS and method == "post":
            assert set(operation["responses"]) == {"200", "400", "404", "413", "415", "429", "500", "503", "504"}
            for status, response in operation["responses"].items():
                if status != "200" and operation["tags"] != ["certifai"]:  # which has a shape of its own
                    assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize("path", [p for p, m, o in operations() if m == "post" and p in PREDICTS])
def test_every_example_is_valid_and_works(path: str) -> None:
    predict = PREDICTS[path]
    example = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    jsonschema_rs.Draft202012Validator(request_schema(path)).validate(example)
    assert accepts(predict, example)


@pytest.mark.parametrize(
    ("instances", "valid"),
    [
        ([{"island": "Dream", "bill_length": 39.1, "year": 2007}], True),
        ([["Dream", None, 2007], ["Biscoe", 1, 2008]], True),
        ([{"island": "Dream", "bill_length": None, "year": 2007}], True),
        ([{"island": "Elsewhere", "bill_length": 39.1, "year": 2007}], False),
        ([{"island": "Dream", "bill_length": -1, "year": 2007}], False),
        ([{"island": "Dream", "bill_length": 39.1, "year": 2007.5}], False),
        ([{"island": "Dream", "bill_length": 39.1, "year": None}], False),
        ([{"island": "Dream", "bill_length": 39.1}], False),
        ([{"island": "Dream", "bill_length": 39.1, "year": 2007, "more": 1}], False),
        ([["Dream", 39.1]], False),
        ([["Dream", 39.1, 2007, 1]], False),
        ([{"island": "Dream", "bill_length": 39.1, "year": 2007}, ["Dream", 39.1, 2007]], False),
        ({"island": "Dream"}, False),
    ],
)
def test_schema_and_server_agree_on_rows(instances: Any, valid: bool) -> None:
    path = "/v1/models/penguins:predict"
    body = {"instances": instances}
    assert jsonschema_rs.Draft202012Validator(request_schema(path)).is_valid(body) is valid
    assert accepts(PREDICTS[path], body) is valid


@pytest.mark.parametrize(
    ("path", "outputs"),
    [
        ("/v1/models/iris:predict", {"predict": np.array([0, 2])}),
        ("/v1/models/penguins:predict", {"predict": np.array(["Adelie", "Gentoo"], dtype=object)}),
        ("/v1/models/explained:explain", {"predict": np.array([0.5, np.nan]), "explain": np.array([[1.0], [2.0]])}),
        ("/v2/models/iris/infer", {"predict": np.array([0, 2])}),
    ],
)
def test_replies_are_as_documented(path: str, outputs: dict[str, Any]) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    request = Request("POST", path, {}, json.dumps(example).encode())
    call = PREDICTS[path].decode(request)
    reply = PREDICTS[path].encode(request, call, Prediction(outputs, 2))
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema_rs.Draft202012Validator(resolved(schema)).validate(json.loads(reply.body))


def test_a_field_says_all_that_is_checked() -> None:
    field = Field("age", "integer", minimum=0, maximum=120, enum=(1, 2), nullable=True)
    assert field_schema(field) == {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": 120,
        "enum": [1, 2, None],
        "examples": [1],
    }
    assert field_schema(Field("name", "string")) == {"type": "string", "examples": ["text"]}


def test_a_row_says_which_fields_may_be_left_out_and_whether_others_may_come() -> None:
    fields = (Field("a"), Field("b", required=False, nullable=True))
    assert row_schema(Signature(fields))["required"] == ["a"]
    assert row_schema(Signature(fields))["additionalProperties"] is False
    assert "additionalProperties" not in row_schema(Signature(fields, extra_columns="ignore"))


def test_outputs_have_their_width() -> None:
    outputs = (Output("p", width=3), Output("q", "string"), Output("r", width=-1), Output("s", "object"))
    signature = Signature(outputs=outputs)
    number = {"type": ["number", "null"]}
    assert outputs_schema(signature, "p") == {"type": "array", "items": {"type": "array", "items": number, "minItems": 3, "maxItems": 3}}
    assert outputs_schema(signature, "q") == {"type": "array", "items": {"type": "string"}}
    assert outputs_schema(signature, "r") == {"type": "array", "items": {"type": "array", "items": number}}
    assert outputs_schema(signature, "s") == outputs_schema(signature, "none") == {"type": "array"}
