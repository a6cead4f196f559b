"""Trains the iris classifier: which of three species a flower is, from four lengths in centimetres."""

from __future__ import annotations

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main(folder: Path = Path(__file__).parent) -> None:
    measurements, species = load_iris(return_X_y=True, as_frame=True)
    measurements.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(measurements, species)
    target = folder / "model.joblib"
    joblib.dump(model, target)
    print(target)


if __name__ == "__main__":
    main()
