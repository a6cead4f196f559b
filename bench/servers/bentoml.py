"""BentoML: a service with one endpoint that takes an array (apps/bentoml_app.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.cases import Case, instances
from bench.contest import free_port
from bench.servers.server import APPS, VENVS, Asked, Launch, Server, installed


def _launch(case: Case, workers: int) -> Launch:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [str(VENVS / "bentoml/bin/bentoml"), "serve", "bentoml_app:Predictor", "--working-dir", str(APPS)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api-workers", str(workers)]
    environment = {
        "BENCH_MODEL": str(case.path),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(VENVS / "bentoml/home"),
        "PYTHONPATH": str(APPS),
    }
    return Launch(command, base, base + "/readyz", environment)


def _read(body: bytes, head: Mapping[str, str]) -> list[Any]:
    found: list[Any] = json.loads(body)
    return found


def _ask(case: Case) -> Asked | None:
    return Asked(instances(case, "/predict"), _read) if case.form == "arrays" else None


SERVERS = (Server("bentoml", "BentoML", _launch, _ask, missing=installed("bentoml"), packages="bentoml"),)
