"""One number a row, out of what a model answers: of the same class for a row and for what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dragoman.call import PREDICT, PREDICT_PROBA
from dragoman.table import Array


class SeveralValues(Exception):
    """The answer has several values a row that are not its classes' scores: there is no one number to explain."""


class Scores:
    """Of two classes the last one's score, of more that of the class which the model predicts; a value as it is.

    Where there are labels only, 1 for the label in question and 0 for another. `names` are the classes, as the model or as the manifest
    calls them; `predicted` gives the model's labels of all rows, asked for only where they decide.
    """

    def __init__(self, method: str, names: Sequence[Sequence[Any]], predicted: Callable[[], Array]) -> None:
        self._method, self._names, self._predicted = method, names, predicted
        self._places: list[int | None] | None = None  # of each row's predicted label among the classes
        self._columns: dict[int, int] = {}  # by row, the class whose score counts
        self._labels: dict[int, Any] = {}  # by row, the label that counts

    def of(self, answer: Array, rows: Array, plain: Array) -> Array:
        """The score of each row of an answer: float64. `rows` says which of the rows sent each is made of, `plain` which are as sent.

        A row must come as it was sent before, or together with, what is made of it.
        """
        values = answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer
        if values.ndim == 1:
            return self._labelled(values, rows, plain) if self._are_labels(values) else values.astype(np.float64)
        if values.ndim != 2 or not self._are_scores(values):
            raise SeveralValues(f"the model's {self._method} answers several values a row, and an explanation is of one")
        if values.shape[1] == 2:
            return values[:, 1].astype(np.float64)
        for at in np.flatnonzero(plain):
            self._columns[int(rows[at])] = self._column(int(rows[at]), values[at])
        chosen = [self._columns[row] for row in rows.tolist()]
        return values[np.arange(len(values)), chosen].astype(np.float64)

    def _are_labels(self, values: Array) -> bool:
        if self._method != PREDICT:
            return False
        return values.dtype.kind != "f" or any(set(values.tolist()) <= set(names) for names in self._names)

    def _are_scores(self, values: Array) -> bool:
        """One a class: probabilities by name, by their number, or, of a network that says nothing of classes, by their sum."""
        if values.dtype.kind not in "fiu":
            return False
        if self._method == PREDICT_PROBA or any(len(names) == values.shape[1] for names in self._names):
            return True
        return self._method == PREDICT and bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3))

    def _column(self, row: int, scores: Array) -> int:
        """Of the class that the model predicts; of the highest score, where its label is none of the classes."""
        if self._method == PREDICT or not self._names:
            return int(scores.argmax())
        if self._places is None:
            self._places = [self._place(label) for label in self._predicted().tolist()]
        place = self._places[row]
        return int(scores.argmax()) if place is None or place >= len(scores) else place

    def _place(self, label: Any) -> int | None:
        return next((list(names).index(label) for names in self._names if label in names), None)

    def _labelled(self, values: Array, rows: Array, plain: Array) -> Array:
        labels = values.tolist()
        for at in np.flatnonzero(plain):
            self._labels[int(rows[at])] = self._label(labels[at])
        return np.array([label == self._labels[row] for label, row in zip(labels, rows.tolist(), strict=True)], dtype=np.float64)

    def _label(self, label: Any) -> Any:
        """The last of two classes, whichever the row is of; of more, the row's own."""
        if isinstance(label, bool):
            return True
        return next((names[-1] for names in self._names if len(names) == 2 and label in names), label)
