"""From what an ensemble's trees add up to, to the answers of the model's own methods, computed as those compute them.

`SCORES` has for each kind of ensemble the outputs that it has, and how each is made of the scores, shape (rows, scores a row), and the
labels. Sources: scikit-learn's `ensemble/_forest.py`, `ensemble/_gb.py`, `_hist_gradient_boosting/gradient_boosting.py`, `_loss/loss.py`;
xgboost's and lightgbm's `sklearn.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dragoman.table import Array

Answer = Callable[[Array, Array], Array]  # (scores, labels) → one item a row


def _one(scores: Array, _: Array) -> Array:
    return scores[:, 0]


def _each(scores: Array, _: Array) -> Array:
    return scores


def _exponential(scores: Array, _: Array) -> Array:
    with np.errstate(over="ignore"):
        powers: Array = np.exp(scores[:, 0])
    return powers


def _largest(scores: Array, labels: Array) -> Array:
    chosen: Array = labels[np.argmax(scores, axis=1)]
    return chosen


def _logistic(scores: Array, _: Array) -> Array:
    """Of both classes."""
    return _both(_expit(scores[:, 0]), _)


def _doubled_logistic(scores: Array, _: Array) -> Array:
    return _both(_expit(2 * scores[:, 0]), _)


def _both(second: Array, _: Array) -> Array:
    answer = np.empty((len(second), 2), dtype=second.dtype)
    answer[:, 1] = second
    answer[:, 0] = 1 - second
    return answer


def _expit(values: Array) -> Array:
    with np.errstate(over="ignore"):
        answer: Array = 1 / (1 + np.exp(-values))
    return answer


def _softmax(scores: Array, _: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    answer: Array = powers / powers.sum(axis=1, keepdims=True)
    return answer


SCORES: Mapping[str, Mapping[str, Answer]] = {
    "value": {"predict": _one},
    "values": {"predict": _each},
    "log": {"predict": _exponential},
    "votes": {"predict": _largest, "predict_proba": _each},
    "classes": {"predict": _largest, "predict_proba": _softmax},
    "softmax": {"predict": _largest, "predict_proba": _softmax, "decision_function": _each},
    # At a score of nought the two kinds of gradient boosting in scikit-learn differ.
    "logistic": {"predict": lambda s, labels: labels[(s[:, 0] > 0).astype(int)], "predict_proba": _logistic, "decision_function": _one},
    "logistic or equal": {
        "predict": lambda s, labels: labels[(s[:, 0] >= 0).astype(int)],
        "predict_proba": _logistic,
        "decision_function": _one,
    },
    "exponential or equal": {
        "predict": lambda s, labels: labels[(s[:, 0] >= 0).astype(int)],
        "predict_proba": _doubled_logistic,
        "decision_function": _one,
    },
    "probability": {
        "predict": lambda s, labels: labels[(s[:, 0] > 0.5).astype(int)],
        "predict_proba": lambda s, labels: _both(s[:, 0], labels),
    },
}
