"""A scikit-learn model in LitServe: python litserve_app.py MODEL PORT WORKERS. Runs in LitServe's environment."""

import sys
from typing import Any

import joblib
import litserve
import numpy as np


class Predictor(litserve.LitAPI):  # type: ignore[misc]  # untyped here: LitServe is in an environment of its own
    def setup(self, device: str) -> None:
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]  # LitServe takes an annotation for the body's schema
        return np.asarray(request["instances"])

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Predictor(), accelerator="cpu", workers_per_device=int(sys.argv[3]))
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, log_level="warning", access_log=False, generate_client_file=False
    )
