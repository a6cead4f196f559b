"""/openapi.json: OpenAPI 3.1 for the served models, with each model's own fields and an example that works."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dragoman import __version__, json
from dragoman.dialects.dialect import Model, Surface
from dragoman.signature import Field, Signature, example_of

Schema = dict[str, Any]

_ERRORS = {
    400: "The request is malformed, or its rows are not what the model takes",
    401: "No token, or none that is accepted here",
    403: "Not allowed, or not switched on",
    404: "No such model, version or path",
    413: "The body is larger than serving.limits.maxRequestBytes",
    415: "The body's encoding is not one that is understood here",
    429: "As many requests are in flight as serving.limits.maxConcurrency allows; retry after the time in Retry-After",
    500: "The model failed",
    503: "The model is not ready",
    504: "No answer within serving.limits.timeoutSeconds",
}
PREDICT_ERRORS = (400, 404, 413, 415, 429, 500, 503, 504)


def openapi_document(models: Sequence[Model], surfaces: Sequence[Surface], *, guarded: bool = False) -> bytes:
    """The whole document, as JSON. Its schemas have each model's rows as `<model>.row`, for the dialects' path items to refer to.

    `guarded`: tokens are configured, and what is not health asks for one.
    """
    schemas: Schema = {"Error": ERROR_SCHEMA}
    for model in models:
        schemas[f"{model.name}.row"] = row_schema(model.signature)
    paths: Schema = {}
    for surface in surfaces:  # in order of precedence: of a method on a path that several own, the first's
        for path, item in surface.openapi.items():
            paths[path] = {**item, **paths.get(path, {})}
    document = {
        "openapi": "3.1.0",
        "info": {"title": ", ".join(m.name for m in models) or "Dragoman", "version": __version__, "description": _description(models)},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if guarded:
        document["components"] = {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"token": []}]
        document["paths"] = _with_security(paths, {a.path for surface in surfaces for a in surface.answers if not a.guarded})
    return json.encode(document)


def _with_security(paths: Mapping[str, Any], health: Collection[str]) -> Schema:
    """Each operation with its 401; those of health with no need of a token."""
    refused = {"401": {"description": _ERRORS[401]}}
    return {
        path: {
            method: operation | ({"security": []} if path in health else {"responses": refused | operation["responses"]})
            for method, operation in item.items()
        }
        for path, item in paths.items()
    }


ERROR_SCHEMA: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What is wrong, where, and what would mend it"}},
}


def row_reference(model: Model) -> Schema:
    return {"$ref": f"#/components/schemas/{model.name}.row"}


def row_schema(signature: Signature) -> Schema:
    """A row as an object: the model's fields by name. Anything, where nothing is known of them."""
    if not signature.inputs:
        return {"type": "object", "description": "The model does not say what its inputs are"}
    schema: Schema = {
        "type": "object",
        "properties": {field.name: field_schema(field) for field in signature.inputs},
        "required": [field.name for field in signature.inputs if field.required],
        "examples": [signature.example_row()],
    }
    if signature.extra_columns == "refuse":
        schema["additionalProperties"] = False
    return schema


def values_schema(signature: Signature) -> Schema:
    """A row as a list: the same fields by position."""
    if not signature.inputs:
        return {"type": "array"}
    width = len(signature.inputs)
    fields = [field_schema(field) | {"title": field.name} for field in signature.inputs]
    return {"type": "array", "prefixItems": fields, "minItems": width, "maxItems": width}


def field_schema(field: Field) -> Schema:
    """One input of a model: its type, bounds, choices, whether null is taken, and an example."""
    schema: Schema = {"type": [field.type, "null"] if field.nullable else field.type}
    if field.minimum is not None:
        schema["minimum"] = field.minimum
    if field.maximum is not None:
        schema["maximum"] = field.maximum
    if field.enum:
        schema["enum"] = [*field.enum, None] if field.nullable else list(field.enum)
    schema["examples"] = [example_of(field)]
    return schema


def outputs_schema(signature: Signature, name: str) -> Schema:
    """What one output holds for all rows: a list with one item a row."""
    output = next((o for o in signature.outputs if o.name == name), None)
    if output is None or output.type == "object":
        return {"type": "array"}
    value: Schema = {"type": [output.type, "null"] if output.type == "number" else output.type}
    if output.width is None:
        return {"type": "array", "items": value}
    row: Schema = {"type": "array", "items": value}
    if output.width >= 0:
        row |= {"minItems": output.width, "maxItems": output.width}
    return {"type": "array", "items": row}


def reply_schema(description: str, schema: Schema) -> Schema:
    """A response object with a JSON body."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def error_replies(statuses: Sequence[int]) -> Mapping[str, Schema]:
    """Response objects for these statuses, each `{"error": "<text>"}`."""
    return {str(status): reply_schema(_ERRORS[status], {"$ref": "#/components/schemas/Error"}) for status in statuses}


def _description(models: Sequence[Model]) -> str:
    lines = [f"- **{m.name}** ({m.format or 'not loaded'}{', version ' + m.version if m.version else ''})" for m in models]
    return "\n".join(["One model, every prediction API. Served here:", "", *lines])
