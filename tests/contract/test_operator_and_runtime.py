"""What operator and runtime tell each other, though neither imports the other: reasons, exit codes, reports, variables, manifests."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import msgspec
import typer.main
from tests.unit.test_operator_build import CASES, deployment_of

from dragoman import manifest
from dragoman.cli import app
from dragoman.errors import ServeError
from dragoman.status import Failure, ModelStatus, ServerStatus, WorkerStatus
from dragoman_operator.errors import PASSING, Reason
from dragoman_operator.plan import desired
from dragoman_operator.pods import EXIT_CODES, STATES, reason_of
from dragoman_operator.report import parse
from dragoman_operator.revision import choose

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_every_reason_of_the_runtime_is_in_the_vocabulary_with_its_exit_code() -> None:
    assert {kind.exit_code: kind.reason for kind in ServeError.__subclasses__()} == {
        code: str(reason) for code, reason in EXIT_CODES.items()
    }
    for kind in ServeError.__subclasses__():
        assert reason_of(kind.reason) == kind.reason


def test_what_the_runtime_calls_transient_does_not_stall() -> None:
    assert {kind.reason for kind in ServeError.__subclasses__() if kind.transient} <= PASSING


def test_the_operator_understands_what_the_runtime_reports() -> None:
    server = ServerStatus(
        version="1",
        revision="r",
        models=[ModelStatus(name="iris", uri="s3://m", state="Fetching", bytes=3, total_bytes=10, digest="sha256:00", format="sklearn")],
        workers=[WorkerStatus(index=0, last_exit=Failure("OutOfMemory", "killed"))],
    )
    report = parse(json.dumps(server.report()).encode())
    assert report is not None
    model = report.model
    assert (report.phase, report.ready) == ("Fetching", False)
    assert (model.state, model.bytes, model.total_bytes, model.digest, model.format) == ("Fetching", 3, 10, "sha256:00", "sklearn")
    assert report.workers[0].last_exit is not None
    assert report.workers[0].last_exit.reason == Reason.OUT_OF_MEMORY
    server.models[0].fail(ServeError("it failed"))
    failed = parse(json.dumps(server.report()).encode())
    assert failed is not None
    assert failed.model.failure is not None
    assert failed.model.failure.message == "it failed"


def test_states_are_the_same() -> None:
    assert set(STATES) == set(manifest.State.__args__)  # type: ignore[attr-defined]


def test_every_variable_that_the_operator_sets_is_read_by_the_runtime() -> None:
    serve: Any = typer.main.get_command(app)
    known = {option.envvar for option in serve.commands["serve"].params} | {"DRAGOMAN_REVISION"}
    for spec, settings in CASES.values():
        container = choose(deployment_of(spec), (), None, settings).template["spec"]["containers"][0]
        assert {one["name"] for one in container["env"] if one["name"].startswith("DRAGOMAN_")} <= known
        assert container["command"][:2] == ["dragoman", "serve"]


def test_the_manifest_in_the_config_map_is_one_that_the_runtime_serves() -> None:
    for spec, settings in CASES.values():
        md = deployment_of(spec)
        (config_map,) = [one for one in desired(md, choose(md, (), None, settings), settings) if one["kind"] == "ConfigMap"]
        found = manifest.parse(msgspec.yaml.decode(config_map["data"]["modeldeployment.yaml"]))
        assert found.name == md.name
        assert (found.spec.model.digest or "") == md.model.digest
        if md.claim is not None:
            assert found.spec.model.uri == f"/mnt/model/{md.claim[1]}"


def test_every_reason_is_documented_with_whether_it_stalls() -> None:
    rows = [line.split("|")[1:-1] for line in (DOCS / "reasons.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = {row[0].strip(" `"): row[1].strip() for row in rows if len(row) == 4}
    assert set(told) == set(Reason)
    assert {name for name, stalled in told.items() if stalled == "yes"} == {
        str(r) for r in Reason if r not in PASSING and told[r] not in ("", "no")
    }
    assert all(told[reason] == "no" for reason in PASSING)


def test_the_reference_is_what_the_crd_says() -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    assert (DOCS / "modeldeployment.md").read_text(encoding="utf-8") == generate["page"](), "run: python docs/reference/generate.py"
