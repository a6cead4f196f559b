"""xgboost's and lightgbm's own contributions (TreeSHAP; exact for gblinear), without the column of the bias."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.errors import BadRequest
from dragoman.predictors.arguments import refuse_arguments
from dragoman.predictors.explaining import Asked
from dragoman.predictors.explanations.derived import Derived
from dragoman.predictors.explanations.pieces import Pieces
from dragoman.table import Array

MOST_ROWS = 250  # at once: TreeSHAP takes a hundred times a predict and more, and only between two pieces can it be given up

Contributions = Callable[[Any], Array]  # the rows → (rows, columns + 1), or (rows, classes, columns + 1)


@dataclass(frozen=True, eq=False)
class BoosterExplainer:
    """In units of the raw score: log-odds, or the value before the objective's inverse link.

    With the bias they add up to the raw score. Of several classes it is that of the highest, which is the class predicted.
    """

    contributions: Contributions
    derived: Derived
    classes: int  # 1 for a regression and for two classes
    pieces: Pieces

    def __call__(self, asked: Asked) -> Array:
        """`InvalidInput` for arguments, and for rows that a step refuses; `BadRequest` for a model of several targets."""
        refuse_arguments("explain", asked.arguments)
        explained = np.empty((asked.table.rows, self.derived.inputs))
        width = self.classes * (len(self.derived.origins) + 1)
        for start, stop in self.pieces.of(asked.table.rows, width, MOST_ROWS):
            given = np.asarray(self.contributions(self.derived(asked.table.slice(start, stop))), dtype=np.float64)
            if given.ndim == 3:
                given = given[np.arange(len(given)), given.sum(axis=2).argmax(axis=1)]
            explained[start:stop] = self.derived.summed(given[:, :-1])
        return explained


def of_xgboost(booster: Any, *, threads: int, missing: float = np.nan, rounds: int = 0) -> Contributions:
    """`rounds` are the first that count, as early stopping found; 0: all."""

    def contributions(rows: Any) -> Array:
        import xgboost

        matrix = xgboost.DMatrix(rows, missing=missing, nthread=threads, enable_categorical=True)
        given: Array = booster.predict(matrix, pred_contribs=True, validate_features=False, iteration_range=(0, rounds))
        if given.ndim == 3 and _targets(booster) > 1:
            raise BadRequest(f"the model answers {_targets(booster)} values a row, and an explanation is of one")
        return given

    return contributions


def _targets(booster: Any) -> int:
    learner = json.loads(booster.save_config())["learner"]["learner_model_param"]
    return int(learner.get("num_target", "1"))


def of_lightgbm(predict: Callable[..., Any], classes: int) -> Contributions:
    """`predict` is a Booster's, or a wrapper's: both pass pred_contrib on."""

    def contributions(rows: Any) -> Array:
        dense = rows.toarray() if hasattr(rows, "toarray") else rows  # sparse rows would be answered by a matrix a class
        given: Array = np.asarray(predict(dense, pred_contrib=True))
        return given.reshape(len(given), classes, -1) if classes > 1 else given

    return contributions
