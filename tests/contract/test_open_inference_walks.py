"""The walks of docs/dialects/v1.md and v2.md: each command answers what its page says. Other pages are tested with their dialects."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.serving import Server, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("walks"), ROOT / "examples/iris/modeldeployment.yaml") as started:
        yield started


@pytest.mark.parametrize(("page", "count"), [("v1", 7), ("v2", 7)])
def test_the_walk_of_the_docs_page_works(server: Server, page: str, count: int) -> None:
    (walk,) = re.findall(r"```console\n(.*?)```", (ROOT / f"docs/dialects/{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    steps = re.findall(r"^\$ (curl .*?[^\\])\n(.*?)(?=^\$ |\Z)", walk, re.DOTALL | re.MULTILINE)
    assert len(steps) == count
    for command, answer in steps:
        asked = command.replace("http://127.0.0.1:8080", server.rest)
        done = subprocess.run(asked, shell=True, capture_output=True, text=True, timeout=30, check=True)
        expected = ".*".join(map(re.escape, answer.strip().split("…")))
        assert re.fullmatch(expected, done.stdout.strip()), done.stdout


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/iris/versions/1",
        "/v1/models/iris/versions/1:predict",
        "/v1/models/iris/labels/stable:predict",
        "/v1/models/iris/metadata",
        "/v1/models/iris:classify",
        "/v1/models/iris:regress",
        "/v2/models/iris/stats",
        "/v2/models/iris/config",
        "/v2/trace/setting",
        "/v2/logging",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
    ],
)
def test_what_the_pages_say_is_not_here_is_a_404(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        reply = httpx.request(method, server.rest + path, json={"instances": [[5.1, 3.5, 1.4, 0.2]]})
        assert reply.status_code == 404
        assert set(reply.json()) == {"error"}


def test_columns_are_answered_as_rows_are(server: Server) -> None:
    columns = {"sepal_length": [5.1, 6.0], "sepal_width": [3.5, 3.0], "petal_length": [1.4, 5.0], "petal_width": [0.2, 1.8]}
    assert httpx.post(f"{server.rest}/v1/models/iris:predict", json={"inputs": columns}).json() == {"predictions": [0, 2]}


@pytest.mark.parametrize("content_type", ["str", "base64", "datetime"])
def test_other_content_types_than_np_and_pd_are_passed_over(server: Server, content_type: str) -> None:
    tensor = {
        "name": "input",
        "shape": [1, 4],
        "datatype": "FP64",
        "data": [5.1, 3.5, 1.4, 0.2],
        "parameters": {"content_type": content_type},
    }
    reply = httpx.post(f"{server.rest}/v2/models/iris/infer", json={"inputs": [tensor]})
    assert reply.json()["outputs"][0]["data"] == [0]
