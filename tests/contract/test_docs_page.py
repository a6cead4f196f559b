"""The docs page, in a real browser: it shows the model's operations, needs nothing from elsewhere, and its "try it" predicts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from tests.support.serving import Server, manifest, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@dataclass
class Visit:
    """An opened docs page, and all that it asked for and complained of."""

    page: Page
    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def answer(self, operation: str) -> tuple[int, Any]:
        """What "try it" of an operation gets, with the document's own example."""
        block = self.page.locator(f"#operations-{operation}")
        block.locator(".opblock-summary-control").click()
        block.locator("button.execute").click()
        reply = block.locator(".live-responses-table .response")
        reply.wait_for()
        body = reply.locator(".response-col_description pre").first.inner_text()
        return int(reply.locator(".response-col_status").inner_text()), json.loads(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("docs")
    manifest(folder, "iris", EXAMPLES / "iris/model.joblib")
    manifest(folder, "penguins", EXAMPLES / "penguins/model", model={"outputs": {"target": "species"}})
    with serving(folder, folder) as started:
        yield started


@pytest.fixture(scope="module")
def visit(server: Server) -> Iterator[Visit]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)  # its profile is a fresh folder
        found = Visit(browser.new_page())
        found.page.on("request", lambda request: found.urls.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text) if message.type == "error" else None)
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.goto(f"{server.rest}/")
        found.page.locator(".opblock").first.wait_for()
        yield found
        browser.close()


def test_the_page_shows_every_operation(visit: Visit, server: Server) -> None:
    assert visit.page.url == f"{server.rest}/docs"
    shown = visit.page.locator(".opblock-summary-path").evaluate_all("found => found.map(e => e.getAttribute('data-path'))")
    document = visit.page.request.get(f"{server.rest}/openapi.json").json()
    assert sorted(shown) == sorted(path for path, item in document["paths"].items() for _ in item)
    assert "/v1/models/penguins:predict" in shown


@pytest.mark.parametrize(
    ("operation", "key"),
    [
        ("v1-v1_iris_predict", "predictions"),
        ("v1-v1_penguins_predict", "predictions"),
        ("v2-v2_iris_infer", "outputs"),
        ("v2-v2_penguins_infer", "outputs"),
    ],
)
def test_try_it_predicts(visit: Visit, operation: str, key: str) -> None:
    status, body = visit.answer(operation)
    assert status == 200, body
    assert len(body[key]) == 1


def test_nothing_is_asked_of_another_host_and_nothing_is_missing(visit: Visit, server: Server) -> None:
    assert f"{server.rest}/openapi.json" in visit.urls
    assert [url for url in visit.urls if not url.startswith((f"{server.rest}/", "data:", "blob:"))] == []
    assert visit.complaints == []
