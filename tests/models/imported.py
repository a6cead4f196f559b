"""Answers with what its process has imported: packages, by name, a line of text for each row."""

import sys

import dragoman


class Imported(dragoman.Model):
    inputs = {"x": "number"}
    target = "packages"
    rows_independent = True

    def predict(self, table):  # type: ignore[no-untyped-def]
        return [" ".join(sorted({name.partition(".")[0] for name in sys.modules}))] * table.rows
