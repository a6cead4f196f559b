"""A model whose rows depend on each other."""

import dragoman


class Centred(dragoman.Model):
    inputs = {"a": "number", "b": "number"}

    def predict(self, table):  # type: ignore[no-untyped-def]
        rows = table.to_numpy()
        return (rows - rows.mean(axis=0)).sum(axis=1)
