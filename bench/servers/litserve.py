"""LitServe (apps/litserve_app.py)."""

from __future__ import annotations

from bench.cases import Case, instances, predictions
from bench.contest import free_port
from bench.servers.server import APPS, Asked, Launch, Server, installed, python_of


def _launch(case: Case, workers: int) -> Launch:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [python_of("litserve"), str(APPS / "litserve_app.py"), str(case.path), str(port), str(workers)]
    return Launch(command, base, base + "/health")


def _ask(case: Case) -> Asked | None:
    return Asked(instances(case, "/predict"), predictions) if case.form == "arrays" else None


SERVERS = (Server("litserve", "LitServe", _launch, _ask, missing=installed("litserve"), packages="litserve"),)
