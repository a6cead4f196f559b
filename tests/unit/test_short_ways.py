"""The short ways around lightgbm's and xgboost's wrappers, and around boosting in scikit-learn, give what the long ones give, and leave to
them what they refuse."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError

from dragoman.formats import boosting
from dragoman.formats import xgboost as xgboost_format
from dragoman.formats.lightgbm import short_ways
from dragoman.predictors.single_row import of_lightgbm, of_xgboost

RANDOM = np.random.default_rng(3)
ROWS = RANDOM.normal(size=(80, 4))
ASKED = np.vstack([ROWS[:20], np.full((1, 4), np.nan), np.full((1, 4), 1e300)])
QUIET: dict[str, Any] = {"n_estimators": 5, "min_child_samples": 2, "verbose": -1, "n_jobs": 1}


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (lightgbm.LGBMClassifier(**QUIET), ROWS[:, 0] > 0),
        (lightgbm.LGBMClassifier(**QUIET), np.where(ROWS[:, 0] > 0, "yes", "no")),
        (lightgbm.LGBMClassifier(**QUIET), np.digitize(ROWS[:, 0], [-0.5, 0.5]) * 10),
        (lightgbm.LGBMClassifier(objective="multiclassova", **QUIET), np.digitize(ROWS[:, 0], [-0.5, 0.5])),
        (lightgbm.LGBMRegressor(**QUIET), ROWS[:, 0] + ROWS[:, 1]),
        (lightgbm.LGBMRegressor(objective="poisson", **QUIET), np.abs(ROWS[:, 0])),
        (lightgbm.LGBMRegressor(boosting_type="dart", **QUIET), ROWS[:, 1]),
    ],
)
def test_the_short_way_gives_what_the_method_gives(model: Any, target: Any) -> None:
    model.fit(ROWS, target)
    ways = short_ways(model)
    assert set(ways) == {name for name in ("predict", "predict_proba") if hasattr(model, name)}
    for name, way in ways.items():
        for rows in (ASKED, ASKED[:1]):
            short, long = way(rows), getattr(model, name)(rows)
            assert short.dtype == long.dtype
            np.testing.assert_array_equal(short, long)


@pytest.mark.parametrize("rows", [ROWS[:, :3], ROWS[:0], ROWS.astype(object), ROWS.tolist(), ROWS[0]])
def test_rows_that_the_method_would_look_at_are_left_to_it(rows: Any) -> None:
    model = lightgbm.LGBMRegressor(**QUIET).fit(ROWS, ROWS[:, 0])
    assert short_ways(model)["predict"](rows) is None


def _own_objective(truth: Any, found: Any) -> tuple[Any, Any]:
    return found - truth, np.ones_like(truth)


class Mine(lightgbm.LGBMRegressor):
    """An author's own subclass may do anything in its predict."""


@pytest.mark.parametrize(
    "model",
    [lightgbm.LGBMRegressor(objective=_own_objective, **QUIET), lightgbm.LGBMRegressor(pred_early_stop=True, **QUIET), Mine(**QUIET)],
)
def test_models_with_something_of_their_authors_have_no_short_way(model: Any) -> None:
    assert short_ways(model.fit(ROWS, ROWS[:, 0])) == {}


def test_a_model_that_was_never_fitted_says_so_itself() -> None:
    with pytest.raises(NotFittedError):
        short_ways(lightgbm.LGBMRegressor(**QUIET))


# --- a single row, by LightGBM's C API -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"objective": "binary"}, ROWS[:, 0] > 0),
        ({"objective": "regression"}, ROWS[:, 0]),
        ({"objective": "multiclass", "num_class": 3}, np.digitize(ROWS[:, 0], [-0.5, 0.5])),
        ({"objective": "poisson"}, np.abs(ROWS[:, 0])),
        ({"objective": "regression", "linear_tree": True}, ROWS[:, 0]),
    ],
)
def test_a_row_by_itself_is_answered_to_the_last_bit_as_by_the_booster(parameters: dict[str, Any], target: Any) -> None:
    booster = lightgbm.train({**parameters, "verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(ROWS, target), 8)
    row_by_row = of_lightgbm(booster, 1)
    for i in range(len(ASKED)):
        expected = np.asarray(booster.predict(ASKED[i : i + 1]))
        answer = row_by_row(ASKED[i : i + 1])
        assert answer.shape == expected.shape
        np.testing.assert_array_equal(answer, expected)
    assert row_by_row._single is not None
    np.testing.assert_array_equal(row_by_row(ASKED), booster.predict(ASKED))


def test_the_best_iteration_is_a_single_rows_too() -> None:
    train, valid = lightgbm.Dataset(ROWS[:60], ROWS[:60, 0]), lightgbm.Dataset(ROWS[60:], -ROWS[60:, 0])
    parameters = {"objective": "regression", "verbose": -1, "min_data_in_leaf": 2}
    stops: list[Any] = [lightgbm.early_stopping(3, verbose=False)]
    booster = lightgbm.train(parameters, train, 40, valid_sets=[valid], callbacks=stops, keep_training_booster=True)
    assert 0 < booster.best_iteration < booster.current_iteration()
    row_by_row = of_lightgbm(booster, 1)
    for _ in range(2):
        np.testing.assert_array_equal(row_by_row(ASKED[:1]), booster.predict(ASKED[:1]))


def test_rows_of_another_width_or_kind_are_left_to_the_booster() -> None:
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(ROWS, ROWS[:, 0]), 3)
    row_by_row = of_lightgbm(booster, 1)
    with pytest.raises(lightgbm.basic.LightGBMError, match="number of features"):
        row_by_row(ASKED[:1, :3])
    np.testing.assert_array_equal(row_by_row(ASKED[:1].astype(np.float32)), booster.predict(ASKED[:1].astype(np.float32)))


# --- xgboost -------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"n_estimators": 5, "n_jobs": 1}


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (xgboost.XGBClassifier(**SMALL), ROWS[:, 0] > 0),
        (xgboost.XGBClassifier(**SMALL), np.digitize(ROWS[:, 0], [-0.5, 0.5])),
        (xgboost.XGBRFClassifier(**SMALL), (ROWS[:, 0] > 0).astype(int)),
        (xgboost.XGBRegressor(**SMALL), ROWS[:, 0] + ROWS[:, 1]),
        (xgboost.XGBRegressor(**SMALL), ROWS[:, :2]),
        (xgboost.XGBRegressor(objective="count:poisson", **SMALL), np.abs(ROWS[:, 0])),
        (xgboost.XGBRegressor(booster="dart", **SMALL), ROWS[:, 1]),
    ],
)
def test_the_short_way_around_xgboost_gives_what_the_method_gives(model: Any, target: Any) -> None:
    model.fit(ROWS, target)
    asked = np.clip(ASKED, -1e30, 1e30).astype(np.float32)
    ways = xgboost_format.short_ways(model)
    assert set(ways) == {name for name in ("predict", "predict_proba") if hasattr(model, name)}
    for name, way in ways.items():
        for rows in (asked, asked[:1]):
            short, long = way(rows), getattr(model, name)(rows)
            assert short.dtype == long.dtype
            np.testing.assert_array_equal(short, long)


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"objective": "binary:logistic"}, ROWS[:, 0] > 0),
        ({"objective": "reg:squarederror", "base_score": 3.5}, ROWS[:, 0]),
        ({"objective": "multi:softprob", "num_class": 3}, np.digitize(ROWS[:, 0], [-0.5, 0.5])),
        ({"objective": "multi:softmax", "num_class": 3}, np.digitize(ROWS[:, 0], [-0.5, 0.5])),
        ({"objective": "reg:squarederror", "multi_strategy": "multi_output_tree"}, ROWS[:, :2]),
        ({"booster": "dart", "rate_drop": 0.3}, ROWS[:, 0]),
        ({"objective": "binary:logistic", "num_parallel_tree": 3}, ROWS[:, 0] > 0),
    ],
)
def test_a_row_by_itself_is_answered_to_the_last_bit_as_by_xgboost(parameters: dict[str, Any], target: Any) -> None:
    booster = xgboost.train({**parameters, "nthread": 1}, xgboost.DMatrix(ROWS, target), 8)
    asked = np.clip(ASKED, -1e30, 1e30).astype(np.float32)
    row_by_row = of_xgboost(booster)
    for i in range(len(asked)):
        expected = booster.inplace_predict(asked[i : i + 1])
        answer = row_by_row(asked[i : i + 1])
        assert (answer.shape, answer.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(answer, expected)
    assert row_by_row._single is not None
    first = row_by_row(asked[:1])
    row_by_row(asked[1:2])
    np.testing.assert_array_equal(first, booster.inplace_predict(asked[:1]))  # an answer outlives the next
    np.testing.assert_array_equal(row_by_row(asked), booster.inplace_predict(asked))


def test_rows_of_another_width_or_kind_are_left_to_xgboost() -> None:
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(ROWS, ROWS[:, 0]), 3)
    row_by_row = of_xgboost(booster)
    row_by_row(ROWS[:1].astype(np.float32))
    with pytest.raises(xgboost.core.XGBoostError, match="Number of columns"):
        row_by_row(ROWS[:1, :3].astype(np.float32))
    np.testing.assert_array_equal(row_by_row(ROWS[:1]), booster.inplace_predict(ROWS[:1]))


def test_labels_of_several_targets_are_left_to_xgboost() -> None:
    """Each is yes or no for itself: the greatest of them is no answer."""
    model = xgboost.XGBClassifier(**SMALL).fit(ROWS, np.stack([ROWS[:, 0] > 0, ROWS[:, 0] > 1], axis=1).astype(int))
    assert xgboost_format.short_ways(model) == {}


def test_early_stopping_holds_on_the_short_way() -> None:
    model = xgboost.XGBClassifier(n_estimators=50, n_jobs=1, early_stopping_rounds=2)
    model.fit(ROWS[:60], ROWS[:60, 0] > 0, eval_set=[(ROWS[60:], ROWS[60:, 0] < 0)], verbose=False)
    rows, way = ROWS.astype(np.float32), xgboost_format.short_ways(model)["predict_proba"]
    np.testing.assert_array_equal(way(rows), model.predict_proba(rows))
    for _ in range(2):
        np.testing.assert_array_equal(way(rows[:1]), model.predict_proba(rows[:1]))


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBRegressor(booster="gblinear", **SMALL),
        xgboost.XGBRegressor(missing=0.0, **SMALL),
        xgboost.XGBClassifier(objective="binary:hinge", **SMALL),
        xgboost.XGBRegressor(objective=_own_objective, **SMALL),
    ],
)
def test_wrappers_that_do_more_have_no_short_way(model: Any) -> None:
    model.fit(ROWS, ROWS[:, 0] > 0)
    assert xgboost_format.short_ways(model) == {}


# --- scikit-learn's histogram gradient boosting ----------------------------------------------------------------------

WIDE = RANDOM.normal(size=(400, 6)) * np.array([1, 1e6, 1e-6, 1, 1, 1])
WIDE[:, 4] = np.exp(3 * WIDE[:, 4])  # most of its thresholds close together
WIDE[:, 5] = RANDOM.integers(0, 3, 400)
GAPS = np.where(RANDOM.random(WIDE.shape) < 0.1, np.nan, WIDE)
CLASSES = np.digitize(WIDE[:, 0] + WIDE[:, 3], [-0.8, 0.8])
AMOUNTS = WIDE[:, 0] * 3 + WIDE[:, 3] + WIDE[:, 5]
FEW: dict[str, Any] = {"max_iter": 25, "min_samples_leaf": 3, "early_stopping": False, "random_state": 0}
BOOSTED: dict[str, tuple[Any, Any, Any]] = {
    "two classes": (HistGradientBoostingClassifier(**FEW), WIDE, CLASSES > 0),
    "words": (HistGradientBoostingClassifier(**FEW), GAPS, np.array(["a", "b"])[(CLASSES > 0).astype(int)]),
    "three classes": (HistGradientBoostingClassifier(**FEW), GAPS, CLASSES),
    "one class is rare": (HistGradientBoostingClassifier(**FEW), WIDE, (np.arange(400) == 7) * 2),
    "amounts": (HistGradientBoostingRegressor(**FEW), WIDE, AMOUNTS),
    "amounts, with gaps": (HistGradientBoostingRegressor(**FEW), GAPS, AMOUNTS),
    "counts": (HistGradientBoostingRegressor(loss="poisson", **FEW), WIDE, np.abs(AMOUNTS)),
    "a quantile": (HistGradientBoostingRegressor(loss="quantile", quantile=0.9, **FEW), GAPS, AMOUNTS),
    "64 leaves": (HistGradientBoostingRegressor(max_leaf_nodes=64, **(FEW | {"min_samples_leaf": 1})), GAPS, AMOUNTS),
    "33 leaves": (HistGradientBoostingClassifier(max_leaf_nodes=33, **(FEW | {"min_samples_leaf": 1})), GAPS, CLASSES),
    "stumps": (HistGradientBoostingRegressor(max_depth=1, **FEW), GAPS, AMOUNTS),
    "few places": (HistGradientBoostingRegressor(max_bins=3, **FEW), GAPS, AMOUNTS),
    "stopped early": (
        HistGradientBoostingClassifier(max_iter=200, early_stopping=True, n_iter_no_change=30, random_state=0),
        WIDE,
        CLASSES,
    ),
    "7 leaves": (HistGradientBoostingClassifier(max_leaf_nodes=7, **FEW), GAPS, CLASSES),
    "9 leaves": (HistGradientBoostingClassifier(max_leaf_nodes=9, **FEW), GAPS, CLASSES > 0),
    "rising": (HistGradientBoostingRegressor(monotonic_cst=[1, 0, 0, 1, 0, 0], **FEW), WIDE, AMOUNTS),
}


@pytest.fixture(scope="module", params=BOOSTED)
def boosted(request: pytest.FixtureRequest) -> Any:
    model, rows, target = BOOSTED[request.param]
    return model.fit(rows, target)


def _asked(model: Any) -> Any:
    """Rows as trained on, and rows on the thresholds, just beside them, far away, and missing."""
    nodes = np.concatenate([tree.nodes for iteration in model._predictors for tree in iteration])
    splits = nodes[nodes["is_leaf"] == 0]
    on = WIDE.repeat(2, axis=0)
    for feature in range(WIDE.shape[1]):
        known = splits["num_threshold"][splits["feature_idx"] == feature]
        if len(known):
            on[:, feature] = RANDOM.choice(known, len(on))
    away = RANDOM.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0, -0.0], size=WIDE.shape)
    return np.vstack([WIDE, GAPS, on, np.nextafter(on, np.inf), np.nextafter(on, -np.inf), away])


def test_boosting_by_masks_of_leaves_is_boosting_to_the_last_bit(boosted: Any) -> None:
    ways, asked = boosting.short_ways(boosted), _asked(boosted)
    assert set(ways) == {name for name in ("predict", "predict_proba", "decision_function") if hasattr(boosted, name)}
    for name, way in ways.items():
        for rows in (asked, asked[:1], asked[5:7], asked[:33], asked[:300], np.asfortranarray(asked[100:200]), asked[::7, ::-1][:, ::-1]):
            short, long = way(rows), getattr(boosted, name)(rows)
            assert short.dtype == long.dtype
            np.testing.assert_array_equal(short, long)


def test_however_many_rows_are_asked_sums_are_added_in_the_order_of_the_trees(boosted: Any) -> None:
    way = next(iter(boosting.short_ways(boosted).items()))
    asked = _asked(boosted)
    long = getattr(boosted, way[0])(asked[:70])
    for count in range(1, 70):
        np.testing.assert_array_equal(way[1](asked[:count]), long[:count])


@pytest.mark.parametrize("rows", [WIDE[:, :5], WIDE[:0], WIDE.astype(object), WIDE.astype(np.float32), WIDE.tolist(), WIDE[0]])
def test_rows_that_boosting_would_look_at_are_left_to_it(rows: Any) -> None:
    model = HistGradientBoostingRegressor(**FEW).fit(WIDE, AMOUNTS)
    assert boosting.short_ways(model)["predict"](rows) is None


def test_many_rows_of_few_trees_are_walked() -> None:
    model = HistGradientBoostingRegressor(**(FEW | {"max_iter": 2})).fit(WIDE, AMOUNTS)
    way = boosting.short_ways(model)["predict"]
    np.testing.assert_array_equal(way(WIDE[:100]), model.predict(WIDE[:100]))
    assert way(WIDE) is None


class Boosted(HistGradientBoostingRegressor):  # type: ignore[misc]  # scikit-learn has no types
    """An author's own."""


@pytest.mark.parametrize(
    "model",
    [
        Boosted(**FEW),
        HistGradientBoostingRegressor(categorical_features=[5], **FEW),
        HistGradientBoostingRegressor(max_leaf_nodes=80, **(FEW | {"min_samples_leaf": 1})),
        HistGradientBoostingRegressor(**(FEW | {"min_samples_leaf": 400})),  # leaves only
    ],
    ids=["a subclass", "categories", "more leaves than bits", "no split"],
)
def test_boosting_that_is_better_walked_is_left_as_it_is(model: Any) -> None:
    assert boosting.short_ways(model.fit(WIDE, AMOUNTS)) == {}


def test_trees_whose_leaves_stand_in_another_order_are_walked() -> None:
    model = HistGradientBoostingRegressor(**FEW).fit(WIDE, AMOUNTS)
    nodes = model._predictors[3][0].nodes
    nodes["left"][0], nodes["right"][0] = nodes["right"][0], nodes["left"][0]
    assert boosting.short_ways(model) == {}


def test_masks_that_do_not_agree_with_the_model_are_not_used() -> None:
    model = HistGradientBoostingRegressor(**FEW).fit(WIDE, AMOUNTS)
    way = boosting.short_ways(model)["predict"]
    model._predictors[3][0].nodes["num_threshold"][0] = 1e9  # as if another version of scikit-learn meant something else by it
    assert way(WIDE) is None
    assert way(WIDE) is None
