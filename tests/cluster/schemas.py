"""The API server's own description of its kinds, as JSON schemas for kubeconform: none is downloaded, none is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUANTITIES = ("io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString")


def write_schemas(openapi: dict[str, Any], folder: Path) -> None:
    """One file a kind, in lower case, as kubeconform's {{.ResourceKind}} is; `openapi` is what /openapi/v2 answers.

    Where a kind is in several groups (Event), the last one wins: none such is rendered.
    """
    definitions = {name: _strict(schema) for name, schema in openapi["definitions"].items()}
    for name in QUANTITIES:
        definitions[name] = {"oneOf": [{"type": "string"}, {"type": "number"}]}
    (folder / "definitions.json").write_text(json.dumps({"definitions": definitions}), encoding="utf-8")
    for name, schema in openapi["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            if not kind["kind"].endswith(("List", "Options")):
                reference = {"$ref": f"definitions.json#/definitions/{name}"}
                (folder / f"{kind['kind'].lower()}.json").write_text(json.dumps(reference), encoding="utf-8")


def _strict(schema: Any) -> Any:
    """With no fields but those that are named."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(part) for name, part in schema.items()}
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made
