"""Makes what the chart holds of other files: the CRD's copy, its README's table of values. `make chart` runs it; `--check` only looks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
CHART = REPOSITORY / "charts" / "dragoman"
BEGIN, END = "<!-- values: made by `make chart` from values.yaml -->\n", "<!-- end of values -->\n"


@dataclass(frozen=True)
class Value:
    """One value of values.yaml: its path (operator.replicas), its default, and the comment above it."""

    path: str
    default: object
    comment: str


def values(text: str) -> Iterator[Value]:
    """Every value that has a comment, in order: the `#` lines right above its key. Comments before an empty line are nobody's."""
    yield from _below(yaml.compose(text), text.splitlines(), "")


def _below(node: yaml.Node | None, lines: list[str], prefix: str) -> Iterator[Value]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        comment = _comment_above(lines, key.start_mark.line)
        if comment:
            yield Value(path, yaml.safe_load(yaml.serialize(value)), comment)
        else:
            yield from _below(value, lines, f"{path}.")


def _comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(found)


def table(text: str) -> str:
    rows = [f"| `{value.path}` | `{json.dumps(value.default)}` | {_cell(value.comment)} |\n" for value in values(text)]
    return "| value | default | what |\n|---|---|---|\n" + "".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def readme(text: str, table_of_values: str) -> str:
    """A README with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table_of_values}\n{END}{after}"


def wanted() -> dict[Path, str]:
    """What each made file should hold."""
    page = CHART / "README.md"
    return {
        CHART / "files" / "modeldeployments.yaml": (REPOSITORY / "crds" / "modeldeployments.yaml").read_text(encoding="utf-8"),
        page: readme(page.read_text(encoding="utf-8"), table((CHART / "values.yaml").read_text(encoding="utf-8"))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where something is not as it would be made")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in wanted().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path, text in stale:
        if check:
            sys.stderr.write(f"{path.relative_to(REPOSITORY)} is not what `make chart` makes of its source\n")
        else:
            path.write_text(text, encoding="utf-8")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
