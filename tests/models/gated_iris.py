"""The iris model of $IRIS_MODEL, with a gate before it: writes down each call in $GATED_HOME/calls, and waits while `closed` exists."""

import json
import os
import time
from pathlib import Path

import joblib
import pandas as pd

import dragoman


class GatedIris(dragoman.Model):
    inputs = {"sepal_length": "number", "sepal_width": "number", "petal_length": "number", "petal_width": "number"}
    rows_independent = True

    def load(self, folder):  # type: ignore[no-untyped-def]
        self.model = joblib.load(os.environ["IRIS_MODEL"])

    def predict(self, X):  # type: ignore[no-untyped-def]
        return self.model.predict(self.passed("predict", X))

    def predict_proba(self, X):  # type: ignore[no-untyped-def]
        return self.model.predict_proba(self.passed("predict_proba", X))

    def passed(self, method: str, X: dragoman.Table) -> pd.DataFrame:
        home, rows = Path(os.environ["GATED_HOME"]), X.to_numpy()
        with (home / "calls").open("a") as calls:
            calls.write(json.dumps([method, len(rows)]) + "\n")
        time.sleep(0.02)  # never fast enough to be called on the event loop
        while (home / "closed").exists():
            time.sleep(0.01)
        return pd.DataFrame(rows, columns=list(self.inputs))
