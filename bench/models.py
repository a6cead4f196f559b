"""The models that are measured: trained here, from data that scikit-learn ships or drawn with a fixed seed; kept in bench/.work/models.

All but the mixed one are fitted on plain arrays, so that no server pays for a check of names that its rows do not have.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from bench.contest import WORK

FOLDER = WORK / "models"
FEATURES = 30
_TREES = 500


def model(name: str) -> Path:
    """The file of a model, trained when it is not there yet."""
    path = FOLDER / f"{name}.joblib"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".draft")
        joblib.dump(MODELS[name](), fresh)
        fresh.rename(path)
    return path


def rows_of(name: str, count: int) -> Any:
    """Rows that a model takes: a 2-D float array, or a frame for the mixed one. Drawn with another seed than its training."""
    if name == "iris":
        return _iris()[0][:: max(1, 150 // count)][:count]
    if name == "mixed":
        return _mixed(count, seed=1)[0]
    return _numbers(count, seed=1)[0]


def _iris() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    measurements, species = load_iris(return_X_y=True)
    return measurements, species


def _numbers(count: int, seed: int = 0) -> tuple[Any, Any]:
    """30 normal features, and a class of two that a few of them decide, not without error."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, FEATURES))
    score = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + rows[:, 3] - 0.5 * rows[:, 4] + rng.normal(0, 0.5, count)
    return rows, (score > 0).astype(np.int64)


def _mixed(count: int, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Four numbers, some missing, and three columns of words; whether somebody buys."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, count).astype(float),
            "income": rng.lognormal(10, 0.5, count).round(2),
            "visits": rng.poisson(3, count).astype(float),
            "days_since": rng.exponential(30, count).round(1),
            "country": rng.choice(["AT", "CH", "DE", "FR", "IT"], count),
            "device": rng.choice(["desktop", "phone", "tablet"], count),
            "plan": rng.choice(["basic", "free", "pro"], count),
        }
    )
    score = frame["visits"] / 3 - frame["days_since"] / 30 + (frame["plan"] == "pro") + rng.normal(0, 0.5, count)
    frame.loc[rng.random(count) < 0.1, "age"] = np.nan
    return frame, np.where(score > 0, "buys", "leaves")


def _train_iris() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*_iris())


def _train_hist() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=0, early_stopping=False).fit(*_numbers(5000))


def _train_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, random_state=0, n_jobs=1).fit(*_numbers(2000))


def _train_xgboost() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=_TREES, max_depth=6, learning_rate=0.05, n_jobs=1, random_state=0).fit(*_numbers(5000))


def _train_lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=_TREES, learning_rate=0.05, n_jobs=1, random_state=0, verbose=-1).fit(*_numbers(5000))


def _train_mixed() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, bought = _mixed(2000)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "visits", "days_since"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["country", "device", "plan"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame, bought)


MODELS: dict[str, Callable[[], Any]] = {
    "iris": _train_iris,
    "hist": _train_hist,
    "forest": _train_forest,
    "xgboost": _train_xgboost,
    "lightgbm": _train_lightgbm,
    "mixed": _train_mixed,
}
