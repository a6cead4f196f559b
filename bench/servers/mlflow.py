"""MLflow: `mlflow models serve` of a folder that MLflow saved of the same model (apps/mlflow_folder.py)."""

from __future__ import annotations

import json
import os
import subprocess

from bench.cases import Case, instances, predictions
from bench.contest import free_port
from bench.servers.server import APPS, VENVS, Asked, Launch, Server, folder_of, installed, python_of
from bench.wrk import Question

_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def _launch(case: Case, workers: int) -> Launch:
    folder, port = folder_of("mlflow", case) / "model", free_port()
    base = f"http://127.0.0.1:{port}"
    environment = _ENVIRONMENT | {"PATH": f"{VENVS / 'mlflow/bin'}:{os.environ['PATH']}"}  # it starts uvicorn by its name
    if not (folder / "MLmodel").exists():
        made = [python_of("mlflow"), str(APPS / "mlflow_folder.py"), str(case.path), str(folder)]
        subprocess.run(made, env=os.environ | environment, check=True, capture_output=True)
    command = [str(VENVS / "mlflow/bin/mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local"]
    return Launch([*command, "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)], base, base + "/ping", environment)


def _ask(case: Case) -> Asked | None:
    if case.form == "objects":
        return Asked(Question("/invocations", json.dumps({"dataframe_records": case.table.to_dict("records")}).encode()), predictions)
    return Asked(instances(case, "/invocations"), predictions) if case.form == "arrays" else None


SERVERS = (Server("mlflow", "MLflow", _launch, _ask, missing=installed("mlflow"), packages="mlflow"),)
