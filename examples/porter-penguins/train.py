"""Trains a classifier of penguins, for the services in model/model.py."""

import shutil
from pathlib import Path

import joblib
from palmerpenguins import load_penguins
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_kg"]


def train(folder: Path = HERE) -> str:
    """Writes model.joblib into the folder's model/, beside model.py; gives that folder's digest."""
    penguins = load_penguins().dropna(subset=["bill_length_mm"])
    penguins["body_mass_kg"] = penguins["body_mass_g"] / 1000
    columns = make_column_transformer((StandardScaler(), NUMBERS), (OneHotEncoder(), ["island"]))
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    model.fit(penguins[["island", *NUMBERS]], penguins["species"])
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    if folder != HERE:
        shutil.copy(HERE / "model" / "model.py", target)
    joblib.dump(model, target / "model.joblib")
    return digest_of(target)


if __name__ == "__main__":
    print(train())
