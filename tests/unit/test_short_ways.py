"""The short ways around lightgbm's and xgboost's wrappers give what the wrappers give, and leave to them what they refuse."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.exceptions import NotFittedError

from dragoman.formats import xgboost as xgboost_format
from dragoman.formats.lightgbm import short_ways
from dragoman.predictors.single_row import RowByRow

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
    row_by_row = RowByRow(booster, 1)
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
    row_by_row = RowByRow(booster, 1)
    for _ in range(2):
        np.testing.assert_array_equal(row_by_row(ASKED[:1]), booster.predict(ASKED[:1]))


def test_rows_of_another_width_or_kind_are_left_to_the_booster() -> None:
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(ROWS, ROWS[:, 0]), 3)
    row_by_row = RowByRow(booster, 1)
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


def test_early_stopping_holds_on_the_short_way() -> None:
    model = xgboost.XGBClassifier(n_estimators=50, n_jobs=1, early_stopping_rounds=2)
    model.fit(ROWS[:60], ROWS[:60, 0] > 0, eval_set=[(ROWS[60:], ROWS[60:, 0] < 0)], verbose=False)
    rows = ROWS.astype(np.float32)
    np.testing.assert_array_equal(xgboost_format.short_ways(model)["predict_proba"](rows), model.predict_proba(rows))


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
