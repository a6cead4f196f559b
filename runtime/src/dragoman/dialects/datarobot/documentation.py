"""What /openapi.json says of a deployment's paths."""

from __future__ import annotations

from typing import Any

from dragoman import openapi
from dragoman.dialects.datarobot.deployment import Deployment, example_rows

_ANY: dict[str, Any] = {}
_NUMBER = {"type": ["number", "null"]}
_ERRORS = {
    400: "The request is malformed, or its rows are not what the model takes",
    401: "No credentials, or none that are known",
    406: "Accept allows neither JSON nor CSV",
    413: "The body is larger than serving.limits.maxRequestBytes",
    414: "The request line is longer than 8192 bytes",
    415: "The body's type, charset or encoding is not one that is understood here",
    422: "A parameter is wrong, or features are missing",
    429: "As many requests are in flight as serving.limits.maxConcurrency allows; retry after the time in Retry-After",
    480: "A humility rule refused the request",
    500: "The model failed",
    503: "The model is not ready",
    504: "No answer within serving.limits.timeoutSeconds",
}


def path_item(deployment: Deployment, path: str) -> dict[str, Any]:
    row = openapi.row_reference(deployment.model)
    body = {
        "application/json": {
            "schema": {"anyOf": [{"type": "array", "items": row}, row]},
            "example": example_rows(deployment.model.signature),
        },
        "text/csv": {"schema": {"type": "string", "description": "CSV with a header"}},
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
        },
    }
    replies: dict[str, Any] = {
        "200": {
            "description": "One item a row, in their order",
            "content": {"application/json": {"schema": _rows()}, "text/csv": {"schema": {"type": "string"}}},
        }
    }
    message = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}
    replies |= {str(status): openapi.reply_schema(text, message) for status, text in _ERRORS.items()}
    return {
        "post": {
            "operationId": f"datarobot_{deployment.model.name}_{path}",
            "tags": ["datarobot"],
            "summary": f"{'Predict' if path == 'predictions' else 'Predict and explain'} with {deployment.model.name}",
            "parameters": _parameters(deployment),
            "requestBody": {"required": True, "content": body},
            "responses": replies,
        }
    }


def _rows() -> dict[str, Any]:
    value = {"type": "object", "required": ["label", "value"], "properties": {"label": _ANY, "value": _NUMBER}}
    row = {
        "type": "object",
        "required": ["predictionValues", "prediction", "rowId"],
        "properties": {
            "predictionValues": {"type": "array", "items": value},
            "prediction": _ANY,
            "predictionThreshold": {"type": "number"},
            "rowId": {"type": "integer"},
            "passthroughValues": {"type": "object"},
            "predictionExplanations": {"type": "array", "items": {"type": "object"}},
        },
    }
    return {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": row}}}


def _parameters(deployment: Deployment) -> list[dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {
        "passthroughColumns": {"type": "array", "items": {"type": "string", "minLength": 1}},
        "passthroughColumnsSet": {"const": "all"},
        "maxExplanations": {"type": "integer", "minimum": 0},
        "thresholdLow": {"type": ["number", "null"]},
        "thresholdHigh": {"type": ["number", "null"]},
        "excludeAdjustedPredictions": {"type": "boolean", "default": True},
    }
    if deployment.options.time_series is not None:
        moment = {"type": "string", "format": "date-time"}
        schemas |= {"forecastPoint": moment, "predictionsStartDate": moment, "predictionsEndDate": moment}
        schemas["relaxKnownInAdvanceFeaturesCheck"] = {"type": "boolean", "default": False}
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in schemas.items()]
