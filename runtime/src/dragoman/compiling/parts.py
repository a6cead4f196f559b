"""How a model is compiled: as a graph, as trees, or as a graph that feeds trees. Decided from its structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dragoman.compiled import TREES
from dragoman.compiling import graphs
from dragoman.compiling.errors import NotCompiled
from dragoman.compiling.trees import Ensemble, ensemble_of, thresholds
from dragoman.formats.estimators import package_of, sklearn_name
from dragoman.formats.features import INNER
from dragoman.predictors.booster import BoosterPredictor, Matrix
from dragoman.predictors.estimator import EstimatorPredictor
from dragoman.predictors.program import Graph, Trees
from dragoman.predictors.scores import SCORES
from dragoman.signature import Signature
from dragoman.table import Array

_TABULAR = ("number", "integer", "boolean")


@dataclass(frozen=True)
class Parts:
    """What a program is written of, and what its proof has to know."""

    outputs: tuple[str, ...]  # that it may answer
    files: Mapping[str, bytes]
    graph: Graph | None = None
    trees: Trees | None = None
    labels: tuple[Any, ...] | None = None
    label_dtype: str = "O"
    codes: dict[int, tuple[tuple[Any, float], ...]] = field(default_factory=dict)
    unknown_is_missing: bool = False
    thresholds: tuple[Array, ...] = ()  # by feature, where trees compare the rows themselves
    head: Any = None  # the original's steps before the trees, whose result must be the same to the last bit


def parts_of(original: Any) -> Parts:
    """Raises `NotCompiled`."""
    if not isinstance(original, EstimatorPredictor | BoosterPredictor):
        raise NotCompiled("only models of scikit-learn, xgboost and lightgbm are compiled")
    signature = original.signature
    if not signature.inputs:
        raise NotCompiled("nothing is known of the model's inputs")
    model = _settled(original.model)
    if package_of(model) not in ("sklearn", "xgboost", "lightgbm"):
        raise NotCompiled(f"{type(model).__module__}.{type(model).__qualname__} is none of scikit-learn's own estimators, nor a booster")
    outputs = tuple(output.name for output in signature.outputs if output.how is None)
    ensemble = ensemble_of(model)
    if ensemble is not None:
        return _of_trees(original, model, ensemble, outputs)
    labels = _labels(model)
    if sklearn_name(model) == "Pipeline" and len(model.steps) > 1:
        ensemble = ensemble_of(_settled(model.steps[-1][1]))
        if ensemble is not None:
            return _of_both(model, signature, ensemble, outputs, labels)
    graph, document = graphs.graph_of(model, signature, outputs)
    return Parts(tuple(name for name in graph.outputs if name in outputs), {graph.file: document}, graph, None, *labels)


def _of_trees(original: Any, model: Any, ensemble: Ensemble, outputs: tuple[str, ...]) -> Parts:
    matrix = getattr(original, "matrix", None) or original.feed
    known: Any = matrix if isinstance(matrix, Matrix) else None
    categories = getattr(matrix, "categories", None)  # of a frame whose columns have the categories of training
    fields = original.signature.inputs
    coded = dict(known.codes) if known is not None else _codes(fields, categories) if categories else {}
    for index, one in enumerate(fields):
        if one.type not in _TABULAR and index not in coded:
            raise NotCompiled(f"{one.name!r} is a {one.type}, and the model's trees compare numbers")
    return Parts(
        _answered(ensemble, outputs),
        {TREES: ensemble.model.serialize_bytes()},
        None,
        Trees(TREES, ensemble.scores, ensemble.dtype, ensemble.margin),
        *_labels(model),
        codes={index: tuple(codes.items()) for index, codes in coded.items()},
        unknown_is_missing=known.unknown_is_missing if known is not None else bool(categories),
        thresholds=tuple(thresholds(ensemble, len(fields))),
    )


def _of_both(
    model: Any, signature: Signature, ensemble: Ensemble, outputs: tuple[str, ...], labels: tuple[tuple[Any, ...] | None, str]
) -> Parts:
    head = model[:-1]
    graph, document = graphs.graph_of(head, signature, (), features=True)
    return Parts(
        _answered(ensemble, outputs),
        {graph.file: document, TREES: ensemble.model.serialize_bytes()},
        graph,
        Trees(TREES, ensemble.scores, ensemble.dtype, ensemble.margin),
        labels[0],
        labels[1],
        head=head,
    )


def _answered(ensemble: Ensemble, outputs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in SCORES[ensemble.scores] if name in outputs)


def _codes(fields: Any, categories: Mapping[str, Any]) -> dict[int, dict[Any, float]]:
    where = {one.name: index for index, one in enumerate(fields)}
    return {where[name]: {value: float(code) for code, value in enumerate(values)} for name, values in categories.items()}


def _settled(model: Any) -> Any:
    """The fitted estimator that a search, or a frozen one, hands its rows on to."""
    while sklearn_name(model) in _HANDS_ON:
        model = INNER[sklearn_name(model) or ""](model)[0]  # type: ignore[index]
    return model


def _labels(model: Any) -> tuple[tuple[Any, ...] | None, str]:
    classes = getattr(model, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        return None, "O"
    return tuple(classes.tolist()), classes.dtype.str


_HANDS_ON = frozenset(["GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "FrozenEstimator"])
