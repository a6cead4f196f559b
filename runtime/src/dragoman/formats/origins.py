"""Which input each column is made of that the last step of a fitted pipeline sees: where each is made of one, and of one only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dragoman.formats.estimators import package_of
from dragoman.formats.features import is_missing, positions
from dragoman.table import Array


def unwrapped(model: Any) -> tuple[tuple[Any, ...], Any]:
    """The transformers that rows go through, in their order, and the estimator at the end: pipelines and searches opened up.

    The estimator's scores are the model's own: what averages, calibrates or transforms answers is not opened.
    """
    steps: list[Any] = []
    while package_of(model) == "sklearn":
        name = type(model).__name__
        if name == "Pipeline":
            steps += [step for _, step in model.steps[:-1] if not _passes(step)]
            model = model.steps[-1][1]
        elif name in _HANDS_ON:
            model = getattr(model, _HANDS_ON[name])
        else:
            break
    return tuple(steps), model


def origins(steps: Iterable[Any], count: int) -> Array | None:
    """For each column after the steps the position of the one input that it is made of; None where a column mixes inputs, or may.

    `count` is of the columns that the first step was fitted on.
    """
    try:
        return _through(steps, np.arange(count))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # a step that was fitted in a way not foreseen here
        return None


def _through(steps: Iterable[Any], columns: Array | None) -> Array | None:
    for step in steps:
        columns = None if columns is None else _after(step, columns)
    return columns


def _after(step: Any, columns: Array) -> Array | None:
    if _passes(step):
        return columns
    if isinstance(step, str):  # "drop"
        return columns[:0]
    follow = _STEPS.get(type(step).__name__) if package_of(step) == "sklearn" else None
    return None if follow is None else follow(step, columns)


def _passes(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


# --- steps ----------------------------------------------------------------------------------------------------------


def _one_to_one(_: Any, columns: Array) -> Array:
    return columns


def _function(transformer: Any, columns: Array) -> Array | None:
    elementwise = transformer.func is None or isinstance(transformer.func, np.ufunc)
    return columns if elementwise else None


def _chosen(selector: Any, columns: Array) -> Array:
    return np.compress(selector.get_support(), columns)


def _imputer(imputer: Any, columns: Array) -> Array:
    kept = [imputer.keep_empty_features or not is_missing(value) for value in imputer.statistics_]
    flags = columns[imputer.indicator_.features_] if imputer.add_indicator else columns[:0]
    return np.concatenate([columns[np.array(kept, dtype=bool)], flags])


def _indicator(indicator: Any, columns: Array) -> Array:
    taken: Array = np.take(columns, indicator.features_)
    return taken


def _one_hot(encoder: Any, columns: Array) -> Array | None:
    widths = getattr(encoder, "_n_features_outs", None)  # categories less those dropped, rare ones as one
    return None if widths is None or len(widths) != len(columns) else np.repeat(columns, widths)


def _target_encoder(encoder: Any, columns: Array) -> Array:
    return np.repeat(columns, len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1)


def _bins(binner: Any, columns: Array) -> Array:
    return columns if binner.encode == "ordinal" else np.repeat(columns, binner.n_bins_)


def _splines(splines: Any, columns: Array) -> Array:
    return np.repeat(columns, splines.n_features_out_ // len(columns))


def _words(vectorizer: Any, columns: Array) -> Array | None:
    width = len(vectorizer.vocabulary_) if hasattr(vectorizer, "vocabulary_") else getattr(vectorizer, "n_features", None)
    return np.repeat(columns, width) if len(columns) == 1 and width is not None else None


def _pipeline(pipeline: Any, columns: Array) -> Array | None:
    return _through((step for _, step in pipeline.steps), columns)


def _union(union: Any, columns: Array) -> Array | None:
    return _beside([_after(step, columns) for _, step in union.transformer_list])


def _column_transformer(transformer: Any, columns: Array) -> Array | None:
    names = getattr(transformer, "feature_names_in_", None)
    known = [str(name) for name in names] if names is not None else [""] * len(columns)
    taken = [(step, columns[positions(chosen, known)]) for _, step, chosen in transformer.transformers_]
    return _beside([_after(step, part) for step, part in taken if len(part)])  # one without columns was never fitted


def _beside(parts: Sequence[Array | None]) -> Array | None:
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return np.concatenate(found) if found else np.arange(0)


# --- tables ---------------------------------------------------------------------------------------------------------

_Step = Callable[[Any, Array], Array | None]


def _named(step: _Step, names: str) -> dict[str, _Step]:
    return dict.fromkeys(names.split(), step)


_STEPS: dict[str, _Step] = {
    "Pipeline": _pipeline,
    "FeatureUnion": _union,
    "ColumnTransformer": _column_transformer,
    "FunctionTransformer": _function,
    "SimpleImputer": _imputer,
    "MissingIndicator": _indicator,
    "OneHotEncoder": _one_hot,
    "TargetEncoder": _target_encoder,
    "KBinsDiscretizer": _bins,
    "SplineTransformer": _splines,
    **_named(_words, "CountVectorizer TfidfVectorizer HashingVectorizer"),
    **_named(_one_to_one, "StandardScaler MinMaxScaler MaxAbsScaler RobustScaler PowerTransformer QuantileTransformer"),
    **_named(_one_to_one, "OrdinalEncoder Binarizer"),
    **_named(_chosen, "VarianceThreshold SelectKBest SelectPercentile SelectFpr SelectFdr SelectFwe GenericUnivariateSelect"),
    **_named(_chosen, "SelectFromModel RFE RFECV SequentialFeatureSelector"),
}
# by whose hand rows go on as they are, and answers come back as they are
_HANDS_ON = {
    **dict.fromkeys(["GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"], "best_estimator_"),
    "FrozenEstimator": "estimator",
}
