"""Rows that a service takes: for its docs, and to try it before it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.porter.description import Service
from dragoman.signature import Signature, example_of


def example_rows(service: Service, signature: Signature) -> Any:
    """What a request of the docs holds."""
    schema = service.request_schema or service.operations.get("post", {}).get("requestBody")
    row: dict[str, Any] = {"id": 1}
    if schema is not None and "content" in schema:
        schema = schema["content"]["application/json"]["schema"]
    definition = _row_definition(schema or {}, service.definitions)
    for name, one in definition.get("properties", {}).items():
        if name != "id":
            row[name] = _example(one, service.definitions)
    if signature.inputs:
        row |= {field.name: example_of(field) for field in signature.inputs if service.features is None or field.name in service.features}
    return row if service.single else [row]


def _row_definition(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = _resolved(schema, definitions)
    return _resolved(schema.get("items", {}), definitions) if schema.get("type") == "array" else schema


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    found: Mapping[str, Any] = schema if reference is None else definitions[reference.rpartition("/")[2]]
    return found


def _example(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, definitions)
    if "example" in schema:
        return schema["example"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind in ("number", "integer"):
        return schema.get("minimum", min(0, schema.get("maximum", 0)))
    if kind == "object":
        return {name: _example(one, definitions) for name, one in schema.get("properties", {}).items()}
    return {"string": "text", "boolean": True, "array": []}.get(str(kind))
