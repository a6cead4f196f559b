"""Tells which of three growers a wine is from: the one whose wines are nearest to it on average."""

from pathlib import Path
from typing import Any

import numpy as np

from dragoman import Field, Model, Table

INPUTS = ["alcohol", "flavanoids", "color_intensity", "proline"]


class Wine(Model):
    inputs = tuple(Field(name=name, minimum=0) for name in INPUTS)
    target = "grower"
    rows_independent = True

    def load(self, folder: Path) -> None:
        with np.load(folder / "growers.npz") as kept:
            self.means, self.scale = kept["means"], kept["scale"]

    def predict(self, table: Table) -> Any:
        return self._distances(table).argmin(axis=1)

    def explain(self, table: Table) -> Any:
        """How far each wine is from each grower's."""
        return [{"distance": [round(float(d), 6) for d in row]} for row in self._distances(table)]

    def _distances(self, table: Table) -> Any:
        wines = table.to_numpy() / self.scale
        return np.sqrt(((wines[:, None, :] - self.means / self.scale) ** 2).sum(axis=2))
