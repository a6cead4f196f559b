"""Linear models, exactly: coefficient times (value - reference mean), summed over the columns that were made of an input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dragoman.predictors.arguments import refuse_arguments
from dragoman.predictors.explaining import Asked
from dragoman.predictors.explanations.background import Background
from dragoman.predictors.explanations.derived import Derived
from dragoman.predictors.explanations.pieces import Pieces
from dragoman.table import Array

MOST_ROWS = 100_000  # at once


@dataclass(frozen=True, eq=False)
class LinearExplainer:
    """In units of the decision function (log-odds, of a logistic regression) or of the value.

    The contributions to a row and the score at the reference add up to the row's score. The reference is the background sample's mean,
    column by column as the linear model sees them; without a sample zero there, which is the training data's mean after a StandardScaler.
    """

    model: Any  # has coef_ and intercept_
    derived: Derived
    background: Background
    pieces: Pieces

    def __call__(self, asked: Asked) -> Array:
        """`InvalidInput` for arguments, and for rows that a step refuses."""
        refuse_arguments("explain", asked.arguments)
        explained = np.empty((asked.table.rows, self.derived.inputs))
        for start, stop in self.pieces.of(asked.table.rows, self._weights.shape[1], MOST_ROWS):
            columns = self.derived.dense(asked.table.slice(start, stop))
            weights = self._weights if len(self._weights) == 1 else self._weights[self._predicted(columns)]
            explained[start:stop] = self.derived.summed((columns - self._reference) * weights)
        return explained

    def _predicted(self, columns: Array) -> Array:
        """The class of the highest score, which is how scikit-learn's linear classifiers predict."""
        scores = columns @ self._weights.T + np.asarray(self.model.intercept_, dtype=np.float64)
        return np.asarray(scores.argmax(axis=1))

    @cached_property
    def _weights(self) -> Array:
        """(1, columns), or (classes, columns) for more than two."""
        weights = self.model.coef_
        return np.atleast_2d(np.asarray(weights.toarray() if hasattr(weights, "toarray") else weights, dtype=np.float64))

    @cached_property
    def _reference(self) -> Array:
        if not self.background.sample:
            return np.zeros(self._weights.shape[1])
        return np.asarray(self.derived.dense(self.background.table).mean(axis=0))
