"""Writes modeldeployment.md, the reference of the spec and of the status, from the CRD: python docs/reference/generate.py"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CRD = HERE.parents[1] / "crds" / "modeldeployments.yaml"
PAGE = HERE / "modeldeployment.md"

HEAD = """# ModelDeployment

`dragoman.dev/v1alpha1`, short name `md`. Generated from [the CRD](../../crds/modeldeployments.yaml) by `python docs/reference/generate.py`;
`kubectl explain md.spec` says the same. What conditions and reasons mean is in [reasons.md](reasons.md).

`metadata.name` is a DNS label of at most 50 characters: Services are named after it. The annotation `dragoman.dev/refresh`, set to any
other value, renders a model's pods anew after an upgrade of the operator; without it they stay as they are until their spec changes.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    schema = yaml.safe_load(CRD.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    parts = [HEAD]
    for name in ("spec", "status"):
        parts += [f"\n## {name}\n\n{schema[name]['description']}\n\n| field | type | meaning |\n|---|---|---|\n"]
        parts += [f"| `{path}` | {kind} | {meaning} |\n" for path, kind, meaning in rows(schema[name], name)]
    return "".join(parts)


def rows(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, kind_of(inner) + (", required" if name in required else ""), meaning_of(inner)
        yield from rows(inner, where)
        if isinstance(inner.get("items"), dict):
            yield from rows(inner["items"], where + "[]")


def kind_of(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "additionalProperties" in schema:
        return "map"
    kind = schema.get("type", "any")
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None and most is None:
        return str(kind)
    bounds = [f"{'>' if schema.get('exclusiveMinimum') else '≥'} {least}"] if least is not None else []
    return f"{kind}, {', '.join([*bounds, *([f'≤ {most}'] if most is not None else [])])}"


def meaning_of(schema: dict[str, Any]) -> str:
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    inner = [rule["message"] for rule in (schema.get("items") or {}).get("x-kubernetes-validations", ())]
    text = " ".join([schema.get("description", ""), *(f"*{rule[0].upper()}{rule[1:]}.*" for rule in rules + inner)])
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
