"""The predictor of scikit-learn estimators and of boosters in scikit-learn's shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dragoman.errors import InvalidInput
from dragoman.predictors.arguments import refuse_unknown_arguments
from dragoman.predictors.feed import Feed
from dragoman.signature import Signature
from dragoman.table import Table

# What scikit-learn says of rows that it cannot take: the caller's to mend, and not the server's.
_ABOUT_THE_ROWS = re.compile(
    r"Input (X )?contains (infinity|NaN)|Found unknown categor|^X has \d+ features?, but|could not convert string to float"
    r"|The feature names should match|columns are missing|Negative values in data passed|contains previously unseen labels"
)


@dataclass(frozen=True)
class EstimatorPredictor:
    """Calls each output's own method: `predict`, `predict_proba`, `decision_function`, …; none is derived from another."""

    model: Any
    signature: Signature
    rows_independent: bool
    feed: Feed
    # by output: its method without checks, that warns of nothing; None: not with these rows
    short: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises `InvalidInput` where the estimator refuses the rows themselves, and whatever else it raises."""
        rows, answers = self.feed(table), {}
        if self.short and not arguments:
            answers = {name: answer for name in outputs if name in self.short and (answer := self.short[name](rows)) is not None}
        if len(answers) < len(outputs):
            with np.errstate(all="ignore"):
                answers |= {name: self._call(name, rows, arguments) for name in outputs if name not in answers}
        return answers

    def _call(self, name: str, rows: Any, arguments: Mapping[str, Any]) -> Any:
        method = getattr(self.model, name)
        if arguments:
            refuse_unknown_arguments(name, method, arguments)
        try:
            return by_rows(method(rows, **arguments))
        except ValueError as error:
            raise refusal(error) or error from error


def refusal(error: ValueError) -> InvalidInput | None:
    """What scikit-learn raised, as the caller's to mend; None where it says nothing of the rows."""
    return InvalidInput(" ".join(str(error).split())) if _ABOUT_THE_ROWS.search(str(error)) else None


def by_rows(answer: Any) -> Any:
    """The answer with one item a row: scikit-learn gives several targets' probabilities as a list, one array (rows, classes) a target."""
    if isinstance(answer, list) and answer and all(isinstance(a, np.ndarray) and a.ndim == 2 for a in answer):
        if len({a.shape for a in answer}) == 1:
            return np.stack(answer, axis=1)
        rows = np.empty(len(answer[0]), dtype=object)
        rows[:] = [[a[i].tolist() for a in answer] for i in range(len(rows))]
        return rows
    return answer.toarray() if hasattr(answer, "toarray") else answer  # a sparse matrix
