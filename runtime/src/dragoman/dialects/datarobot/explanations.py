"""Prediction explanations: a row's contributions by feature, the strongest first.

`qualitativeStrength` is told from a feature's share q of its row: its strength by the sum of the row's ten largest, without their signs.
With n features, three signs stand for |q| > 2/n, two for |q| > 1/(2n), one for less (n at most 10); with two features for 0.75 and 0.25;
a single feature has three. The normalisation and the bounds for two features are DataRobot's; those for more are ours. What contributes
nothing is not told of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.errors import ModelFailed
from dragoman.table import Array

_LARGEST = 10


@dataclass(frozen=True, slots=True)
class Explanation:
    feature: str
    strength: float
    qualitative: str


def explained(scores: Array, low: float | None, high: float | None) -> Array:
    """Which rows are explained: those below `low` or above `high`; all, where neither is given. Shape (rows,), booleans."""
    if low is None and high is None:
        return np.ones(len(scores), dtype=bool)
    chosen = np.zeros(len(scores), dtype=bool)
    if low is not None:
        chosen |= scores < low
    if high is not None:
        chosen |= scores > high
    return chosen


def contributions(given: Array, features: Sequence[str], sign: int = 1) -> Callable[[int], Mapping[str, float]]:
    """A row's strengths by feature, of what the model's `explain` gave: numbers in the order of the features, or mappings by name.

    `sign` -1 turns them round. Raises `ModelFailed` where it is neither.
    """
    if given.dtype.kind in "iuf" and given.ndim == 2 and given.shape[1] == len(features):
        signed = given * sign
        return lambda row: dict(zip(features, signed[row].tolist(), strict=True))

    def strengths(row: int) -> Mapping[str, float]:
        found = given[row]
        if isinstance(found, Mapping):
            return {str(name): sign * _strength(value) for name, value in found.items()}
        values = found.tolist() if isinstance(found, np.ndarray) else found
        if isinstance(values, list | tuple) and len(values) == len(features):
            return {name: sign * _strength(value) for name, value in zip(features, values, strict=True)}
        raise ModelFailed(f"the model's explain must give {len(features)} numbers a row, or strengths by feature")

    return strengths


def strongest(strengths: Mapping[str, float], most: int) -> list[Explanation]:
    """At most so many, by |strength|; of equal ones in the order of the features."""
    ranked = sorted(((n, s) for n, s in strengths.items() if s and math.isfinite(s)), key=lambda item: -abs(item[1]))
    whole = sum(abs(strength) for _, strength in ranked[:_LARGEST])
    return [Explanation(name, strength, signs(strength / whole, len(strengths))) for name, strength in ranked[:most]]


def signs(share: float, features: int) -> str:
    """`+++`, `++`, `+`, `-`, `--` or `---` for a share in [-1, 1]."""
    size = abs(share)
    strong, medium = (0.0, 0.0) if features == 1 else (0.75, 0.25) if features == 2 else (2 / min(features, 10), 0.5 / min(features, 10))
    return ("+" if math.copysign(1.0, share) > 0 else "-") * (3 if size > strong else 2 if size > medium else 1)


def _strength(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ModelFailed(f"the model's explain gave {value!r}, which is no number") from None
