"""`dragoman compile` and what it writes, over every example that it can compile: served without the library that trained it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.serving import Server, manifest, run, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
COMPILED = {
    "iris": ("onnx", ("sklearn", "pandas", "joblib")),
    "breast-cancer": ("treelite", ("sklearn", "pandas", "xgboost")),
    "diabetes": ("treelite", ("sklearn", "pandas", "joblib")),
    "penguins": ("onnx+treelite", ("sklearn", "pandas", "joblib")),
}
FALL_BACK = {
    "digits": "only models of scikit-learn, xgboost and lightgbm are compiled",
    "wine": "only models of scikit-learn, xgboost and lightgbm are compiled",
    "turnover": "only models of scikit-learn, xgboost and lightgbm are compiled",
    "porter-penguins": "only models of scikit-learn, xgboost and lightgbm are compiled",
    "seldon-iris": "only models of scikit-learn, xgboost and lightgbm are compiled",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("compiled")
    made = {}
    for name in COMPILED:
        made[name] = root / name
        done = run(root, "compile", EXAMPLES / name / "modeldeployment.yaml", "--output", made[name])
        assert done.returncode == 0, done.stderr
        assert f"serve it: dragoman serve {made[name]}" in done.stdout
    return made


@pytest.fixture(scope="module")
def both(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """The originals, and the compiled ones."""
    root = tmp_path_factory.mktemp("both")
    dialects: dict[str, dict[str, str]] = {"v1": {}, "v2": {}, "datarobot": {}}
    originals = [EXAMPLES / name / "modeldeployment.yaml" for name in COMPILED]
    compiled = [manifest(root, name, str(folder), serving={"dialects": dialects}) for name, folder in folders.items()]
    with serving(root, *originals) as before, serving(root, *compiled) as after:
        yield before, after


def example_of(name: str, server: Server) -> dict[str, Any]:
    document = httpx.get(f"{server.rest}/openapi.json", timeout=20).json()
    instances = document["paths"][f"/v1/models/{name}:predict"]["post"]["requestBody"]["content"]["application/json"]["example"][
        "instances"
    ]
    row: dict[str, Any] = instances[0]
    return row


@pytest.mark.parametrize("name", COMPILED)
def test_the_same_request_has_the_same_answer(both: tuple[Server, Server], name: str) -> None:
    before, after = both
    row = example_of(name, before)
    assert example_of(name, after) == row
    rows = [row] + [{key: value * 1.3 if isinstance(value, float) else value for key, value in row.items()}] * 2
    expected, answered = before.predict(name, rows), after.predict(name, rows)
    assert answered.status_code == expected.status_code == 200
    for one, other in zip(answered.json()["predictions"], expected.json()["predictions"], strict=True):
        assert one == (other if isinstance(other, str) else pytest.approx(other, rel=1e-12))


@pytest.mark.parametrize("name", COMPILED)
def test_the_training_library_is_never_imported(both: tuple[Server, Server], name: str) -> None:
    """Its shared objects would be mapped into the processes that load and answer."""
    _, after = both
    after.predict(name, [example_of(name, after)])
    pids = [after.process.pid, *after.worker_pids()]
    mapped = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    for library in COMPILED[name][1]:
        assert f"site-packages/{library}/" not in mapped
    status = next(m for m in after.status()["models"] if m["name"] == name)
    assert status["format"] == "compiled"


def test_bad_rows_are_refused_as_by_the_original(both: tuple[Server, Server]) -> None:
    before, after = both
    for row in ([1, 2, 3], ["wide", 2, 3, 4], [None, 2, 3, 4], [1e400, 2, 3, 4]):
        body = json.dumps({"instances": [row]}).replace("Infinity", "1e400")
        replies = [
            httpx.post(f"{s.rest}/v1/models/iris:predict", content=body, headers={"content-type": "application/json"})
            for s in (before, after)
        ]
        assert [r.status_code for r in replies] == [400, 400]
        assert replies[0].json() == replies[1].json()


def test_missing_words_and_numbers_are_answered_as_by_the_original(both: tuple[Server, Server]) -> None:
    row = example_of("penguins", both[0])
    rows = [{**row, "sex": None}, {**row, "bill_length_mm": None}, {**row, "island": "Atlantis"}]
    expected, answered = (server.predict("penguins", rows) for server in both)
    assert answered.status_code == expected.status_code == 200
    assert answered.json() == expected.json()


def test_a_dialect_with_rules_of_its_own_finds_its_columns(both: tuple[Server, Server]) -> None:
    _, after = both
    row = example_of("iris", after)
    backwards = dict(reversed(row.items()))
    reply = httpx.post(f"{after.rest}/predApi/v1.0/deployments/iris/predictions", json=[backwards], timeout=20)
    assert reply.status_code == 200
    species = ("setosa", "versicolor", "virginica")[after.predict("iris", [row]).json()["predictions"][0]]
    assert reply.json()["data"][0]["prediction"] == species  # as the manifest that it was compiled from names them


def test_contributions_are_told_of_a_compiled_model_too(both: tuple[Server, Server]) -> None:
    _, after = both
    row = example_of("iris", after)
    reply = httpx.post(f"{after.rest}/v1/models/iris:explain", json={"instances": [row]}, timeout=30)
    assert reply.status_code == 200
    assert set(reply.json()["explanations"][0]) == set(row)


@pytest.mark.parametrize("name", FALL_BACK)
def test_an_example_that_cannot_be_compiled_says_why(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, "compile", EXAMPLES / name / "modeldeployment.yaml", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("NotCompiled: ")
    assert FALL_BACK[name] in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == []


def test_what_somebody_else_put_there_is_not_overwritten(tmp_path: Path, folders: dict[str, Path]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    done = run(tmp_path, "compile", EXAMPLES / "iris" / "model.joblib", "--output", tmp_path / "out")
    assert done.returncode == 10
    assert "holds thesis.tex, which is none of a compiled model's files" in done.stderr
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_it_writes_over_what_it_wrote_before(tmp_path: Path) -> None:
    for name in ("iris", "diabetes"):
        done = run(tmp_path, "compile", EXAMPLES / name / "modeldeployment.yaml", "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compiled.json", "model.treelite", "program.json"]


def test_it_is_pinned_and_checked_as_any_model(tmp_path: Path, folders: dict[str, Path]) -> None:
    digest = run(tmp_path, "digest", folders["iris"]).stdout.strip()
    (tmp_path / "rows.csv").write_text("sepal_length,sepal_width,petal_length,petal_width\n5.1,3.5,1.4,0.2\n")
    pinned = manifest(tmp_path, "iris", str(folders["iris"]), model={"digest": digest})
    done = run(tmp_path, "predict", pinned, "--input", tmp_path / "rows.csv", "--code-formats", "Deny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["prediction", "0"]
