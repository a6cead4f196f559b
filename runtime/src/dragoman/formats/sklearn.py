"""scikit-learn estimators, and boosters in their shape: joblib, pickle (code) and skops (data)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from dragoman.errors import ModelLoadFailed
from dragoman.formats import boosting, lightgbm, skops, xgboost
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.libraries import require, versions_of
from dragoman.formats.unpickle import guarded, unpickle
from dragoman.signature import Signature

if TYPE_CHECKING:
    from dragoman.predictors.feed import Feed

_PACKAGES = frozenset(["sklearn", "xgboost", "lightgbm", "imblearn"])
_WRAPPED = {"xgboost": xgboost.of_wrapper, "lightgbm": lightgbm.of_wrapper}  # they know more of their inputs than their wrappers do
_SHORT_WAYS = {"sklearn": boosting.short_ways, "xgboost": xgboost.short_ways, "lightgbm": lightgbm.short_ways}
_BOOSTERS = {"xgboost": xgboost.of_booster, "lightgbm": lightgbm.of_booster}
_OF_BOOSTER = {"xgboost": xgboost.signature_of, "lightgbm": lightgbm.signature_of}
_SUFFIXES = frozenset([".joblib", ".pkl", ".pickle", ".sav"])


class Sklearn:
    name: ClassVar[str] = "sklearn"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if skops.is_skops(candidate):
            return Recognised("a skops file")
        pickle = candidate.pickle
        if pickle is not None:
            ours = declared or (pickle.root or "").partition(".")[0] in _PACKAGES
            return Recognised(f"a pickle of {pickle.root or 'a plain object'}", runs_code=True) if ours else None
        if candidate.suffix in _SUFFIXES:
            return Recognised(f"named {candidate.suffix}, though not readable as a pickle", runs_code=True, sure=False)
        return None

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        path = files.path(file)
        require("sklearn", file)
        if skops.is_skops(Candidate(file, path)):
            model, warnings = skops.load(file, path)
        else:
            model, warnings = unpickle(file, path)
        return of_estimator(model, file, settings, warnings)


def of_estimator(model: Any, file: str, settings: Settings, warnings: tuple[str, ...] = ()) -> LoadedModel:
    """A predictor of a fitted estimator. `ModelLoadFailed` where it is none, or was never fitted."""
    from dragoman.formats.estimators import package_of, walk
    from dragoman.formats.feeding import feed_of
    from dragoman.formats.rowwise import rows_independent
    from dragoman.predictors.estimator import EstimatorPredictor

    if not callable(getattr(model, "predict", None)):
        raise ModelLoadFailed(f"{Path(file).name} holds a {type(model).__name__}, which has no predict method")
    if type(model).__name__ == "Booster" and package_of(model) in _BOOSTERS:
        return _BOOSTERS[package_of(model)](model, settings, warnings)
    with guarded(file) as heard:
        parts = list(walk(model))
        for part in parts:
            _bound_threads(part, settings.threads)
        signature, feed = signature_and_feed(model)
        feed = feed or feed_of(model, parts, whole=signature.extra_columns == "refuse")
        short = _SHORT_WAYS[package_of(model)](model) if package_of(model) in _SHORT_WAYS else {}
        predictor = EstimatorPredictor(model, signature, rows_independent(model), feed, short)
    packages = {package_of(part) for part in parts} | {"numpy"}
    return LoadedModel(predictor, versions_of(packages), (*warnings, *heard.lines))


def signature_and_feed(model: Any) -> tuple[Signature, Feed | None]:
    """What a fitted estimator knows of its inputs and outputs; and, for a booster's wrapper, how it is fed."""
    from dragoman.formats.estimators import package_of
    from dragoman.formats.inference import infer

    signature = infer(model)
    if package_of(model) not in _WRAPPED:
        return signature, None
    own, feed = _WRAPPED[package_of(model)](model)
    return msgspec.structs.replace(signature, inputs=own.inputs, named=own.named), feed


def signature_of_booster(booster: Any) -> Signature:
    """What a bare Booster, of xgboost or lightgbm, knows of itself."""
    from dragoman.formats.estimators import package_of

    return _OF_BOOSTER[package_of(booster)](booster)


def _bound_threads(part: Any, threads: int) -> None:
    """An estimator fitted with `n_jobs=-1` would start as many threads as the node has cores, for each request.

    Boosters get their share of OpenMP's. scikit-learn's own get one: handing out the work costs more than it saves, also at 1,000 rows
    (a forest of 100 trees: 10 and 12 ms with one thread, 20 and 19 ms with two, on two cores).
    """
    from dragoman.formats.estimators import package_of

    if type(part).__name__ == "Booster" and package_of(part) == "xgboost":
        part.set_param({"nthread": threads})
    elif isinstance(getattr(part, "__dict__", {}).get("n_jobs"), int) and hasattr(part, "get_params"):
        part.n_jobs = threads if package_of(part) in _WRAPPED else 1
