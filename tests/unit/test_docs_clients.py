"""What the docs say of prediction APIs and clients can be followed: pages, sections, links, and the tests that show it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from dragoman.dialect_options import Dialects

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "docs/clients.md"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/dialects").glob("*.md")])
NAMES = Dialects.__struct_fields__


def test_there_is_a_page_for_each_dialect_and_no_other() -> None:
    assert {page.stem for page in (ROOT / "docs/dialects").glob("*.md")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_dialects_page_says_what_is_spoken_its_options_where_it_differs_and_who_comes_from_where(name: str) -> None:
    text = (ROOT / f"docs/dialects/{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert {"A walk", "Errors", "Where it differs, and why"} <= set(headings)
    assert any(heading.startswith("Coming from ") for heading in headings)
    options = Dialects.__annotations__[name].split(" |")[0]
    assert "Options" in headings or (options in ("V1", "V2") and "No options." in text)


@pytest.mark.parametrize("name", NAMES)
def test_a_dialects_page_names_every_option(name: str) -> None:
    text = (ROOT / f"docs/dialects/{name}.md").read_text(encoding="utf-8")
    (of_dialect,) = (field for field in msgspec.structs.fields(Dialects) if field.name == name)
    assert [option for option in options_in(of_dialect.type) if not re.search(rf"\b{option}\b", text)] == []


def options_in(type_: Any) -> Iterator[str]:
    """The names of a struct's fields, and of those of the structs in it, as a manifest has them."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        for field in msgspec.structs.fields(type_):
            yield field.encode_name
            yield from options_in(field.type)
    for inner in get_args(type_):
        yield from options_in(inner)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_the_source_map_and_the_table_of_clients_lead_to_each_page(name: str) -> None:
    for page, link in (("README.md", "docs/dialects"), ("docs/architecture.md", "dialects"), ("docs/clients.md", "dialects")):
        assert f"({link}/{name}.md)" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_each_client_is_shown_to_work_or_said_not_to_be() -> None:
    table = CLIENTS.read_text(encoding="utf-8").partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert {len(row) for row in rows} == {4}
    clients = [row for row in rows if not row[0].startswith("**")]
    assert len(clients) > 15
    for client, _, change, shown in clients:
        assert shown.startswith("untested") or "`tests/" in shown or "does not work" in change, client
    assert {name for name in NAMES if any(re.search(rf"\b{name}\b", row[1]) for row in clients)} == set(NAMES)


def test_the_tests_that_the_table_names_are_there() -> None:
    named = re.findall(r"`((?:tests/\S+?\.py)?)(?:::(\w+))?`", CLIENTS.read_text(encoding="utf-8"))
    file, count = "", 0
    for path, function in named:
        file = path or file
        if not path and not function:
            continue
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        assert tests
        assert not function or function in tests, f"{file}::{function}"
        count += 1
    assert count > 20
