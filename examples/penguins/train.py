"""Trains a classifier of penguins from strings and numbers, some of them missing."""

from pathlib import Path

from palmerpenguins import load_penguins
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import dragoman

HERE = Path(__file__).parent
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]


def train(folder: Path = HERE) -> str:
    """Writes the folder model/ into the folder; gives its digest."""
    penguins = load_penguins()
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), WORDS),
    )
    model = make_pipeline(columns, RandomForestClassifier(n_estimators=50, random_state=0))
    model.fit(penguins[WORDS + NUMBERS], penguins["species"])
    return dragoman.save(model, folder / "model", example=penguins[WORDS + NUMBERS], name="penguins")


if __name__ == "__main__":
    print(train())
