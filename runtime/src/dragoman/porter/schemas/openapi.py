"""What a service takes and gives, as the operations of an OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.porter.schemas.vocabulary import ApiObject, Definition


@dataclass(frozen=True)
class RequestSchema:
    """The body of a method's requests."""

    api_obj: ApiObject
    description: str | None = None

    def to_openapi(self) -> tuple[Definition, dict[str, Definition]]:
        """The part of an operation, and the definitions that it refers to."""
        schema, references = self.api_obj.to_openapi()
        body: Definition = {"required": True, "content": {"application/json": {"schema": schema}}}
        if self.description is not None:
            body["description"] = self.description
        return {"requestBody": body}, references


@dataclass(frozen=True)
class ResponseSchema:
    """The body of a method's replies of one status."""

    api_obj: ApiObject
    status_code: int
    description: str | None = None

    def to_openapi(self) -> tuple[Definition, dict[str, Definition]]:
        """One of an operation's replies, by its status, and the definitions that it refers to."""
        schema, references = self.api_obj.to_openapi()
        reply = {"description": self.description or _MEANS.get(self.status_code, ""), "content": {"application/json": {"schema": schema}}}
        return {str(self.status_code): reply}, references


def path_item(
    requests: Mapping[str, RequestSchema], responses: Mapping[str, Sequence[ResponseSchema]], tags: Sequence[str]
) -> tuple[Definition, dict[str, Definition]]:
    """The operations of one path, by method, and the definitions that they refer to."""
    item: Definition = {}
    references: dict[str, Definition] = {}
    for method in dict.fromkeys([*requests, *responses]):
        operation: Definition = {"tags": list(tags)}
        if method in requests:
            part, found = requests[method].to_openapi()
            operation |= part
            references |= found
        replies: Definition = {}
        for response in responses.get(method, ()):
            part, found = response.to_openapi()
            replies |= part
            references |= found
        item[method.lower()] = operation | {"responses": replies or {"200": {"description": _MEANS[200]}}}
    return item, references


def document(title: str, description: str, version: str, paths: Mapping[str, Definition], schemas: Mapping[str, Definition]) -> Definition:
    """OpenAPI 3.0: the version that knows `nullable`."""
    return {
        "openapi": "3.0.3",
        "info": {"title": title, "description": description, "version": version},
        "paths": dict(paths),
        "components": {"schemas": dict(schemas)},
    }


def inlined(part: Any, schemas: Mapping[str, Definition]) -> Any:
    """A part of such a document as OpenAPI 3.1 has it, without references: for a document that others write too."""
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str):
            return inlined(schemas[reference.rpartition("/")[2]], schemas)
        made = {key: inlined(value, schemas) for key, value in part.items() if key != "nullable"}
        if part.get("nullable") is True and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
        return made
    if isinstance(part, list | tuple):
        return [inlined(one, schemas) for one in part]
    return part


_MEANS = {
    200: "It is answered",
    400: "The body is not valid JSON",
    415: "The body's encoding is not one that is understood here",
    422: "The body is not what the service takes",
    500: "The model failed",
    503: "A service is not ready",
}
