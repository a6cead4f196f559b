"""Learning what each column of a fitted pipeline may be, by following the columns through its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.formats.categories import category_type
from dragoman.formats.estimators import package_of, sklearn_name
from dragoman.signature import Field, FieldType


@dataclass(eq=False)
class Feature:
    """One input column, as far as the steps that take it have told."""

    name: str
    type: FieldType | None = None
    nullable: bool | None = None  # None: so far only steps that pass missing values on have seen it
    enum: tuple[Any, ...] | None = None
    example: Any = None
    opaque: bool = False  # a step of the author's own takes it: its type cannot be told

    def is_a(self, type_: FieldType | None) -> None:
        """The first step that takes a column tells its type."""
        if self.type is None and not self.opaque:
            if type_ is None:
                self.opaque = True
            self.type = type_

    def takes_missing(self, takes: bool) -> None:
        """All that take the column must take missing values, or it is not nullable."""
        self.nullable = takes if self.nullable is None else self.nullable and takes

    def like(self, value: Any) -> None:
        """An example, where none is known yet."""
        if self.example is None and value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            self.example = value

    def field(self, *, fallback: bool = False) -> Field:
        type_: FieldType = self.type or "number"
        return Field(
            name=self.name,
            type=type_,
            nullable=bool(self.nullable) or (fallback and self.type is None),
            enum=self.enum,
            example=_example(type_, self.example),
        )


@dataclass(frozen=True)
class Flow:
    """The columns that reach a step: those that are still inputs, unchanged in kind.

    `aligned`: they are all the step's columns, in order, so that what it learned a column can be read off.
    `filled`: those whose missing values an earlier step has dealt with.
    """

    columns: Sequence[Feature] = ()
    aligned: bool = True
    filled: frozenset[Feature] = frozenset()

    def take_missing(self, takes: bool) -> None:
        """The step that they reach takes missing values, or does not."""
        for column in self.columns:
            if column not in self.filled:
                column.takes_missing(takes)


def learn(estimator: Any, flow: Flow) -> Flow:
    """Tell the columns what this (fitted) estimator says of them; the columns that come out of it."""
    if isinstance(estimator, str):  # "passthrough" and "drop"
        return Flow() if estimator == "drop" else flow
    if estimator is None:
        return flow
    name = sklearn_name(estimator)
    inner = INNER.get(name or "")
    if inner is not None:
        parts = [learn(part, flow) for part in inner(estimator)]
        return parts[0] if len(parts) == 1 else _merged(parts, aligned=False)
    step = _STEPS.get(name or "")
    if step is not None:
        return step(estimator, flow)
    return _numeric(estimator, flow)


# --- steps ----------------------------------------------------------------------------------------------------------


def _pipeline(pipeline: Any, flow: Flow) -> Flow:
    for _, step in pipeline.steps:
        flow = learn(step, flow)
    return flow


def _union(union: Any, flow: Flow) -> Flow:
    return _merged([learn(step, flow) for _, step in union.transformer_list])


def _column_transformer(transformer: Any, flow: Flow) -> Flow:
    if not flow.aligned:
        return _opaque(transformer, flow)
    return _merged(
        [
            learn(step, Flow([flow.columns[i] for i in positions(columns, [f.name for f in flow.columns])], filled=flow.filled))
            for _, step, columns in transformer.transformers_
        ]
    )


def _merged(parts: Sequence[Flow], *, aligned: bool = True) -> Flow:
    """Side by side. A column that comes twice counts as filled only where it is filled in both."""
    columns = [c for p in parts for c in p.columns]
    unfilled = {c for p in parts for c in p.columns if c not in p.filled}
    return Flow(columns, aligned and all(p.aligned for p in parts), frozenset(columns) - unfilled)


def positions(columns: Any, names: Sequence[str]) -> list[int]:
    """Positions of a fitted ColumnTransformer's columns, which are given as names, positions, a slice or a mask."""
    if isinstance(columns, str | int | np.integer):
        columns = [columns]
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            start = 0 if columns.start is None else names.index(columns.start)
            stop = len(names) if columns.stop is None else names.index(columns.stop) + 1  # by name the end is included
            return list(range(start, stop, columns.step or 1))
        return list(range(len(names)))[columns]
    items = list(columns)
    if items and all(isinstance(i, bool | np.bool_) for i in items):
        return [i for i, chosen in enumerate(items) if chosen]
    where = {name: i for i, name in enumerate(names)}
    return [where[str(i)] if isinstance(i, str) else int(i) % len(names) for i in items]


def _imputer(imputer: Any, flow: Flow) -> Flow:
    statistics = getattr(imputer, "statistics_", None)
    for i, column in enumerate(flow.columns):
        value = statistics[i] if flow.aligned and statistics is not None and len(statistics) == len(flow.columns) else None
        column.is_a(_imputed_type(imputer, value))
        column.like(_plain(value))
    widened = bool(getattr(imputer, "add_indicator", False)) or (statistics is not None and any(is_missing(s) for s in statistics))
    takes = is_missing(imputer.missing_values)
    flow.take_missing(takes)
    return Flow(flow.columns, flow.aligned and not widened, frozenset(flow.columns) if takes else flow.filled)


def _imputed_type(imputer: Any, value: Any) -> FieldType | None:
    if getattr(imputer, "strategy", "mean") in ("mean", "median") or not hasattr(imputer, "strategy"):
        return "number"
    dtype = getattr(imputer, "_fit_dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        return "number"
    return "string" if isinstance(value, str) else None


def _encoder(encoder: Any, flow: Flow) -> Flow:
    """Encoders of categories tell a column's values, and whether others are refused."""
    strict = getattr(encoder, "handle_unknown", "ignore") == "error"
    ordinal = sklearn_name(encoder) == "OrdinalEncoder"
    passes = ordinal and is_missing(encoder.encoded_missing_value)  # a missing value that training had stays missing
    categories = getattr(encoder, "categories_", ())
    if not flow.aligned or len(categories) != len(flow.columns):
        return _opaque(encoder, flow)
    filled = set(flow.filled)
    for column, known in zip(flow.columns, categories, strict=True):
        values = tuple(_plain(v) for v in known if not is_missing(v))
        with_missing = len(values) < len(known)
        first = column.type is None
        column.is_a(category_type(values))
        if strict and column.enum is None and (first or column.type in ("string", "boolean")):
            column.enum = values
        if column not in flow.filled:
            column.takes_missing(with_missing or not strict)
        if not (passes and with_missing):
            filled.add(column)
        column.like(values[0] if values else None)
    return Flow(flow.columns if ordinal else (), flow.aligned and ordinal, frozenset(filled))


def _texts(_: Any, flow: Flow) -> Flow:
    for column in flow.columns:
        column.is_a("string")
        column.like("some words")
    flow.take_missing(False)
    return Flow(aligned=False)


def _function(transformer: Any, flow: Flow) -> Flow:
    if transformer.func is None:
        return flow
    if isinstance(transformer.func, np.ufunc):
        return _typed("number", flow)
    return _opaque(transformer, flow)


def _opaque(_: Any, flow: Flow) -> Flow:
    for column in flow.columns:
        column.is_a(None)
    return Flow(flow.columns, False, flow.filled)


def _typed(type_: FieldType, flow: Flow) -> Flow:
    for column in flow.columns:
        column.is_a(type_)
    return flow


def _scaler(scaler: Any, flow: Flow) -> Flow:
    """One column in, one out; missing values pass."""
    centers = next((c for c in (_centers(scaler, name) for name in ("mean_", "center_")) if c is not None), None)
    if centers is None and hasattr(scaler, "data_min_"):
        centers = (np.asarray(scaler.data_min_) + np.asarray(scaler.data_max_)) / 2
    if centers is not None and flow.aligned and len(centers) == len(flow.columns):
        for column, center in zip(flow.columns, centers, strict=True):
            if column.type is None:
                column.like(float(center))
    return _typed("number", flow)


def _centers(scaler: Any, name: str) -> Any:
    value = getattr(scaler, name, None)
    return value if isinstance(value, np.ndarray) and value.ndim == 1 else None


def _hist_gradient_boosting(model: Any, flow: Flow) -> Flow:
    """Its own encoder tells the categories of its categorical columns: others, and missing values, are taken as missing."""
    categorical = getattr(model, "is_categorical_", None)
    if categorical is not None and flow.aligned and len(categorical) == len(flow.columns):
        where = [i for i, is_one in enumerate(categorical) if is_one]
        for i, values in zip(where, _categories_of(model), strict=False):
            column = flow.columns[i]
            known = tuple(_plain(v) for v in values if not is_missing(v))
            column.is_a(category_type(known))
            column.like(known[0] if known else None)
    return _numeric(model, flow)


def _categories_of(model: Any) -> Sequence[Any]:
    preprocessor = getattr(model, "_preprocessor", None)
    if preprocessor is None:
        return ()
    encoder = preprocessor.named_transformers_.get("encoder")
    return getattr(encoder, "categories_", ())


def _numeric(estimator: Any, flow: Flow) -> Flow:
    """What takes numbers: every other estimator. A transformer that is not scikit-learn's own may take anything."""
    own = package_of(estimator) in ("sklearn", "xgboost", "lightgbm") or hasattr(estimator, "predict")
    if not own:
        return _opaque(estimator, flow)
    takes = allows_nan(estimator)
    _typed("number", flow)
    passes = takes and not hasattr(estimator, "predict")
    if passes:
        return Flow(flow.columns, False, flow.filled)
    flow.take_missing(takes)
    return Flow(aligned=False)


def allows_nan(estimator: Any) -> bool:
    """scikit-learn's own tag: the estimator takes missing values."""
    try:
        return bool(estimator.__sklearn_tags__().input_tags.allow_nan)
    except AttributeError:  # before scikit-learn 1.6, or not in its shape
        tags: dict[str, Any] = getattr(estimator, "_get_tags", dict)()
        return bool(tags.get("allow_nan", False))


# --- tables ---------------------------------------------------------------------------------------------------------

_Step = Callable[[Any, Flow], Flow]
_Inner = Callable[[Any], Iterable[Any]]


def _steps(step: _Step, names: str) -> dict[str, _Step]:
    return dict.fromkeys(names.split(), step)


def _inner(inner: _Inner, names: str) -> dict[str, _Inner]:
    return dict.fromkeys(names.split(), inner)


_STEPS: dict[str, _Step] = {
    "Pipeline": _pipeline,
    "FeatureUnion": _union,
    "ColumnTransformer": _column_transformer,
    "FunctionTransformer": _function,
    **_steps(_imputer, "SimpleImputer KNNImputer IterativeImputer"),
    **_steps(_encoder, "OneHotEncoder OrdinalEncoder TargetEncoder"),
    **_steps(_texts, "CountVectorizer TfidfVectorizer HashingVectorizer"),
    **_steps(_scaler, "StandardScaler MinMaxScaler MaxAbsScaler RobustScaler PowerTransformer QuantileTransformer"),
    **_steps(_hist_gradient_boosting, "HistGradientBoostingClassifier HistGradientBoostingRegressor"),
}

# what a meta-estimator hands its rows on to, as they are
INNER: dict[str, _Inner] = {
    **_inner(lambda m: [m.best_estimator_], "GridSearchCV RandomizedSearchCV HalvingGridSearchCV HalvingRandomSearchCV"),
    **_inner(lambda m: [m.estimator_], "TunedThresholdClassifierCV FixedThresholdClassifier SelfTrainingClassifier"),
    **_inner(
        lambda m: [e for e in m.estimators_ if not isinstance(e, str)],
        "VotingClassifier VotingRegressor StackingClassifier StackingRegressor",
    ),
    **_inner(lambda m: m.estimators_[:1], "OneVsRestClassifier OneVsOneClassifier OutputCodeClassifier"),
    **_inner(lambda m: m.estimators_, "MultiOutputClassifier MultiOutputRegressor"),
    "CalibratedClassifierCV": lambda m: [m.calibrated_classifiers_[0].estimator],
    "TransformedTargetRegressor": lambda m: [m.regressor_],
    "FrozenEstimator": lambda m: [m.estimator],
}


def is_missing(value: Any) -> bool:
    """Whether a fitted attribute's value stands for a missing one: None, NaN, pandas' NA."""
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value)) or type(value).__name__ == "NAType"


def _plain(value: Any) -> Any:
    """A Python value of a numpy scalar."""
    return value.item() if isinstance(value, np.generic) else value


def _example(type_: FieldType, value: Any) -> Any:
    """A value of the field's type, short enough to be read."""
    if value is None or (type_ in ("string", "boolean") and not isinstance(value, str | bool)):
        return None
    if type_ == "integer":
        return round(value)
    if type_ == "number" and isinstance(value, int | float):
        return float(f"{value:.4g}")
    return value
