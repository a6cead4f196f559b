"""What an estimator knows of its own inputs and outputs: a signature read from what it learned, without predicting."""

from __future__ import annotations

from typing import Any

import numpy as np

from dragoman.formats.estimators import sklearn_name
from dragoman.formats.features import INNER, Feature, Flow, learn
from dragoman.signature import Field, Output, Signature

METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
_COUNTING = frozenset(["clusterer", "outlier_detector", "density_estimator"])  # they answer with the number of a cluster, or 1 and -1
_TEXT_VECTORIZERS = frozenset(["CountVectorizer", "TfidfVectorizer", "HashingVectorizer"])


def takes_texts(model: Any) -> bool:
    """Whether rows are texts, and not features: the first step turns words into numbers."""
    first = model
    while sklearn_name(first) == "Pipeline" and first.steps:
        first = first.steps[0][1]
    return sklearn_name(first) in _TEXT_VECTORIZERS


def infer(model: Any) -> Signature:
    """Inputs where their number is known (and the type of each can be told), and the methods that the model has."""
    inputs, named, dropped = _inputs(model)
    classes = classes_of(model)
    return Signature(
        inputs=inputs,
        outputs=tuple(_output(model, name, classes) for name in METHODS if hasattr(model, name)),
        classes=classes,
        named=named,
        extra_columns="ignore" if dropped else "refuse",
    )


def names_of(model: Any) -> tuple[str, ...] | None:
    """`feature_names_in_`, of the model or of what it hands its rows on to, where that was fitted on named columns."""
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return tuple(str(name) for name in names)
    inner = INNER.get(sklearn_name(model) or "")
    return next((found for part in inner(model) if (found := names_of(part)) is not None), None) if inner is not None else None


def classes_of(model: Any) -> tuple[Any, ...] | None:
    """Labels in the order of predict_proba's columns; None for a regressor and where there are several targets."""
    classes = getattr(model, "classes_", None)
    if classes is None or (isinstance(classes, list) and any(isinstance(c, np.ndarray) for c in classes)):
        return None
    values = np.asarray(classes)
    return tuple(values.tolist()) if values.ndim == 1 else None


def _inputs(model: Any) -> tuple[tuple[Field, ...], bool, bool]:
    if takes_texts(model):
        return (Field(name="text", type="string", example="some words"),), True, False
    names = names_of(model)
    count = len(names) if names is not None else getattr(model, "n_features_in_", None)
    if not isinstance(count, int | np.integer) or count < 1:
        return (), True, False
    features = [Feature(name) for name in names or (f"f{i}" for i in range(int(count)))]
    learn(model, Flow(list(features)))
    if any(f.opaque for f in features):
        return (), names is not None, False
    used = [f for f in features if f.type is not None]
    if names is None and len(used) < len(features):  # by position a column that goes nowhere must still be there
        return tuple(f.field(fallback=True) for f in features), False, False
    return tuple(f.field() for f in used), names is not None, len(used) < len(features)


def _output(model: Any, name: str, classes: tuple[Any, ...] | None) -> Output:
    """What can be told without an answer; a probe tells the rest."""
    if name == "predict" and classes:
        dtype = np.asarray(model.classes_).dtype
        return Output(name=name, type=output_type(dtype, classes), dtype=None if dtype.kind in "OUS" else dtype.name)
    if name == "predict" and _estimator_type(model) in _COUNTING:
        return Output(name=name, type="integer")
    if name == "predict_proba" and classes:
        return Output(name=name, width=len(classes))
    several = name == "transform" or (name == "decision_function" and classes is not None and len(classes) > 2)
    return Output(name=name, width=-1 if several else None)


def _estimator_type(model: Any) -> str | None:
    try:
        return str(model.__sklearn_tags__().estimator_type)
    except AttributeError:  # before scikit-learn 1.6, or not in its shape
        return getattr(model, "_estimator_type", None)


def output_type(dtype: np.dtype[Any], values: Any = ()) -> Any:
    """The type of an output, by its dtype, and by its values where that is object."""
    kinds = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "string", "S": "string"}
    if dtype.kind != "O":
        return kinds.get(dtype.kind, "object")
    return "string" if len(values) and all(isinstance(v, str) for v in values) else "object"
