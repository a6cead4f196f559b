"""What a model says of one row, class by class: score, name and confidence. For dialects whose replies have an element a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.call import PREDICT, PREDICT_PROBA, Prediction
from dragoman.errors import ModelFailed
from dragoman.signature import Signature
from dragoman.table import Array

CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True)
class Result:
    """`name` is None for a number that is predicted, and no class; so is its confidence where nobody gives one."""

    score: float
    name: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Naming:
    """How classes are called, and what confidence is said, where that is configured."""

    class_map: Mapping[str, str]  # by a class's label, else by its index
    confidence: float | None = None


def outputs_wanted(signature: Signature) -> tuple[str, ...]:
    """The outputs that the results are made of: probabilities where the model has them."""
    names = {output.name for output in signature.outputs}
    return (PREDICT_PROBA if PREDICT_PROBA in names else PREDICT, *([CONFIDENCE] if CONFIDENCE in names else []))


def results_of(prediction: Prediction, signature: Signature, naming: Naming) -> list[Result]:
    """For the first row: an element a class, in the model's order; one for a number.

    Of a classifier without probabilities the predicted class has the score 1, the others 0. Of a booster that gives one probability for
    two classes, it is that of the second.
    """
    scored = _scored(prediction, signature)
    given = prediction.outputs.get(CONFIDENCE)
    labels = [label for label, _ in scored]
    confidences = _confidences(None if given is None else np.asarray(given[0]), naming, [score for _, score in scored], labels)
    names = [None if label is None else _name(label, i, labels, naming.class_map) for i, label in enumerate(labels)]
    return [Result(score, name, confidence) for (_, score), name, confidence in zip(scored, names, confidences, strict=True)]


def _scored(prediction: Prediction, signature: Signature) -> list[tuple[Any, float]]:
    """Label, or index where the model knows none, and score; the label is None for a number."""
    if PREDICT_PROBA in prediction.outputs:
        return _a_class(np.asarray(prediction.outputs[PREDICT_PROBA][0]), signature)
    answer = prediction.outputs[PREDICT][0]
    if isinstance(answer, np.ndarray | list | tuple):
        return _a_class(np.asarray(answer), signature)
    value = answer.item() if isinstance(answer, np.generic) else answer
    labels = signature.classes or ()
    kind = next((output.type for output in signature.outputs if output.name == PREDICT), "number")
    if len(labels) == 2 and kind == "number" and not any(isinstance(label, float) for label in labels):
        return [(labels[0], 1.0 - float(value)), (labels[1], float(value))]
    if value in labels:
        return [(label, float(label == value)) for label in labels]
    if labels or isinstance(value, str | bool):
        return [(value, 1.0)]
    if not isinstance(value, int | float):
        raise ModelFailed(f"the model predicted {type(value).__name__}, which is neither a class nor a number")
    return [(None, float(value))]


def _a_class(scores: Array, signature: Signature) -> list[tuple[Any, float]]:
    if scores.ndim != 1 or scores.dtype.kind not in "fiub":
        raise ModelFailed(f"the model's scores have the shape {scores.shape} a row: one target with a number a class was expected")
    labels = signature.classes or ()
    known = labels if len(labels) == len(scores) else range(len(scores))
    return [(label, float(score)) for label, score in zip(known, scores.tolist(), strict=True)]


def _confidences(given: Array | None, naming: Naming, scores: Sequence[float], labels: Sequence[Any]) -> list[float | None]:
    """The configured constant, else the model's (one for all, or one a class), else the score of a class."""
    if naming.confidence is not None:
        return [naming.confidence] * len(scores)
    if given is None:
        return [None if label is None else score for label, score in zip(labels, scores, strict=True)]
    try:
        return [float(value) for value in np.broadcast_to(given.astype(np.float64), (len(scores),))]
    except (TypeError, ValueError):
        raise ModelFailed(f"the model's confidence has the shape {given.shape} a row: one number, or {len(scores)}, was expected") from None


def _name(label: Any, index: int, labels: Sequence[Any], class_map: Mapping[str, str]) -> str:
    """A map may also go by index, where labels cannot be taken for one."""
    by_index = not any(isinstance(other, int) for other in labels)
    return class_map.get(str(label)) or (class_map.get(str(index)) if by_index else None) or str(label)
