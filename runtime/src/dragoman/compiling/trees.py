"""Ensembles of trees as treelite models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dragoman.compiling.errors import NotCompiled
from dragoman.formats.estimators import package_of
from dragoman.table import Array


@dataclass(frozen=True)
class Ensemble:
    """What treelite took over, and how it answers: see `program.Trees`."""

    model: Any
    scores: str
    dtype: Literal["float32", "float64"]
    margin: bool = True


def ensemble_of(model: Any) -> Ensemble | None:
    """None where the model is no ensemble of trees that treelite knows. `NotCompiled` where this one is of a kind that it does not."""
    make = _KINDS.get((package_of(model), type(model).__name__))
    if make is None:
        return None
    import treelite

    try:
        return make(model)
    except (treelite.TreeliteError, NotImplementedError, RuntimeError, ValueError, AssertionError) as error:
        raise NotCompiled.because(f"treelite does not take this {type(model).__name__}", error) from error


def thresholds(ensemble: Ensemble, features: int, each: int = 64) -> list[Array]:
    """For each feature some of the values that it is compared with, spread over all of them."""
    found: list[list[Array]] = [[] for _ in range(features)]
    for tree in range(ensemble.model.num_tree):
        accessor = ensemble.model.get_tree_accessor(tree)
        feature, value = accessor.get_field("split_index"), accessor.get_field("threshold")
        for index in np.unique(feature[feature >= 0]):
            if index < features:
                found[index].append(np.unique(value[feature == index])[:each].astype(np.float64))
    return [_spread(np.unique(np.concatenate(values)), each) if values else np.empty(0) for values in found]


def _spread(values: Array, count: int) -> Array:
    values = values[np.isfinite(values)]
    chosen: Array = values[np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).astype(int))] if len(values) else values
    return chosen


# --- scikit-learn --------------------------------------------------------------------------------------------------


def _imported(model: Any) -> Any:
    import treelite

    return treelite.sklearn.import_model(model)


def _one_target(model: Any) -> None:
    if getattr(model, "n_outputs_", 1) != 1:
        raise NotCompiled(f"this {type(model).__name__} has several targets")


def _votes(model: Any) -> Ensemble:
    _one_target(model)
    return Ensemble(_imported(model), "votes", "float32")


def _mean(model: Any) -> Ensemble:
    _one_target(model)
    return Ensemble(_imported(model), "value", "float32")


def _tree(model: Any) -> Ensemble:
    """A forest of this one tree."""
    import sklearn.ensemble

    _one_target(model)
    classifies = hasattr(model, "classes_")
    forest = sklearn.ensemble.RandomForestClassifier(1) if classifies else sklearn.ensemble.RandomForestRegressor(1)
    forest.estimators_, forest.n_features_in_, forest.n_outputs_ = [model], model.n_features_in_, 1
    if classifies:
        forest.classes_, forest.n_classes_ = model.classes_, model.n_classes_
    return Ensemble(_imported(forest), "votes" if classifies else "value", "float32")


def _boosted_classes(model: Any) -> Ensemble:
    scores = "softmax" if len(model.classes_) > 2 else {"exponential": "exponential or equal"}.get(model.loss, "logistic or equal")
    return Ensemble(_imported(model), scores, "float32")


def _boosted_value(model: Any) -> Ensemble:
    return Ensemble(_imported(model), "value", "float32")


def _histograms_of_classes(model: Any) -> Ensemble:
    _no_categories(model)
    return Ensemble(_imported(model), "softmax" if len(model.classes_) > 2 else "logistic", "float64")


def _histograms_of_value(model: Any) -> Ensemble:
    _no_categories(model)
    return Ensemble(_imported(model), "log" if model.loss in ("poisson", "gamma") else "value", "float64")


def _no_categories(model: Any) -> None:
    categorical = getattr(model, "is_categorical_", None)
    if categorical is not None and any(categorical):
        raise NotCompiled(f"this {type(model).__name__} has categorical features of its own")


# --- xgboost, lightgbm ---------------------------------------------------------------------------------------------


def _xgboost_booster(booster: Any) -> Ensemble:
    import treelite

    if json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear":
        raise NotCompiled("a gblinear booster has no trees")
    best = booster.best_iteration if booster.attr("best_iteration") is not None else None
    booster = booster if best is None else booster[: best + 1]
    model = _added_as_xgboost_does(treelite.frontend.from_xgboost(booster), booster)
    return Ensemble(model, _values_of(model), "float32", margin=False)


def _xgboost_classifier(model: Any) -> Ensemble:
    made = _xgboost_booster(model.get_booster())
    return Ensemble(made.model, "votes" if model.n_classes_ > 2 else "probability", "float32", margin=False)


def _xgboost_regressor(model: Any) -> Ensemble:
    return _xgboost_booster(model.get_booster())


def _added_as_xgboost_does(model: Any, booster: Any) -> Any:
    """xgboost begins with its base score, in 32 bits, and adds tree after tree; treelite adds it last, and another last bit comes out.

    So it becomes a tree that comes first. What it is to the last bit is found out: xgboost keeps it as a probability of few digits.
    """
    header = model.get_header_accessor()
    base = header.get_field("base_scores").astype(np.float32)
    header.set_field("base_scores", np.zeros(len(base)))
    known = thresholds(Ensemble(model, "", "float32"), model.num_feature)
    rows = _around(known, _ROWS_FOR_BASE)
    expected = booster.inplace_predict(rows, predict_type="margin", validate_features=False).reshape(len(rows), -1)
    return _with_first(model, _base_to_the_bit(model, base, rows, expected))


def _base_to_the_bit(model: Any, base: Array, rows: Array, expected: Array) -> Array:
    """The base score, near the one given, from which the trees add up to what is expected; the one given where there is none."""
    import treelite

    leaves = treelite.gtil.predict_per_tree(model, rows, nthread=1).reshape(len(rows), model.num_tree)
    classes = model.get_header_accessor().get_field("class_id")
    found = base.copy()
    for index in range(len(base)):
        near = (base[index].view(np.int32) + np.arange(-_NEAR, _NEAR + 1, dtype=np.int32)).view(np.float32)
        own = leaves[:, classes == index] if len(base) > 1 else leaves
        for start in range(0, len(rows), _ROWS_AT_ONCE):  # the first rows leave few, which the others tell apart
            part = slice(start, start + _ROWS_AT_ONCE)
            sums = np.repeat(near[None, :], len(own[part]), axis=0)
            for leaf in own[part].T:
                sums += leaf[:, None]
            near = near[(sums == expected[part, index, None]).all(axis=0)]
        if len(near):
            found[index] = near[np.argmin(np.abs(near - base[index]))]
    return found


def _with_first(model: Any, base: Array) -> Any:
    """The ensemble, after a tree for each score that gives its base."""
    import treelite
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    header = model.get_header_accessor()
    metadata = Metadata(
        num_feature=model.num_feature,
        task_type="kMultiClf" if len(base) > 1 else "kRegressor",
        average_tree_output=False,
        num_target=1,
        num_class=[len(base)],
        leaf_vector_shape=(1, 1),
    )
    builder: Any = ModelBuilder(
        threshold_type="float32",
        leaf_output_type="float32",
        metadata=metadata,
        tree_annotation=TreeAnnotation(num_tree=len(base), target_id=[0] * len(base), class_id=list(range(len(base)))),
        postprocessor=PostProcessorFunc(name="identity"),
        base_scores=[0.0] * len(base),
    )
    for score in base:
        builder.start_tree()
        builder.start_node(0)
        builder.leaf(float(score))
        builder.end_node()
        builder.end_tree()
    whole = treelite.Model.concatenate([builder.commit(), model])
    for name in ("postprocessor", "sigmoid_alpha", "ratio_c"):
        whole.get_header_accessor().set_field(name, header.get_field(name))
    return whole


def _around(known: Sequence[Array], rows: int) -> Array:
    """Rows of values that the trees compare with."""
    rng = np.random.default_rng(0)
    columns = [rng.choice(values, rows) if len(values) else rng.normal(size=rows) for values in known]
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)


def _lightgbm_booster(booster: Any) -> Ensemble:
    import treelite

    model = treelite.frontend.from_lightgbm(booster)
    _zeros_as_lightgbm_has_them(model)
    return Ensemble(model, _values_of(model), "float64", margin=False)


def _zeros_as_lightgbm_has_them(model: Any) -> None:
    """To lightgbm a number as near to nought as its threshold for noughts is nought, also where a tree compares with that threshold."""
    for index in range(model.num_tree):
        tree = model.get_tree_accessor(index)
        values = tree.get_field("threshold")
        at_the_threshold = values == -_LIGHTGBM_ZERO
        if at_the_threshold.any():
            tree.set_field("threshold", np.where(at_the_threshold, np.nextafter(values, -np.inf), values))


def _lightgbm_classifier(model: Any) -> Ensemble:
    made = _lightgbm_booster(model.booster_)
    several = model.n_classes_ > 2  # treelite's own function of several is in 32 bits
    return Ensemble(made.model, "classes" if several else "probability", "float64", margin=several)


def _lightgbm_regressor(model: Any) -> Ensemble:
    return _lightgbm_booster(model.booster_)


def _values_of(model: Any) -> str:
    import treelite

    shape = treelite.gtil.predict(model, np.zeros((2, model.num_feature), dtype=model.input_type), nthread=1).shape
    return "value" if int(np.prod(shape[1:])) == 1 else "values"


_LIGHTGBM_ZERO = float(np.float32(1e-35))  # kZeroThreshold
_NEAR = 1024  # last bits
_ROWS_FOR_BASE, _ROWS_AT_ONCE = 4096, 128
_KINDS: Mapping[tuple[str, str], Callable[[Any], Ensemble]] = {
    **{("sklearn", name): _votes for name in ("RandomForestClassifier", "ExtraTreesClassifier")},
    **{("sklearn", name): _mean for name in ("RandomForestRegressor", "ExtraTreesRegressor")},
    **{
        ("sklearn", name): _tree
        for name in ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
    },
    ("sklearn", "GradientBoostingClassifier"): _boosted_classes,
    ("sklearn", "GradientBoostingRegressor"): _boosted_value,
    ("sklearn", "HistGradientBoostingClassifier"): _histograms_of_classes,
    ("sklearn", "HistGradientBoostingRegressor"): _histograms_of_value,
    ("xgboost", "Booster"): _xgboost_booster,
    **{("xgboost", name): _xgboost_classifier for name in ("XGBClassifier", "XGBRFClassifier")},
    **{("xgboost", name): _xgboost_regressor for name in ("XGBRegressor", "XGBRFRegressor", "XGBRanker")},
    ("lightgbm", "Booster"): _lightgbm_booster,
    ("lightgbm", "LGBMClassifier"): _lightgbm_classifier,
    **{("lightgbm", name): _lightgbm_regressor for name in ("LGBMRegressor", "LGBMRanker")},
}
