"""Raises while it loads."""

import dragoman


class RaisesLoading(dragoman.Model):
    inputs = {"a": "number"}

    def load(self, folder):  # type: ignore[no-untyped-def]
        raise ValueError("the weights are for another shape")

    def predict(self, table):  # type: ignore[no-untyped-def]
        return table.to_numpy()[:, 0]
