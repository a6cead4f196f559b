"""A predictor that says why: around any other, it answers the output `explain` and passes all else on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import msgspec

from dragoman.call import EXPLAIN, PREDICT, PREDICT_PROBA
from dragoman.check import Checker
from dragoman.predictors.predictor import Predictor
from dragoman.signature import Field, Signature
from dragoman.table import Array, Table

SCORES = (PREDICT_PROBA, "decision_function", PREDICT)  # the first that a model has, and that gives one number a row, is what is explained


class Asked(msgspec.Struct, frozen=True):
    """Rows to be explained. `answers` are those that the model has given to the same rows already, by output."""

    predictor: Predictor
    signature: Signature
    rows_independent: bool
    table: Table  # the signature's inputs in their order
    arguments: Mapping[str, Any]
    answers: Mapping[str, Any]


class Explainer(Protocol):
    """One way of finding out what each input contributed."""

    def __call__(self, asked: Asked) -> Array:
        """float64 of shape (rows, inputs). May raise a `CallError`, and whatever the model raises."""


@dataclass(frozen=True)
class ExplainingPredictor:
    """`inner`, and `explain` beside its own outputs: (rows, inputs), the contribution of each input to the row's score.

    The score is the value of a regression, the last class's score in binary classification, else that of the class predicted.
    """

    inner: Predictor
    signature: Signature
    rows_independent: bool
    make: Callable[[], Explainer]  # when the first explanation is asked for

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `inner` predicts; where `explain` is asked for, `InvalidInput` for rows that do not fit the signature."""
        if EXPLAIN not in outputs:
            return self.inner.predict(table, outputs, arguments)
        others = tuple(name for name in outputs if name != EXPLAIN)
        answers = self.inner.predict(table, others, arguments) if others else {}
        asked = Asked(self.inner, self.signature, self.rows_independent, self._arranged(table), arguments, answers)
        return {**answers, EXPLAIN: self.explainer(asked)}

    @property
    def authored(self) -> Mapping[str, Any]:
        """What the inner one tells dialects as it changes; `AttributeError` where it tells nothing."""
        inner: Any = self.inner
        told: Mapping[str, Any] = inner.authored
        return told

    @cached_property
    def explainer(self) -> Explainer:
        return self.make()

    @cached_property
    def _arranged(self) -> Checker:
        """Rows that a dialect has checked by rules of its own may come in another order and of other types."""
        return Checker(unbounded(self.signature))


def unbounded(signature: Signature) -> Signature:
    """The same inputs, of any value that is of their type."""
    return msgspec.structs.replace(signature, inputs=tuple(_unbounded(field) for field in signature.inputs))


def _unbounded(field: Field) -> Field:
    return msgspec.structs.replace(field, minimum=None, maximum=None, enum=None)
