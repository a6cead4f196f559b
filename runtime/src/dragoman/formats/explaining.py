"""How a loaded model is explained: by itself, exactly, natively, or by ablation. Decided from its structure; nothing is predicted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dragoman.call import EXPLAIN
from dragoman.formats.estimators import package_of
from dragoman.formats.format import LoadedModel, Settings
from dragoman.formats.inference import names_of, takes_texts
from dragoman.formats.origins import origins, unwrapped
from dragoman.predictors.booster import BoosterPredictor
from dragoman.predictors.estimator import EstimatorPredictor
from dragoman.predictors.explaining import Explainer, ExplainingPredictor
from dragoman.predictors.explanations.ablation import AblationExplainer
from dragoman.predictors.explanations.background import Background
from dragoman.predictors.explanations.boosters import BoosterExplainer, of_lightgbm, of_xgboost
from dragoman.predictors.explanations.derived import Derived
from dragoman.predictors.explanations.linear import LinearExplainer
from dragoman.predictors.explanations.pieces import Pieces
from dragoman.predictors.explanations.scores import METHODS
from dragoman.signature import Output, Signature

_SHARE = 0.5  # of a request's time that an explanation may take, so that it ends before its worker is taken for stuck
# scikit-learn's whose decision function, or value, is coef_ times the columns plus intercept_
_LINEAR_MODELS = """
LogisticRegression LogisticRegressionCV RidgeClassifier RidgeClassifierCV SGDClassifier Perceptron PassiveAggressiveClassifier LinearSVC
LinearDiscriminantAnalysis LinearRegression Ridge RidgeCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC Lars LarsCV ElasticNet
ElasticNetCV BayesianRidge ARDRegression HuberRegressor OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV SGDRegressor
PassiveAggressiveRegressor TheilSenRegressor QuantileRegressor LinearSVR
"""
_LINEAR = frozenset(_LINEAR_MODELS.split())
_XGBOOST = frozenset(["XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor"])
_LIGHTGBM = frozenset(["LGBMClassifier", "LGBMRegressor", "LGBMRanker"])


class _Way(NamedTuple):
    how: str
    explainer: Explainer


class _Known(NamedTuple):
    """What there is to decide by."""

    predictor: Any
    signature: Signature
    background: Background
    pieces: Pieces
    threads: int


def explained(loaded: LoadedModel, own: Signature, sample: Sequence[Sequence[Any]], settings: Settings) -> LoadedModel:
    """The model with the output `explain`, where it has none; not where nothing is known of its inputs, or it has no predict.

    `own` is what the model itself knows: its classes by its own names. `sample` are rows of training data, as model.json keeps them.
    """
    predictor: Any = loaded.predictor
    signature = predictor.signature
    named = {output.name: output for output in signature.outputs}
    if EXPLAIN in named and named[EXPLAIN].how is not None:  # it is made of a model that was loaded, and explained, before
        return loaded
    if callable(getattr(getattr(predictor, "model", None), EXPLAIN, None)):
        named.setdefault(EXPLAIN, Output(name=EXPLAIN, type="object", width=-1))
        return dataclasses.replace(loaded, predictor=dataclasses.replace(predictor, signature=_answering(signature, named)))
    if not signature.inputs or not named.keys() & set(METHODS):
        return loaded
    background = Background(tuple(tuple(row) for row in sample), signature)
    known = _Known(predictor, signature, background, Pieces(_SHARE * settings.timeout_seconds), settings.threads)
    way = next((found for find in _WAYS if (found := find(known)) is not None), None) or _ablation(known, own)
    named[EXPLAIN] = Output(name=EXPLAIN, width=len(signature.inputs), dtype="float64", how=way.how)
    around = ExplainingPredictor(predictor, _answering(signature, named), predictor.rows_independent, way.explainer)
    return dataclasses.replace(loaded, predictor=around)


def _answering(signature: Signature, outputs: dict[str, Output]) -> Signature:
    return msgspec.structs.replace(signature, outputs=tuple(outputs.values()))


# --- ways -----------------------------------------------------------------------------------------------------------


def _linear(known: _Known) -> _Way | None:
    if not isinstance(known.predictor, EstimatorPredictor):
        return None
    steps, model = unwrapped(known.predictor.model)
    if package_of(model) != "sklearn" or type(model).__name__ not in _LINEAR or _several_labels(model):
        return None
    derived = _derived(known, steps)
    shape = np.shape(model.coef_)
    if derived is None or not shape or shape[-1] != len(derived.origins) or (len(shape) > 1 and shape[0] > 1 and not _has_classes(model)):
        return None
    against = "the background sample" if known.background.sample else _zero(steps)
    return _Way(f"exact (linear) against {against}", LinearExplainer(model, derived, known.background, known.pieces))


def _zero(steps: tuple[Any, ...]) -> str:
    """What zero is, in the columns that a linear model weighs."""
    if not steps:
        return "zero"
    scaled = type(steps[-1]).__name__ == "StandardScaler" and steps[-1].with_mean
    return "the scaler's mean" if scaled else "zero after its transformers"


def _native(known: _Known) -> _Way | None:
    if not isinstance(known.predictor, EstimatorPredictor):
        return None
    steps, model = unwrapped(known.predictor.model)
    find = _WRAPPERS.get(package_of(model))
    derived = None if find is None else _derived(known, steps)
    return None if find is None or derived is None else find(known, model, derived)


def _xgboost_wrapper(known: _Known, model: Any, derived: Derived) -> _Way | None:
    if type(model).__name__ not in _XGBOOST:
        return None
    rounds = 0 if model.booster == "gblinear" else int(model.get_booster().attr("best_iteration") or -1) + 1
    contributions = of_xgboost(model.get_booster(), threads=known.threads, missing=model.missing, rounds=rounds)
    return _Way("native (xgboost)", BoosterExplainer(contributions, derived, _scores(known.signature), known.pieces))


def _lightgbm_wrapper(known: _Known, model: Any, derived: Derived) -> _Way | None:
    if type(model).__name__ not in _LIGHTGBM or model.booster_.params.get("linear_tree"):
        return None
    classes = model.booster_.num_model_per_iteration()
    return _Way("native (lightgbm)", BoosterExplainer(of_lightgbm(model.predict, classes), derived, classes, known.pieces))


_WRAPPERS: dict[str, Callable[[_Known, Any, Derived], _Way | None]] = {"xgboost": _xgboost_wrapper, "lightgbm": _lightgbm_wrapper}


def _bare(known: _Known) -> _Way | None:
    if not isinstance(known.predictor, BoosterPredictor):
        return None
    booster, package = known.predictor.model, package_of(known.predictor.model)
    inputs = len(known.signature.inputs)
    derived = Derived(known.predictor.matrix, (), np.arange(inputs), inputs)
    if package == "xgboost":
        contributions = of_xgboost(booster, threads=known.threads)
        return _Way("native (xgboost)", BoosterExplainer(contributions, derived, _scores(known.signature), known.pieces))
    if booster.params.get("linear_tree"):  # lightgbm has no contributions of them
        return None
    classes = booster.num_model_per_iteration()

    def predict(rows: Any, **arguments: Any) -> Any:
        return booster.predict(rows, num_threads=known.threads, **arguments)

    return _Way("native (lightgbm)", BoosterExplainer(of_lightgbm(predict, classes), derived, classes, known.pieces))


def _ablation(known: _Known, own: Signature) -> _Way:
    against = "the background sample" if known.background.sample else "the example row"
    names = tuple(dict.fromkeys(tuple(classes) for classes in (own.classes, known.signature.classes) if classes))
    pairs = getattr(unwrapped(getattr(known.predictor, "model", None))[1], "decision_function_shape", "ovr") == "ovo"
    methods = tuple(m for m in METHODS if not (pairs and m == "decision_function"))  # a score for each pair of classes is none of a class
    return _Way(f"ablation against {against}", AblationExplainer(known.background, names, known.pieces, methods))


_WAYS: tuple[Callable[[_Known], _Way | None], ...] = (_linear, _native, _bare)


# --- what they look at ----------------------------------------------------------------------------------------------


def _derived(known: _Known, steps: tuple[Any, ...]) -> Derived | None:
    """The columns after the steps, where each is made of one input of the signature."""
    model, inputs = known.predictor.model, known.signature.inputs
    names = names_of(model)
    count = len(names) if names is not None else 1 if takes_texts(model) else int(getattr(model, "n_features_in_", 0))
    found = origins(steps, count)
    if found is None:
        return None
    if names is None or not known.signature.named:
        where = np.arange(count) if count == len(inputs) else np.full(count, -1)
    else:
        places = {field.name: i for i, field in enumerate(inputs)}
        where = np.array([places.get(name, -1) for name in names])
    placed = where[found]
    return None if (placed < 0).any() else Derived(known.predictor.feed, steps, placed, len(inputs))


def _has_classes(model: Any) -> bool:
    return getattr(model, "classes_", None) is not None


def _several_labels(model: Any) -> bool:
    """Ridge's classifiers take several labels a row."""
    return str(getattr(getattr(model, "_label_binarizer", None), "y_type_", "")).startswith("multilabel")


def _scores(signature: Signature) -> int:
    """How many values an answer may have a row: for the size of what is held at once."""
    return max(1, len(signature.classes or ()), *(output.width or 1 for output in signature.outputs))
