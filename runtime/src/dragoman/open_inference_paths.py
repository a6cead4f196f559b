"""The Open Inference Protocol (v2) over REST in OpenAPI: its path items for the server and for each model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman import openapi
from dragoman.dialects.dialect import Model
from dragoman.readings import described_inputs, described_outputs, example_tensors
from dragoman.tensors import DATATYPES, values_of

_READY = {"type": "object", "required": ["ready"], "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}}
_TENSORS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        },
    },
}


def _get(operation: str, summary: str, responses: Mapping[str, Any]) -> dict[str, Any]:
    return {"get": {"operationId": f"v2_{operation}", "tags": ["v2"], "summary": summary, "responses": dict(responses)}}


SERVER_PATHS: dict[str, Any] = {
    "/v2": _get(
        "server",
        "The server's name, version and extensions",
        {
            "200": openapi.reply_schema(
                "The server",
                {
                    "type": "object",
                    "required": ["name", "version", "extensions"],
                    "properties": {
                        "name": {"type": "string"},
                        "version": {"type": "string"},
                        "extensions": {"type": "array", "items": {"type": "string"}},
                    },
                },
            )
        },
    ),
    "/v2/health/live": _get(
        "live",
        "Whether the server is up",
        {"200": openapi.reply_schema("It is", {"type": "object", "required": ["live"], "properties": {"live": {"type": "boolean"}}})},
    ),
    "/v2/health/ready": _get(
        "ready",
        "Whether the server can be asked",
        {"200": openapi.reply_schema("It can", _READY), "503": openapi.reply_schema("Not yet", _READY)},
    ),
    "/v2/repository/index": {
        "post": {
            "operationId": "v2_index",
            "tags": ["v2"],
            "summary": "The models, and what has become of each",
            "requestBody": {
                "content": {"application/json": {"schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}}, "example": {}}}
            },
            "responses": {
                "200": openapi.reply_schema(
                    "One entry a model",
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name", "state", "reason"],
                            "properties": {
                                "name": {"type": "string"},
                                "version": {"type": "string"},
                                "state": {"enum": ["READY", "LOADING", "UNAVAILABLE"]},
                                "reason": {"type": "string"},
                            },
                        },
                    },
                ),
                **openapi.error_replies((400, 413, 415)),
            },
        }
    },
}


def example_request(model: Model) -> dict[str, Any]:
    """An inference request with the signature's example row."""
    tensors = example_tensors(model.signature)
    return {"inputs": [{"name": t.name, "shape": t.shape, "datatype": t.datatype, "data": values_of(t)} for t in tensors]}


def model_paths(model: Model) -> Mapping[str, Any]:
    """Metadata, readiness and inference of one model."""
    path = f"/v2/models/{model.name}"
    metadata = {
        "type": "object",
        "required": ["name", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": _TENSORS,
            "outputs": _TENSORS,
        },
    }
    return {
        path: _get(
            f"{model.name}_metadata",
            f"What {model.name} takes and gives, as tensors",
            {"200": openapi.reply_schema("Its tensors", metadata), **openapi.error_replies((404, 503))},
        ),
        f"{path}/ready": _get(
            f"{model.name}_ready",
            f"Whether {model.name} is ready",
            {
                "200": openapi.reply_schema("It is", _READY),
                "503": openapi.reply_schema("It is not", _READY),
                **openapi.error_replies((404,)),
            },
        ),
        f"{path}/infer": {"post": _infer_operation(model)},
    }


def _infer_operation(model: Model) -> Mapping[str, Any]:
    signature = model.signature
    fields = [f"`{field.name}` ({field.type}{', may be null' if field.nullable else ''})" for field in signature.inputs]
    features = "The features, in order: " + ", ".join(fields) + "." if fields else "The model does not say what its features are."
    parameters = {"type": "object"}
    names = [d["name"] for d in described_inputs(signature)] + [f.name for f in signature.inputs]
    element: dict[str, Any] = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "examples": list(dict.fromkeys(names))[:20]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "datatype": {"enum": list(DATATYPES)},
            "parameters": parameters,
            "data": {"type": "array", "description": "Row-major, flat or nested; left out where the bytes come after the JSON"},
        },
    }
    outputs = [d["name"] for d in described_outputs(signature)]
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": outputs} if outputs else {"type": "string"}, "parameters": parameters},
    }
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": {"type": "array", "items": element, "minItems": 1},
            "outputs": {"type": "array", "items": output},
        },
    }
    answer = {
        "type": "object",
        "properties": element["properties"] | {"name": {"type": "string"}},
        "required": ["name", "shape", "datatype"],
    }
    reply = {
        "type": "object",
        "required": ["model_name", "id", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": parameters,
            "outputs": {"type": "array", "items": answer},
        },
    }
    return {
        "operationId": f"v2_{model.name}_infer",
        "tags": ["v2"],
        "summary": f"Predict with {model.name}",
        "description": f"One tensor of all features, of shape (rows, features), or one a feature, of shape (rows) or (rows, 1). {features}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request, "example": example_request(model)}}},
        "responses": {"200": openapi.reply_schema("One tensor an output", reply), **openapi.error_replies(openapi.PREDICT_ERRORS)},
    }
