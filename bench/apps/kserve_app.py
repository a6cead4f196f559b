"""A scikit-learn model in KServe's model server: what its sklearnserver does, with KServe's own reading and writing of payloads.

Runs in KServe's environment. Logging of each request is off, as for all servers here.
"""

import argparse
import logging
from typing import Any

import joblib
from kserve import Model, ModelServer, model_server
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnModel(Model):  # type: ignore[misc]  # untyped here: KServe is in an environment of its own
    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        self.model = joblib.load(file)
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        return get_predict_response(payload, self.model.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--model_file", required=True)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    ModelServer(
        http_port=options.http_port,
        workers=options.workers,
        enable_grpc=options.enable_grpc,
        enable_latency_logging=options.enable_latency_logging,
    ).start([SklearnModel(options.model_name, options.model_file)])
