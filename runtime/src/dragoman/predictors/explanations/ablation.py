"""Any model: what becomes of the score of a row when one input after the other is put at its reference value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.call import PREDICT
from dragoman.errors import BadRequest, TooLarge
from dragoman.predictors.explaining import SCORES, Asked
from dragoman.predictors.explanations.background import Background
from dragoman.predictors.explanations.pieces import Pieces
from dragoman.predictors.explanations.scores import Scores, SeveralValues
from dragoman.predictors.predictor import checked_outputs
from dragoman.table import Array, Table

MOST_PREDICTIONS = 200_000  # rows x inputs of one request
MOST_ROWS = 4_096  # predicted at once


@dataclass(frozen=True, eq=False)
class AblationExplainer:
    """The score of the row less its score with one input at the reference: in units of a probability, a decision function or the value.

    They add up to the difference from the score at the reference only where the model is additive. Cost: a row is predicted once as it is
    and once for each input that differs from the reference, stacked in one predict (of at most `MOST_ROWS` rows) where rows are
    independent; else in a predict for each input.
    """

    background: Background
    names: tuple[tuple[Any, ...], ...]  # the classes in the order of their scores, as the model and as the manifest calls them
    pieces: Pieces
    methods: tuple[str, ...] = SCORES  # that give scores a class

    def __call__(self, asked: Asked) -> Array:
        """`TooLarge` above `MOST_PREDICTIONS`; `BadRequest` where the model answers several values a row that are no classes'."""
        table, inputs = asked.table, len(self.background.signature.inputs)
        if table.rows * inputs > MOST_PREDICTIONS:
            raise TooLarge(
                f"explaining {table.rows} rows of {inputs} inputs takes {table.rows * inputs} predictions, and a request may take "
                f"{MOST_PREDICTIONS}: send at most {MOST_PREDICTIONS // inputs} rows"
            )
        has = {output.name for output in asked.signature.outputs}
        several = None
        for method in self.methods:
            if method in has:
                try:
                    return self._ablated(asked, method)
                except SeveralValues as error:
                    several = error
        raise BadRequest(str(several) if several else "the model has no predict to explain")

    def _ablated(self, asked: Asked, method: str) -> Array:
        table, inputs = asked.table, asked.table.width
        different = _different(table, self.background.reference)
        scores = Scores(method, self.names, lambda: _answer(asked, table, PREDICT, asked.answers))
        score = np.full((table.rows, inputs + 1), np.nan)
        tried = np.zeros(score.shape, dtype=bool)
        for rows, variants in self._stacks(asked, different):
            stacked = _with_reference(_taken(table, rows), variants, self.background.reference)
            score[rows, variants] = scores.of(_answer(asked, stacked, method), rows, variants == 0)
            tried[rows, variants] = True
        return np.where(tried[:, 1:], score[:, :1] - score[:, 1:], 0.0)  # an input at its reference contributes nothing

    def _stacks(self, asked: Asked, different: Array) -> Iterator[tuple[Array, Array]]:
        """(rows, variants) to predict together: variant 0 of a row is the row as it is, and comes first; n has input n - 1 changed."""
        count, inputs = different.shape
        if not asked.rows_independent:  # the rows stay together, as they were sent
            rows = np.arange(count)
            changed = [0, *(1 + i for i in range(inputs) if different[:, i].any())]
            for start, _ in self.pieces.of(len(changed), 1, 1):
                yield rows, np.full(count, changed[start])
            return
        rows, variants = np.nonzero(np.column_stack([np.ones(count, dtype=bool), different]))
        for start, stop in self.pieces.of(len(rows), inputs, MOST_ROWS):
            yield rows[start:stop], variants[start:stop]


def _answer(asked: Asked, table: Table, method: str, known: Any = None) -> Array:
    """The model's answer, or the one that it gave already."""
    given = known if known and method in known else asked.predictor.predict(table, (method,), asked.arguments)
    return checked_outputs(given, (method,), table.rows)[method]


def _different(table: Table, reference: Table) -> Array:
    """Shape (rows, inputs): where a value is not the reference's. Two missing values are the same."""
    different = np.empty((table.rows, table.width), dtype=bool)
    for i in range(table.width):
        values, value = table.column(i), reference.column(i)[0]
        missing = np.not_equal(values, values)
        different[:, i] = ~missing if value != value else np.not_equal(values, value)
    return different


def _taken(table: Table, rows: Array) -> Table:
    """These rows, copied."""
    if table.array is not None:
        return Table(table.array[rows], (), table.names, len(rows))
    return Table(None, tuple(column[rows] for column in table.columns), table.names, len(rows))


def _with_reference(table: Table, variants: Array, reference: Table) -> Table:
    """The same table, each row's input (variant - 1) put at the reference: it is the caller's own copy, and is changed."""
    changed = np.flatnonzero(variants)
    if table.array is not None and reference.array is not None:
        at = variants[changed] - 1
        table.array[changed, at] = reference.array[0, at]
        return table
    for i in range(table.width):
        table.column(i)[variants == i + 1] = reference.column(i)[0]
    return table
