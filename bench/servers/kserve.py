"""KServe's own model server around the few lines of its scikit-learn server, which is not on PyPI (apps/kserve_app.py)."""

from __future__ import annotations

import json

from bench.cases import Case, binary_outputs, binary_tensor, instances, predictions
from bench.contest import free_port
from bench.servers.server import APPS, Asked, Launch, Server, installed, python_of
from bench.wrk import Question


def _launch(case: Case, workers: int) -> Launch:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    options = ["--model_name", case.model, "--http_port", str(port), "--enable_grpc", "false", "--enable_latency_logging", "false"]
    command = [python_of("kserve"), str(APPS / "kserve_app.py"), "--model_file", str(case.path), "--workers", str(workers), *options]
    return Launch(command, base, f"{base}/v2/models/{case.model}/ready")


def _ask(case: Case) -> Asked:
    path = f"/v1/models/{case.model}:predict"
    if case.form == "binary":
        return Asked(binary_tensor(case, f"/v2/models/{case.model}/infer"), binary_outputs)
    if case.form == "objects":  # it makes a frame of each instance: a list of rows
        rows = [[row] for row in case.table.to_dict("records")]
        return Asked(Question(path, json.dumps({"instances": rows}).encode()), predictions)
    return Asked(instances(case, path), predictions)


SERVERS = (Server("kserve", "KServe", _launch, _ask, missing=installed("kserve"), packages="kserve"),)
