"""The mlup API in OpenAPI."""

from __future__ import annotations

from typing import Any

from dragoman import openapi
from dragoman.dialects.dialect import Model
from dragoman.dialects.mlup.requests import Layout, example_of, required_of
from dragoman.mlup_options import Column, Mlup

_DETAIL = {
    "type": "object",
    "required": ["loc", "msg", "type"],
    "properties": {
        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
        "msg": {"type": "string"},
        "type": {"type": "string"},
    },
}
_ERROR = {
    "type": "object",
    "required": ["detail", "predict_id"],
    "properties": {"detail": {"type": "array", "items": _DETAIL}, "predict_id": {"type": ["string", "null"]}},
}
_REFUSALS = {
    "408": "No result within ttl_client_wait",
    "413": "The body is larger than serving.limits.maxRequestBytes",
    "415": "The body's encoding is not one that is understood here",
    "422": "The body, a row or a field is not what the model takes",
    "429": "Too many requests, or too many rows in one",
    "500": "The model failed, the rows could not be transformed, or the queue is full",
    "503": "The model is not ready, or the result store does not answer",
}
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "list": "array"}


def paths(model: Model, options: Mlup, layout: Layout) -> dict[str, Any]:
    ok = {"200": openapi.reply_schema("It is there", {"type": "object"})}
    found = {
        "/health": {method: _operation(f"{method}_health", "Whether the server answers", ok) for method in ("get", "head", "options")},
        "/info": {"get": _operation("info", "What is served here", ok)},
        "/predict": {"post": _predict(model, options, layout)},
    }
    if options.is_long_predict:
        found["/get-predict/{predict_id}"] = {"get": _get_predict(model, options)}
    return found


def _operation(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": f"mlup_{name}", "tags": ["mlup"], "summary": summary, "responses": responses}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: openapi.reply_schema(_REFUSALS[status], _ERROR) for status in statuses}


def _predict(model: Model, options: Mlup, layout: Layout) -> dict[str, Any]:
    properties: dict[str, Any] = {layout.rows: {"type": "array", "items": _row(model, options)}}
    for parameter in layout.others:
        properties[parameter.name] = {} if parameter.type is None else {"type": _TYPES[parameter.type]}
    schema = {"type": "object", "required": [layout.rows, *required_of(layout.others)], "properties": properties}
    result = _accepted() if options.is_long_predict else _result(model, options)
    responses = {"200": openapi.reply_schema("One item a row, or where to fetch them", result), **_errors(*_REFUSALS)}
    return _operation("predict", f"Predict with {model.name}", responses) | {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example_of(model, options)}}}
    }


def _get_predict(model: Model, options: Mlup) -> dict[str, Any]:
    parameter = {"name": "predict_id", "in": "path", "required": True, "schema": {"type": "string"}}
    result = openapi.reply_schema("The result", _values(model, options) if options.compatibility else _result(model, options))
    return _operation("get_predict", "The result of an earlier predict", {"200": result, **_errors("408", "429", "500", "503")}) | {
        "parameters": [parameter]
    }


def _row(model: Model, options: Mlup) -> dict[str, Any]:
    if options.column_validation:
        required = [column.name for column in options.columns if column.required and column.default is None]
        return {"type": "object", "required": required, "properties": {c.name: _column(c) for c in options.columns}}
    return {"anyOf": [openapi.row_reference(model), openapi.values_schema(model.signature)]}


def _column(column: Column) -> dict[str, Any]:
    return {"type": _TYPES[column.type]} | ({} if column.default is None else {"default": column.default})


def _values(model: Model, options: Mlup) -> dict[str, Any]:
    if options.data_transformer_for_predicted == "pandas":
        return {"type": "array", "items": {"type": "object"}}
    return openapi.outputs_schema(model.signature, options.predict_method_name)


def _result(model: Model, options: Mlup) -> dict[str, Any]:
    return {"type": "object", "required": ["predict_result"], "properties": {"predict_result": _values(model, options)}}


def _accepted() -> dict[str, Any]:
    identity = {"type": "string", "format": "uuid"}
    inner = {"type": "object", "required": ["predict_id"], "properties": {"predict_id": identity}}
    return {"type": "object", "required": ["predict_id", "predict_result"], "properties": {"predict_id": identity, "predict_result": inner}}
