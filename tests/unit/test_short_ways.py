"""The short way around lightgbm's wrappers gives what the wrappers give, and leaves to them what they refuse."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from dragoman.formats.lightgbm import short_ways

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
