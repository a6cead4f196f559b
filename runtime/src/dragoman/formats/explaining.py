"""How a loaded model is explained: by itself, exactly, natively, or by ablation. Decided from its structure; nothing is predicted.

What does it is imported and made when the first explanation is asked for: most servers never are, and start the sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dragoman.call import EXPLAIN
from dragoman.formats.estimators import package_of
from dragoman.formats.format import LoadedModel, Settings
from dragoman.formats.inference import names_of, takes_texts
from dragoman.formats.origins import origins, unwrapped
from dragoman.predictors.booster import BoosterPredictor
from dragoman.predictors.estimator import EstimatorPredictor
from dragoman.predictors.explaining import SCORES, Explainer, ExplainingPredictor
from dragoman.predictors.feed import Feed
from dragoman.signature import Output, Signature
from dragoman.table import Array

if TYPE_CHECKING:
    from dragoman.predictors.explanations.background import Background
    from dragoman.predictors.explanations.boosters import Contributions
    from dragoman.predictors.explanations.derived import Derived
    from dragoman.predictors.explanations.pieces import Pieces

_SHARE = 0.5  # of a request's time that an explanation may take, so that it ends before its worker is taken for stuck
# scikit-learn's whose decision function, or value, is coef_ times the columns plus intercept_
_LINEAR_MODELS = """
LogisticRegression LogisticRegressionCV RidgeClassifier RidgeClassifierCV SGDClassifier Perceptron PassiveAggressiveClassifier LinearSVC
LinearDiscriminantAnalysis LinearRegression Ridge RidgeCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC Lars LarsCV ElasticNet
ElasticNetCV BayesianRidge ARDRegression HuberRegressor OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV SGDRegressor
PassiveAggressiveRegressor TheilSenRegressor QuantileRegressor LinearSVR
"""
_LINEAR = frozenset(_LINEAR_MODELS.split())
_WRAPPERS = {
    "xgboost": frozenset(["XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor"]),
    "lightgbm": frozenset(["LGBMClassifier", "LGBMRegressor", "LGBMRanker"]),
}


class _Way(msgspec.Struct, frozen=True):
    how: str
    make: Callable[[], Explainer]


class _Known(msgspec.Struct, frozen=True):
    """What there is to decide by, and to make an explainer of."""

    predictor: Any
    signature: Signature
    sample: tuple[tuple[Any, ...], ...]
    settings: Settings

    def background(self) -> Background:
        from dragoman.predictors.explanations.background import Background

        return Background(self.sample, self.signature)

    def pieces(self) -> Pieces:
        from dragoman.predictors.explanations.pieces import Pieces

        return Pieces(_SHARE * self.settings.timeout_seconds)

    def derived(self, feed: Feed, steps: tuple[Any, ...], origins: Array) -> Derived:
        from dragoman.predictors.explanations.derived import Derived

        return Derived(feed, steps, origins, len(self.signature.inputs))


def explained(loaded: LoadedModel, own: Signature, sample: Sequence[Sequence[Any]], settings: Settings) -> LoadedModel:
    """The model with the output `explain`, where it has none; not where nothing is known of its inputs, or it has no predict.

    What has no model within (a graph, a predictor around others) has the outputs that it says.
    `own` is what the model itself knows: its classes by its own names. `sample` are rows of training data, as model.json keeps them.
    """
    predictor: Any = loaded.predictor
    signature = predictor.signature
    named = {output.name: output for output in signature.outputs}
    if EXPLAIN in named and named[EXPLAIN].how is not None:  # it is made of a model that was loaded, and explained, before
        return loaded
    model = getattr(predictor, "model", None)
    if callable(getattr(model, EXPLAIN, None)):
        named.setdefault(EXPLAIN, Output(name=EXPLAIN, type="object", width=-1))
        return dataclasses.replace(loaded, predictor=dataclasses.replace(predictor, signature=_answering(signature, named)))
    if (EXPLAIN in named and model is None) or not signature.inputs or not named.keys() & set(SCORES):
        return loaded
    known = _Known(predictor, signature, tuple(tuple(row) for row in sample), settings)
    way = next((found for find in _WAYS if (found := find(known)) is not None), None) or _ablation(known, own)
    named[EXPLAIN] = Output(name=EXPLAIN, width=len(signature.inputs), dtype="float64", how=way.how)
    around = ExplainingPredictor(predictor, _answering(signature, named), predictor.rows_independent, way.make)
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
    coefficients: Any = getattr(model, "coef_", None)  # None where it was never fitted
    places, shape = _places(known, steps), np.shape(coefficients)
    if places is None or not shape or shape[-1] != len(places) or (len(shape) > 1 and shape[0] > 1 and not _has_classes(model)):
        return None

    def make() -> Explainer:
        from dragoman.predictors.explanations.linear import LinearExplainer

        return LinearExplainer(model, known.derived(known.predictor.feed, steps, places), known.background(), known.pieces())

    return _Way(f"exact (linear) against {'the background sample' if known.sample else _zero(steps)}", make)


def _zero(steps: tuple[Any, ...]) -> str:
    """What zero is, in the columns that a linear model weighs."""
    if not steps:
        return "zero"
    scaled = type(steps[-1]).__name__ == "StandardScaler" and steps[-1].with_mean
    return "the scaler's mean" if scaled else "zero after its transformers"


def _native(known: _Known) -> _Way | None:
    """Boosters in scikit-learn's shape, and pipelines that end in one."""
    if not isinstance(known.predictor, EstimatorPredictor):
        return None
    steps, model = unwrapped(known.predictor.model)
    package = package_of(model)
    if type(model).__name__ not in _WRAPPERS.get(package, ()) or _has_linear_trees(model):
        return None
    places = _places(known, steps)
    if places is None:
        return None
    threads = known.settings.threads

    def contributions() -> Contributions:
        from dragoman.predictors.explanations.boosters import of_lightgbm, of_xgboost

        if package == "lightgbm":
            return of_lightgbm(model.predict, model.booster_.num_model_per_iteration())
        rounds = 0 if model.booster == "gblinear" else int(model.get_booster().attr("best_iteration") or -1) + 1
        return of_xgboost(model.get_booster(), threads=threads, missing=model.missing, rounds=rounds)

    return _booster(known, package, contributions, lambda: known.derived(known.predictor.feed, steps, places))


def _bare(known: _Known) -> _Way | None:
    """Boosters of xgboost's and lightgbm's own."""
    if not isinstance(known.predictor, BoosterPredictor) or _has_linear_trees(known.predictor.model):
        return None
    booster, package, threads = known.predictor.model, package_of(known.predictor.model), known.settings.threads

    def contributions() -> Contributions:
        from dragoman.predictors.explanations.boosters import of_lightgbm, of_xgboost

        if package == "lightgbm":
            return of_lightgbm(partial(booster.predict, num_threads=threads), booster.num_model_per_iteration())
        return of_xgboost(booster, threads=threads)

    places = np.arange(len(known.signature.inputs))
    return _booster(known, package, contributions, lambda: known.derived(known.predictor.matrix, (), places))


def _booster(known: _Known, package: str, contributions: Callable[[], Contributions], derived: Callable[[], Derived]) -> _Way:
    def make() -> Explainer:
        from dragoman.predictors.explanations.boosters import BoosterExplainer

        return BoosterExplainer(contributions(), derived(), _values(known.signature), known.pieces())

    return _Way(f"native ({package})", make)


def _ablation(known: _Known, own: Signature) -> _Way:
    def make() -> Explainer:
        from dragoman.predictors.explanations.ablation import AblationExplainer

        names = tuple(dict.fromkeys(tuple(classes) for classes in (own.classes, known.signature.classes) if classes))
        model = unwrapped(getattr(known.predictor, "model", None))[1]
        pairs = getattr(model, "decision_function_shape", "ovr") == "ovo"  # a score for each pair of classes is none of a class
        methods = tuple(m for m in SCORES if not (pairs and m == "decision_function"))
        return AblationExplainer(known.background(), names, known.pieces(), methods)

    return _Way(f"ablation against {'the background sample' if known.sample else 'the example row'}", make)


_WAYS: tuple[Callable[[_Known], _Way | None], ...] = (_linear, _native, _bare)


# --- what they look at ----------------------------------------------------------------------------------------------


def _places(known: _Known, steps: tuple[Any, ...]) -> Array | None:
    """Of each column after the steps, the place in the signature of the one input that it is made of; None where that cannot be told."""
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
    placed: Array = where[found]
    return None if (placed < 0).any() else placed


def _has_linear_trees(model: Any) -> bool:
    """lightgbm has no contributions of them."""
    booster = getattr(model, "booster_", model)
    return package_of(booster) == "lightgbm" and bool(getattr(booster, "params", {}).get("linear_tree"))


def _has_classes(model: Any) -> bool:
    return getattr(model, "classes_", None) is not None


def _several_labels(model: Any) -> bool:
    """Ridge's classifiers take several labels a row."""
    return str(getattr(getattr(model, "_label_binarizer", None), "y_type_", "")).startswith("multilabel")


def _values(signature: Signature) -> int:
    """How many values an answer may have a row: for the size of what is held at once."""
    return max(1, len(signature.classes or ()), *(output.width or 1 for output in signature.outputs))
