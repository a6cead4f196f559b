"""A regression whose numbers are easy to check, and which explains itself by feature."""

import dragoman


class Rates(dragoman.Model):
    inputs = {"x": "number", "kind": "string"}
    target = "length"
    rows_independent = True

    def predict(self, table):  # type: ignore[no-untyped-def]
        return [2 * x + (10 if kind == "long" else 0) for x, kind in zip(*table.columns, strict=True)]

    def explain(self, table):  # type: ignore[no-untyped-def]
        return [{"x": 2 * x, "kind": -10.0 if kind == "short" else 0.0} for x, kind in zip(*table.columns, strict=True)]
