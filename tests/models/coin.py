"""Two classes: the probability of 1 is the row's own p."""

import numpy as np

import dragoman


class Coin(dragoman.Model):
    inputs = {"p": "number"}
    classes = (0, 1)
    target = "heads"
    rows_independent = True

    def predict(self, table):  # type: ignore[no-untyped-def]
        return (table.to_numpy()[:, 0] > 0.5).astype(int)

    def predict_proba(self, table):  # type: ignore[no-untyped-def]
        p = table.to_numpy()[:, 0]
        return np.stack([1 - p, p], axis=1)
