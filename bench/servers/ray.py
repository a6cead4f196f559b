"""Ray Serve: one deployment behind its HTTP proxy, Ray's own processes beside it (apps/ray_app.py)."""

from __future__ import annotations

from bench.cases import Case, instances, predictions
from bench.contest import free_port
from bench.servers.server import APPS, Asked, Launch, Server, installed, python_of

_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_SERVE_LOG_TO_STDERR": "0"}


def _launch(case: Case, workers: int) -> Launch:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [python_of("ray"), str(APPS / "ray_app.py"), str(case.path), str(port), str(workers)]
    return Launch(command, base, base + "/predict/-/healthz", _ENVIRONMENT)


def _ask(case: Case) -> Asked | None:
    return Asked(instances(case, "/predict"), predictions) if case.form == "arrays" else None


SERVERS = (Server("ray", "Ray Serve", _launch, _ask, missing=installed("ray"), packages="ray"),)
