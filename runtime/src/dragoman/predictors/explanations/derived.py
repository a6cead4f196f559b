"""The columns that the last step of a pipeline sees, and what they say of the inputs that they were made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dragoman.predictors.estimator import refusal
from dragoman.predictors.feed import Feed
from dragoman.table import Array, Table


@dataclass(frozen=True, eq=False)
class Derived:
    """Each column is made of one input: `origins` has, for each, the input's place in the signature."""

    feed: Feed
    steps: tuple[Any, ...]  # fitted transformers, in their order
    origins: Array  # shape (columns,)
    inputs: int

    def __call__(self, table: Table) -> Any:
        """The rows as the last step takes them: an array, a sparse matrix or a frame. `InvalidInput` where a step refuses them."""
        rows = self.feed(table)
        try:
            with np.errstate(all="ignore"):
                for step in self.steps:
                    rows = step.transform(rows)
        except ValueError as error:
            raise refusal(error) or error from error
        return rows

    def dense(self, table: Table) -> Array:
        """float64 of shape (rows, columns)."""
        rows = self(table)
        return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)

    def summed(self, contributions: Array) -> Array:
        """(rows, columns) to (rows, inputs): what the columns of one input contribute together; 0 for an input that no column is of."""
        order, starts, used = self._groups
        summed = np.zeros((len(contributions), self.inputs))
        if len(used):
            summed[:, used] = np.add.reduceat(contributions[:, order], starts, axis=1)
        return summed

    @cached_property
    def _groups(self) -> tuple[Array, Array, Array]:
        order = np.argsort(self.origins, kind="stable")
        used, starts = np.unique(self.origins[order], return_index=True)
        return order, starts, used
