"""Whatever a client makes of /openapi.json, right or wrong: the server answers as the document says, and never with a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.support.serving import Server, manifest, serving

NAMES = ("iris", "penguins")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    manifest(folder, "iris", EXAMPLES / "iris/model.joblib")
    manifest(folder, "penguins", EXAMPLES / "penguins/model", model={"outputs": {"target": "species"}})
    with serving(folder, folder) as started:
        yield started
        assert started.metric("dragoman_worker_restarts_total") == 0


@pytest.fixture(scope="module")
def api(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.rest}/openapi.json")


OPERATIONS = [
    "GET /v1/models",
    *(
        f"{operation} /v1/models/{name}{verb}"
        for name in NAMES
        for operation, verb in (("GET", ""), ("POST", ":predict"), ("POST", ":explain"))
    ),
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "POST /v2/repository/index",
    *(f"{operation} /v2/models/{name}{verb}" for name in NAMES for operation, verb in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))),
]


def test_every_operation_is_tried(api: Any) -> None:
    assert sorted(operation.ok().label for operation in api.get_all_operations()) == sorted(OPERATIONS)


# What no schema can say: that a tensor's shape and its values fit each other, that columns are of one length.
UNSAID: list[Any] = [positive_data_acceptance]
MODES = [(o, m) for o in OPERATIONS for m in GenerationMode if o.startswith("POST") or m is GenerationMode.POSITIVE]


@pytest.mark.parametrize(("operation", "mode"), MODES)
def test_no_request_fails_the_server(api: Any, operation: str, mode: GenerationMode) -> None:
    method, path = operation.split()

    @given(case=api[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=80 if method == "POST" else 2,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def tried(case: Any) -> None:
        case.call_and_validate(timeout=20, excluded_checks=UNSAID)

    tried()
