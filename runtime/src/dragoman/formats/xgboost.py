"""xgboost's own files, JSON and UBJ: data.

A file that `XGBClassifier.save_model` (or another of the scikit-learn wrappers) wrote says so, and is loaded as that wrapper, with labels
and probabilities. Any other is a Booster, whose predict gives what its objective gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from dragoman.formats.categories import category_codes, category_type
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.libraries import require, versions_of
from dragoman.formats.unpickle import guarded
from dragoman.signature import Field, FieldType, Output, Signature

if TYPE_CHECKING:
    from dragoman.predictors.feed import Feed

_JSON = re.compile(rb'^\s*\{\s*"(learner|version|Config)"\s*:')
_TYPES: dict[str, FieldType] = {"float": "number", "q": "number", "int": "integer", "i": "boolean"}
_WRAPPERS = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}


class Xgboost:
    name: ClassVar[str] = "xgboost"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        head = candidate.head
        if _JSON.match(head) and b'"learner' in head:
            return Recognised("an xgboost model in JSON")
        if head[:1] == b"{" and head[1:2] in b"iIlLU" and b"learner" in head[:64]:
            return Recognised("an xgboost model in UBJ")
        if candidate.suffix in (".ubj", ".xgb") or (declared and candidate.suffix in (".json", ".bst", ".model")):
            return Recognised(f"named {candidate.suffix}, though not readable as an xgboost model", sure=False)
        return None

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        xgboost = require("xgboost", file)
        with guarded(file) as heard:
            raw = bytearray(files.path(file).read_bytes())
            booster = xgboost.Booster(model_file=raw)
            wrapper = _WRAPPERS.get(_estimator_type(booster))
            if wrapper is not None:
                return _wrapped(xgboost, wrapper, raw, file, settings, tuple(heard.lines))
            return of_booster(booster, settings, tuple(heard.lines))


def of_booster(booster: Any, settings: Settings, warnings: tuple[str, ...] = ()) -> LoadedModel:
    """A predictor of a bare Booster."""
    from dragoman.predictors.booster import BoosterPredictor, Matrix

    booster.set_param({"nthread": settings.threads})
    categories = categories_of(booster)
    matrix = Matrix(dtype="float32", codes=category_codes(categories))
    predictor = BoosterPredictor(
        booster, signature_of(booster, categories), matrix, _run_linear if _is_linear(booster) else _runner(booster)
    )
    return LoadedModel(predictor, versions_of(["xgboost", "numpy"]), warnings)


def _wrapped(xgboost: Any, wrapper: str, raw: bytearray, file: str, settings: Settings, warnings: tuple[str, ...]) -> LoadedModel:
    from dragoman.formats.sklearn import of_estimator

    require("sklearn", file)
    model = getattr(xgboost, wrapper)(n_jobs=settings.threads)
    model.load_model(raw)
    return of_estimator(model, file, settings, warnings)


def of_wrapper(model: Any) -> tuple[Signature, Feed]:
    """What the booster inside a fitted scikit-learn wrapper says of its inputs, and how the wrapper is fed: categories go in as codes."""
    from dragoman.predictors.booster import Matrix

    booster = model.get_booster()
    categories = categories_of(booster)
    return signature_of(booster, categories), Matrix(dtype="float32", codes=category_codes(categories))


def short_ways(model: Any) -> dict[str, Callable[[Any], Any]]:
    """What a fitted scikit-learn wrapper's methods do around its booster, without its contexts and its looks at the rows.

    Only of xgboost's own classes, and of objectives whose answers its wrappers pass on, or tell apart at one half.
    """
    kind, objective = type(model).__name__, model.objective
    booster = model.get_booster()
    if type(model).__module__ != "xgboost.sklearn" or model.booster == "gblinear" or model.missing == model.missing or callable(objective):
        return {}
    from dragoman.predictors.feed import FLOAT32, is_plain
    from dragoman.predictors.single_row import of_xgboost

    width, plain_rows = booster.num_features(), of_xgboost(booster, model._get_iteration_range(None))

    def values(rows: Any) -> Any:
        return plain_rows(rows) if is_plain(rows, FLOAT32, width) else None

    def probabilities(rows: Any) -> Any:
        import numpy as np

        found = values(rows)
        return found if found is None or found.ndim > 1 else np.vstack((1.0 - found, found)).transpose()

    def labels(rows: Any) -> Any:
        found = values(rows)
        return found if found is None else found.argmax(axis=1) if found.ndim > 1 else (found > 0.5).astype("int64")

    if kind in ("XGBClassifier", "XGBRFClassifier"):
        one_target = _configuration(booster)["learner_model_param"].get("num_target", "1") == "1"  # else labels are a row of yes and no
        told = (objective == "binary:logistic" and one_target) or (objective == "multi:softprob" and model.n_classes_ > 2)
        return {"predict": labels, "predict_proba": probabilities} if told else {}
    return {"predict": values} if kind in ("XGBRegressor", "XGBRFRegressor") else {}


def signature_of(booster: Any, categories: Mapping[int, Sequence[Any]] | None = None) -> Signature:
    """Names and types that training gave, one output, and missing values welcome."""
    names, types = booster.feature_names, booster.feature_types
    categories = categories_of(booster) if categories is None else categories
    inputs = tuple(_field(i, names, types, categories.get(i)) for i in range(booster.num_features()))
    learner = _configuration(booster)
    width = int(learner["learner_model_param"]["num_class"])
    targets = int(learner["learner_model_param"].get("num_target", "1"))
    several = width if width > 1 and learner["objective"]["name"] != "multi:softmax" else targets
    output = Output(name="predict", width=several if several > 1 else None, dtype="float32")
    return Signature(inputs=inputs, outputs=(output,), named=names is not None)


def _field(index: int, names: Sequence[str] | None, types: Sequence[str] | None, categories: Sequence[Any] | None) -> Field:
    name = names[index] if names else f"f{index}"
    if categories is not None:
        return Field(name=name, type=category_type(categories) or "number", enum=tuple(categories), nullable=True)
    type_ = _TYPES.get(types[index], "number") if types else "number"
    return Field(name=name, type=type_, nullable=True, dtype="float32" if type_ == "number" else None)


class _Encoder(msgspec.Struct):
    values: list[int | float] = []
    offsets: list[int] = []


class _Categories(msgspec.Struct):
    enc: list[_Encoder] = []


class _Trees(msgspec.Struct):
    cats: _Categories | None = None


class _Gradient(msgspec.Struct):
    model: _Trees | None = None
    gbtree: _Gradient | None = None  # dart wraps one


class _Learner(msgspec.Struct):
    gradient_booster: _Gradient


class _Model(msgspec.Struct):
    learner: _Learner


def categories_of(booster: Any) -> dict[int, list[Any]]:
    """The categories of each categorical column, in the order of their codes, where the model keeps them (xgboost 3.1 and later)."""
    if "c" not in (booster.feature_types or ()):
        return {}
    gradient: _Gradient | None = msgspec.json.decode(bytes(booster.save_raw("json")), type=_Model).learner.gradient_booster
    if gradient is not None and gradient.model is None:
        gradient = gradient.gbtree
    encoders = gradient.model.cats.enc if gradient is not None and gradient.model is not None and gradient.model.cats is not None else []
    return {i: _decoded(e) for i, e in enumerate(encoders) if e.values}


def _decoded(encoder: _Encoder) -> list[Any]:
    """Strings are kept as UTF-8 bytes one after another, with offsets; numbers as they are."""
    if not encoder.offsets:
        return list(encoder.values)
    text = bytes(int(v) % 256 for v in encoder.values)
    return [text[a:b].decode("utf-8", "replace") for a, b in zip(encoder.offsets, encoder.offsets[1:], strict=False)]


def _configuration(booster: Any) -> Any:
    return json.loads(booster.save_config())["learner"]


def _estimator_type(booster: Any) -> str:
    try:
        return str(json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type", ""))
    except ValueError:
        return ""


def _is_linear(booster: Any) -> bool:
    return bool(_configuration(booster)["gradient_booster"]["name"] == "gblinear")


def _runner(booster: Any) -> Callable[[Any, Any, Mapping[str, Any]], Any]:
    from dragoman.predictors.single_row import of_xgboost

    plain = of_xgboost(booster)

    def run(booster: Any, matrix: Any, arguments: Mapping[str, Any]) -> Any:
        return booster.inplace_predict(matrix, validate_features=False, **arguments) if arguments else plain(matrix)

    return run


def _run_linear(booster: Any, matrix: Any, arguments: Mapping[str, Any]) -> Any:
    """gblinear has no prediction in place."""
    import xgboost

    return booster.predict(xgboost.DMatrix(matrix), validate_features=False, **arguments)
