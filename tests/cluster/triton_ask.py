"""NVIDIA's client of the Open Inference Protocol, over REST and over gRPC, as a process of its own: gRPC's threads stay in the
network in which the first channel was opened, so a test's own process cannot do it.

`python triton_ask.py HOST MODEL < rows.json` prints {"http": {output: values}, "grpc": {output: values}}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

OUTPUTS = ("predict", "predict_proba")


def ask(library: Any, address: str, model: str, rows: np.ndarray[Any, Any]) -> dict[str, Any]:
    client = library.InferenceServerClient(address)
    try:
        given = library.InferInput("input", list(rows.shape), "FP64")
        given.set_data_from_numpy(rows)
        answer = client.infer(model, [given], outputs=[library.InferRequestedOutput(name) for name in OUTPUTS])
        return {name: answer.as_numpy(name).tolist() for name in OUTPUTS}
    finally:
        client.close()


if __name__ == "__main__":
    host, model = sys.argv[1:]
    rows = np.array(json.load(sys.stdin), dtype=np.float64)
    print(json.dumps({"http": ask(over_http, f"{host}:8080", model, rows), "grpc": ask(over_grpc, f"{host}:9000", model, rows)}))
