"""Trains the iris classifier: which of three species a flower is, from four lengths in centimetres."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent


def train(folder: Path = HERE) -> str:
    """Writes model.joblib to the folder; gives its digest."""
    measurements, species = load_iris(return_X_y=True, as_frame=True)
    measurements.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(measurements, species)
    joblib.dump(model, folder / "model.joblib")
    return digest_of(folder / "model.joblib")


if __name__ == "__main__":
    print(train())
