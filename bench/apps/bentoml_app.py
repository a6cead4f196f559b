"""A scikit-learn model as a BentoML service. Runs in BentoML's environment."""

# mypy: disable-error-code="untyped-decorator, misc"

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Predictor:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api
    def predict(self, instances: np.ndarray) -> np.ndarray:  # BentoML reads the annotation
        answers: np.ndarray = self.model.predict(instances)
        return answers
