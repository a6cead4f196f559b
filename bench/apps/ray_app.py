"""A scikit-learn model in Ray Serve: python ray_app.py MODEL PORT REPLICAS. Runs in Ray's environment."""

# mypy: disable-error-code="untyped-decorator, misc"

import signal
import sys
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve

MODEL, PORT, REPLICAS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


@serve.deployment(num_replicas=REPLICAS, ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=100)
class Predictor:
    def __init__(self, file: str) -> None:
        self.model = joblib.load(file)

    async def __call__(self, request: Any) -> dict[str, Any]:
        if request.method == "GET":
            return {"ready": True}
        rows = np.asarray((await request.json())["instances"])
        return {"predictions": self.model.predict(rows).tolist()}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT, "location": "HeadOnly"}, logging_config={"enable_access_log": False})
    serve.run(Predictor.bind(MODEL), route_prefix="/predict")  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()
