"""MLServer with its scikit-learn runtime, in one process (parallel_workers 0); as it is, and with adaptive batching."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bench.cases import Case, outputs, tensor
from bench.contest import free_port
from bench.servers.server import VENVS, Asked, Launch, Server, folder_of, installed

# Of 0.1, 1 and 5 ms, 0.1 is its best at one connection (which always waits so long), and as good as 1 ms at 16 and 64.
_BATCHING = {"max_batch_size": 64, "max_batch_time": 0.0001}


def _launch(variant: str, batching: dict[str, Any]) -> Callable[[Case, int], Launch]:
    def launch(case: Case, workers: int) -> Launch:
        folder, port = folder_of(variant, case), free_port()
        server = {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            "metrics_dir": str(folder / "metrics"),
            "parallel_workers": 0,
            "debug": False,
        }
        model = {
            "name": case.model,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(case.path)},
        }
        (folder / "settings.json").write_text(json.dumps(server))
        (folder / "model-settings.json").write_text(json.dumps(model | batching))
        base = f"http://127.0.0.1:{port}"
        return Launch([str(VENVS / "mlserver/bin/mlserver"), "start", str(folder)], base, f"{base}/v2/models/{case.model}/ready")

    return launch


def _ask(case: Case) -> Asked | None:
    """No binary tensors over REST; objects would be a tensor a column, of another request."""
    return Asked(tensor(case, f"/v2/models/{case.model}/infer"), outputs) if case.form == "arrays" else None


SERVERS = (
    Server("mlserver", "MLServer", _launch("mlserver", {}), _ask, missing=installed("mlserver"), packages="mlserver"),
    Server(
        "mlserver-batching",
        "MLServer, batching",
        _launch("mlserver-batching", _BATCHING),
        _ask,
        missing=installed("mlserver"),
        packages="mlserver",
    ),
)
