"""Humility rules: which rows fire which rule, and what becomes of their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.datarobot_options import HumilityRule
from dragoman.dialects.datarobot.dataset import Dataset
from dragoman.dialects.datarobot.refusals import ReturnError
from dragoman.table import Array


@dataclass(frozen=True, slots=True)
class Fired:
    """`rules` by row: what the reply's `humility` holds. `overridden` by row: what its `prediction` becomes."""

    rules: dict[int, list[dict[str, Any]]]
    overridden: dict[int, Any]


def columns_of(rules: Sequence[HumilityRule]) -> frozenset[str]:
    """The features that rules look at."""
    triggers = [rule.trigger for rule in rules]
    found = [t.outlying_input.feature for t in triggers if t.outlying_input is not None]
    return frozenset(found + [t.low_observation_region.feature for t in triggers if t.low_observation_region is not None])


def fired(rules: Sequence[HumilityRule], scores: Array, dataset: Dataset, taken: Array | None = None) -> Fired:
    """`scores` of the replied rows; `taken`, which row of the data set each is, -1 for one that was made. Raises `ReturnError`.

    A rule about a feature fires neither where the data set does not have it nor on rows that were made. Of several that override, the
    first one does.
    """
    found = Fired({}, {})
    for rule in rules:
        for row in np.flatnonzero(_firing(rule, scores, dataset, taken)).tolist():
            if rule.action.throw_error is not None:
                raise ReturnError
            found.rules.setdefault(row, []).append({"ruleId": rule.id, "ruleName": rule.name, "triggered": True})
            if rule.action.override_prediction is not None:
                found.overridden.setdefault(row, rule.action.override_prediction.value)
    return found


def _firing(rule: HumilityRule, scores: Array, dataset: Dataset, taken: Array | None) -> Array:
    trigger = rule.trigger
    if trigger.uncertain_prediction is not None:
        uncertain = trigger.uncertain_prediction
        outside = _outside(scores, uncertain.lower, uncertain.upper)
        return ~outside & ~np.isnan(scores) if uncertain.inside else outside
    outlying, region = trigger.outlying_input, trigger.low_observation_region
    feature = outlying.feature if outlying is not None else region.feature if region is not None else ""
    if feature not in dataset.kept:
        return np.zeros(len(scores), dtype=bool)
    values = dataset.values(feature)
    sent = np.ones(len(scores), dtype=bool) if taken is None else taken >= 0
    if taken is not None:
        values = [None if row < 0 else values[row] for row in taken.tolist()]
    if outlying is not None:
        return _outside(np.array([_number(value) for value in values], dtype=np.float64), outlying.lower, outlying.upper)
    known = {_word(value) for value in region.values} if region is not None else set()
    rare: Array = np.array([_word(value) not in known for value in values], dtype=bool) & sent
    return rare


def _outside(values: Array, lower: float | None, upper: float | None) -> Array:
    """NaN is neither above nor below."""
    outside = np.zeros(len(values), dtype=bool)
    if lower is not None:
        outside |= values < lower
    if upper is not None:
        outside |= values > upper
    return outside


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else float("nan")
    except (ValueError, OverflowError):
        return float("nan")


def _word(value: Any) -> str:
    """Categories are compared as they are written: from CSV everything is text."""
    return "" if value is None else str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
