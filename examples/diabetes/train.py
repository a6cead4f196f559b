"""Trains a regression: how far diabetes will have progressed after a year, from ten measurements (already centred and scaled)."""

from pathlib import Path

from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor

import dragoman

HERE = Path(__file__).parent


def train(folder: Path = HERE) -> str:
    """Writes the folder model/ into the folder; gives its digest."""
    patients, progression = load_diabetes(return_X_y=True, as_frame=True)
    model = HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(patients, progression)
    return dragoman.save(model, folder / "model", example=patients, name="diabetes")


if __name__ == "__main__":
    print(train())
