"""The v1 protocol: `{"instances": […]}` in, `{"predictions": […]}` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from dragoman import json, openapi
from dragoman.call import EXPLAIN, PREDICT, Call, Prediction
from dragoman.dialects.dialect import Answer, Model, Predict, Reply, Request, Surface, curl, error_reply
from dragoman.errors import BadRequest, CallError, NotFound
from dragoman.json_matrix import matrix_in
from dragoman.table import Table, column_of, kind_of


class V1:
    """`/v1/models`, `/v1/models/{model}`, `/v1/models/{model}:predict` and `:explain`."""

    name = option = "v1"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        served = [model for model, _ in models]
        names = tuple(model.name for model in served)
        listing = json.encode({"models": names})
        answers = [Answer("/v1/models", lambda request: Reply(200, listing))]
        predicts = []
        for model in served:
            answers.append(Answer(_path(model), _state(model), model=model))
            predicts.append(Predict(f"{_path(model)}:predict", model, _decode_predict, _encode_predict))
            predicts.append(Predict(f"{_path(model)}:explain", model, _decode_explain, partial(_encode_explain, model)))
        paths = {path: item for model in served for path, item in _openapi(model).items()}
        return Surface(predicts, answers, prefixes=("/v1",), not_found=_not_found(names), openapi=_LISTING_PATH | paths)

    def error(self, error: CallError, request: Request) -> Reply:
        return error_reply(error)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        return curl(f"{base_url}{_path(model)}:predict", _example_request(model))


def _path(model: Model) -> str:
    return f"/v1/models/{model.name}"


def _state(model: Model) -> Callable[[Request], Reply]:
    """Whether the model can be asked: 503 while it cannot, with the same body."""
    ready = Reply(200, json.encode({"name": model.name, "ready": True}))
    unready = Reply(503, json.encode({"name": model.name, "ready": False}))
    return lambda request: ready if model.ready else unready


def _not_found(names: Sequence[str]) -> Callable[[Request], CallError]:
    def why(request: Request) -> CallError:
        name, _, verb = request.path.removeprefix("/v1/models/").partition(":")
        if not request.path.startswith("/v1/models/") or "/" in name:
            return NotFound(
                f"nothing is served at {request.path}; v1 has /v1/models, /v1/models/{{model}}, /v1/models/{{model}}:predict and :explain"
            )
        if name not in names:
            return NotFound(f"model {name!r} is not served here; it serves {', '.join(names)}")
        return NotFound(f"model {name!r} has :predict and :explain, not {':' + verb!r}")

    return why


# --- requests ----------------------------------------------------------------------------------------------------


def _decode_predict(request: Request) -> Call:
    return Call(_table(request.body), (PREDICT,))


def _decode_explain(request: Request) -> Call:
    return Call(_table(request.body), (PREDICT, EXPLAIN))


def _table(body: bytes) -> Table:
    matrix = matrix_in(body)
    if matrix is not None:
        return Table.of_array(matrix)
    document = json.decode(body)
    if type(document) is not dict:
        raise BadRequest(f"the body must be an object with 'instances' or 'inputs', got {kind_of(document)}")
    if not isinstance(document.get("signature_name", ""), str | None):
        raise BadRequest(f"'signature_name' must be a string, got {kind_of(document['signature_name'])}")
    if "instances" in document:
        if "inputs" in document:
            raise BadRequest("the body has both 'instances' and 'inputs', it may have one")
        rows = document["instances"]
        if type(rows) is not list:
            raise BadRequest(f"'instances' must be a list of rows, got {kind_of(rows)}")
        return Table.of_rows(rows)
    if "inputs" not in document:
        raise BadRequest("the body has neither 'instances', a list of rows, nor 'inputs', columns by name")
    inputs = document["inputs"]
    if type(inputs) is list:
        return Table.of_rows(inputs)
    if type(inputs) is dict:
        return _columns(inputs)
    raise BadRequest(f"'inputs' must be an object of columns or a list of rows, got {kind_of(inputs)}")


def _columns(inputs: Mapping[str, Any]) -> Table:
    """`{"age": [31, 40], "city": ["Bern", "Rome"]}`, a column also as `[[31], [40]]`."""
    columns, rows, first = {}, 0, None
    for name, values in inputs.items():
        if type(values) is not list:
            raise BadRequest(f"'inputs': column {name!r} must be a list, got {kind_of(values)}")
        if first is None:
            first, rows = name, len(values)
        elif len(values) != rows:
            raise BadRequest(f"'inputs': column {name!r} has {len(values)} values, {first!r} has {rows}")
        if values and all(type(value) is list and len(value) == 1 for value in values):
            values = [value[0] for value in values]
        for i, value in enumerate(values):
            if isinstance(value, list | dict):
                raise BadRequest(f"'inputs': column {name!r}, row {i} must be a single value, got {kind_of(value)}")
        columns[name] = column_of(values)
    if first is None:
        raise BadRequest("'inputs' has no column")
    return Table.of_columns(columns)


# --- replies -----------------------------------------------------------------------------------------------------


def _encode_predict(request: Request, call: Call, prediction: Prediction) -> Reply:
    return Reply(200, json.encode({"predictions": json.writable(prediction.outputs[PREDICT])}))


def _encode_explain(model: Model, request: Request, call: Call, prediction: Prediction) -> Reply:
    predictions, explanations = (json.writable(prediction.outputs[name]) for name in (PREDICT, EXPLAIN))
    if _attributed(model):
        names = [field.name for field in model.signature.inputs]
        explanations = [dict(zip(names, row, strict=True)) for row in prediction.outputs[EXPLAIN].tolist()]
    return Reply(200, json.encode({"predictions": predictions, "explanations": explanations}))


def _attributed(model: Model) -> str | None:
    """How, where the explanations are the runtime's: a contribution of each input. The model's own are given as they are."""
    return next((output.how for output in model.signature.outputs if output.name == EXPLAIN), None)


# --- documentation -----------------------------------------------------------------------------------------------

_LISTING_PATH: dict[str, Any] = {
    "/v1/models": {
        "get": {
            "operationId": "v1_models",
            "tags": ["v1"],
            "summary": "The models served here",
            "responses": {
                "200": openapi.reply_schema(
                    "Their names",
                    {"type": "object", "required": ["models"], "properties": {"models": {"type": "array", "items": {"type": "string"}}}},
                )
            },
        }
    }
}


def _example_request(model: Model) -> dict[str, Any]:
    signature = model.signature
    row = signature.example_row()
    return {"instances": [row if signature.named and row else list(row.values()) or [0.0]]}


def _openapi(model: Model) -> Mapping[str, Any]:
    state = {"type": "object", "required": ["name", "ready"], "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}}
    item: dict[str, Any] = {
        _path(model): {
            "get": {
                "operationId": f"v1_{model.name}_state",
                "tags": ["v1"],
                "summary": f"Whether {model.name} is ready",
                "responses": {
                    "200": openapi.reply_schema("It is", state),
                    "404": openapi.error_replies((404,))["404"],
                    "503": openapi.reply_schema("It is not", state),
                },
            }
        }
    }
    predictions = {"predictions": openapi.outputs_schema(model.signature, PREDICT)}
    item[f"{_path(model)}:predict"] = _operation(model, "predict", predictions)
    if any(output.name == EXPLAIN for output in model.signature.outputs):
        item[f"{_path(model)}:explain"] = _operation(model, "explain", predictions | {"explanations": _explanations_schema(model)})
    return item


def _explanations_schema(model: Model) -> dict[str, Any]:
    how = _attributed(model)
    if how is None:
        return openapi.outputs_schema(model.signature, EXPLAIN)
    names = [field.name for field in model.signature.inputs]
    row = {"type": "object", "required": names, "properties": {name: {"type": ["number", "null"]} for name in names}}
    return {"type": "array", "items": row, "description": f"What each input contributed to the row's answer: {how}"}


def _operation(model: Model, verb: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    signature = model.signature
    rows = [{"type": "array", "items": openapi.row_reference(model)}, {"type": "array", "items": openapi.values_schema(signature)}]
    if len(signature.inputs) == 1:
        rows.append({"type": "array", "items": openapi.field_schema(signature.inputs[0])})
    columns = {field.name: {"type": "array", "items": openapi.field_schema(field)} for field in signature.inputs}
    request = {
        "type": "object",
        "properties": {
            "instances": {"anyOf": rows, "description": "Rows, as objects or as lists in the order of the model's inputs"},
            "inputs": {"anyOf": [{"type": "object", "properties": columns}, *rows], "description": "Columns by name, or rows"},
            "signature_name": {"type": "string", "description": "Accepted for clients that send it; not used"},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    }
    reply = {"type": "object", "required": list(properties), "properties": dict(properties)}
    return {
        "post": {
            "operationId": f"v1_{model.name}_{verb}",
            "tags": ["v1"],
            "summary": f"{verb.capitalize()} with {model.name}",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": request, "example": _example_request(model)}},
            },
            "responses": {"200": openapi.reply_schema("One item a row", reply), **openapi.error_replies(openapi.PREDICT_ERRORS)},
        }
    }
