"""xgboost and lightgbm explain themselves: our numbers are their own contributions, without the bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.support.models import answer, iris, loaded

from dragoman.errors import BadRequest, InvalidInput
from dragoman.formats import LoadedModel

QUIET: dict[str, Any] = {"verbose": -1, "min_child_samples": 2}


def served(model: Any, folder: Path) -> LoadedModel:
    joblib.dump(model, folder / "model.joblib")
    return loaded(folder / "model.joblib")


def how(model: LoadedModel) -> str | None:
    return next(o.how for o in model.predictor.signature.outputs if o.name == "explain")


def targets() -> dict[str, Any]:
    measurements, species = iris()
    return {"binary": (species > 0).astype(int), "several": species, "value": measurements["petal_width"].to_numpy()}


def of_predicted(given: Any, predicted: Any) -> Any:
    """(rows, classes, inputs + 1) or (rows, inputs + 1) to (rows, inputs): the class predicted, without the bias."""
    return (given[np.arange(len(given)), predicted] if given.ndim == 3 else given)[:, :-1]


@pytest.mark.parametrize("of", ["binary", "several", "value"])
@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_an_xgboost_wrapper_gives_its_own_contributions(tmp_path: Path, of: str, booster: str) -> None:
    measurements, _ = iris()
    kind = xgboost.XGBRegressor if of == "value" else xgboost.XGBClassifier
    model = kind(n_estimators=4, booster=booster).fit(measurements, targets()[of])
    expected = model.get_booster().predict(xgboost.DMatrix(measurements), pred_contribs=True)
    predicted = model.predict(measurements).astype(int)
    here = served(model, tmp_path)
    assert how(here) == "native (xgboost)"
    explained = answer(here, measurements.to_dict("records"), "explain")
    assert (explained.shape, explained.dtype.name) == ((75, 4), "float64")
    np.testing.assert_allclose(explained, of_predicted(expected, predicted), rtol=1e-6, atol=1e-7)


def test_only_the_rounds_that_early_stopping_kept_contribute(tmp_path: Path) -> None:
    measurements, _ = iris()
    target = targets()["value"]
    model = xgboost.XGBRegressor(n_estimators=60, early_stopping_rounds=2, learning_rate=0.9)
    model.fit(measurements[::2], target[::2], eval_set=[(measurements[1::2], target[1::2])], verbose=False)
    rounds = model.best_iteration + 1
    assert rounds < model.get_booster().num_boosted_rounds()
    given = model.get_booster().predict(xgboost.DMatrix(measurements), pred_contribs=True, iteration_range=(0, rounds))
    explained = answer(served(model, tmp_path), measurements.to_dict("records"), "explain")
    np.testing.assert_allclose(explained, given[:, :-1], rtol=1e-6)
    np.testing.assert_allclose(explained.sum(axis=1) + given[:, -1], model.predict(measurements), rtol=1e-5)


@pytest.mark.parametrize(
    ("objective", "of"),
    [("binary:logistic", "binary"), ("reg:squarederror", "value"), ("multi:softprob", "several"), ("multi:softmax", "several")],
)
def test_a_bare_xgboost_booster_gives_its_own_contributions(tmp_path: Path, objective: str, of: str) -> None:
    measurements, _ = iris()
    options = {"objective": objective} | ({"num_class": 3} if of == "several" else {})
    booster = xgboost.train(options, xgboost.DMatrix(measurements, targets()[of]), num_boost_round=4)
    booster.save_model(tmp_path / "model.ubj")
    here = loaded(tmp_path / "model.ubj")
    rows = xgboost.DMatrix(measurements)
    predicted = booster.predict(rows, output_margin=True).reshape(75, -1).argmax(axis=1)
    expected = of_predicted(booster.predict(rows, pred_contribs=True), predicted)
    assert how(here) == "native (xgboost)"
    np.testing.assert_allclose(answer(here, measurements.to_dict("records"), "explain"), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("write", ["joblib", "ubj"])
def test_categories_and_missing_values_contribute(tmp_path: Path, write: str) -> None:
    measurements, _ = iris()
    frame = measurements[["sepal_length"]].assign(colour=pd.Categorical(np.where(measurements["petal_width"] > 1, "blue", "white")))
    frame.loc[::7, "sepal_length"] = np.nan
    frame.loc[::5, "colour"] = np.nan
    model = xgboost.XGBRegressor(n_estimators=4, enable_categorical=True, tree_method="hist").fit(frame, targets()["value"])
    expected = model.get_booster().predict(xgboost.DMatrix(frame, enable_categorical=True), pred_contribs=True)
    if write == "joblib":
        here = served(model, tmp_path)
    else:
        model.save_model(tmp_path / "model.ubj")
        here = loaded(tmp_path / "model.ubj")
    rows = [
        {"sepal_length": None if np.isnan(a) else a, "colour": None if pd.isna(c) else c}
        for a, c in zip(*map(frame.get, frame), strict=True)
    ]
    np.testing.assert_allclose(answer(here, rows, "explain"), expected[:, :-1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("of", ["binary", "several", "value"])
@pytest.mark.parametrize("named", [True, False])
def test_a_lightgbm_wrapper_gives_its_own_contributions(tmp_path: Path, of: str, named: bool) -> None:
    measurements, _ = iris()
    kind = lightgbm.LGBMRegressor if of == "value" else lightgbm.LGBMClassifier
    rows = measurements if named else measurements.to_numpy()
    model = kind(n_estimators=4, **QUIET).fit(rows, targets()[of])
    given = np.asarray(model.predict(rows, pred_contrib=True)).reshape(75, -1, 5)
    expected = of_predicted(given, np.asarray(model.predict(rows)).astype(int) if of == "several" else np.zeros(75, dtype=int))
    here = served(model, tmp_path)
    assert how(here) == "native (lightgbm)"
    np.testing.assert_allclose(answer(here, measurements.to_numpy().tolist(), "explain"), expected, rtol=1e-12)


@pytest.mark.parametrize(("objective", "of"), [("binary", "binary"), ("regression", "value"), ("multiclass", "several")])
def test_a_bare_lightgbm_booster_gives_its_own_contributions(tmp_path: Path, objective: str, of: str) -> None:
    measurements, _ = iris()
    options = {"objective": objective, **QUIET} | ({"num_class": 3} if of == "several" else {})
    booster = lightgbm.train(options, lightgbm.Dataset(measurements, targets()[of]), num_boost_round=4)
    booster.save_model(tmp_path / "model.txt")
    given = np.asarray(booster.predict(measurements, pred_contrib=True)).reshape(75, -1, 5)
    predicted = np.asarray(booster.predict(measurements, raw_score=True)).reshape(75, -1).argmax(axis=1)
    here = loaded(tmp_path / "model.txt")
    assert how(here) == "native (lightgbm)"
    explained = answer(here, measurements.to_dict("records"), "explain")
    np.testing.assert_allclose(explained, of_predicted(given, predicted), rtol=1e-12)


def test_linear_trees_have_no_contributions_of_their_own(tmp_path: Path) -> None:
    measurements, _ = iris()
    model = lightgbm.LGBMRegressor(linear_tree=True, n_estimators=3, **QUIET).fit(measurements, targets()["value"])
    here = served(model, tmp_path)
    assert how(here) == "ablation against the example row"
    assert np.abs(answer(here, measurements.to_dict("records"), "explain")).max() > 0


def coloured() -> pd.DataFrame:
    measurements, _ = iris()
    colours = np.array(["white", "blue", "violet"])[np.arange(75) % 3]
    return measurements[["sepal_length", "petal_length"]].assign(colour=colours)


@pytest.mark.parametrize(
    "model",
    [xgboost.XGBClassifier(n_estimators=4), lightgbm.LGBMClassifier(n_estimators=4, **QUIET)],
    ids=["xgboost", "lightgbm"],
)
def test_in_a_pipeline_the_columns_of_one_input_are_added_up(tmp_path: Path, model: Any) -> None:
    frame = coloured()
    columns = make_column_transformer((OneHotEncoder(), ["colour"]), (StandardScaler(), ["petal_length", "sepal_length"]))
    pipeline = make_pipeline(columns, model).fit(frame, targets()["several"])
    here = served(pipeline, tmp_path)
    derived = np.asarray(pipeline[0].transform(frame))
    predicted = pipeline.predict(frame)
    if isinstance(model, xgboost.XGBClassifier):
        given = pipeline[-1].get_booster().predict(xgboost.DMatrix(derived), pred_contribs=True)
    else:
        given = np.asarray(pipeline[-1].booster_.predict(derived, pred_contrib=True)).reshape(75, 3, -1)
    own = of_predicted(given, predicted).astype(float)  # three colours, petal, sepal
    expected = np.column_stack([own[:, 4], own[:, 3], own[:, :3].sum(axis=1)])
    assert how(here) == f"native ({model.__class__.__module__.partition('.')[0]})"
    np.testing.assert_allclose(answer(here, frame.to_dict("records"), "explain"), expected, rtol=1e-6, atol=1e-7)


def test_in_a_pipeline_that_mixes_columns_it_is_ablation(tmp_path: Path) -> None:
    measurements, species = iris()
    model = make_pipeline(PCA(2), xgboost.XGBClassifier(n_estimators=2)).fit(measurements, species)
    assert how(served(model, tmp_path)) == "ablation against the example row"


def test_what_a_search_found_explains_itself(tmp_path: Path) -> None:
    measurements, species = iris()
    model = GridSearchCV(xgboost.XGBClassifier(n_estimators=2), {"max_depth": [1, 2]}, cv=2).fit(measurements, species)
    assert how(served(model, tmp_path)) == "native (xgboost)"


def test_many_rows_are_explained_as_each_alone(tmp_path: Path) -> None:
    measurements, species = iris()
    here = served(xgboost.XGBClassifier(n_estimators=2).fit(measurements, species), tmp_path)
    rows = np.tile(measurements.to_numpy(), (30, 1))  # more than are explained at once
    explained = answer(here, rows.tolist(), "explain")
    np.testing.assert_array_equal(explained, np.tile(explained[:75], (30, 1)))


def test_several_targets_have_no_one_number_to_explain(tmp_path: Path) -> None:
    measurements, _ = iris()
    model = xgboost.XGBRegressor(n_estimators=2).fit(measurements, np.column_stack([targets()["value"]] * 2))
    with pytest.raises(BadRequest, match="the model answers 2 values a row, and an explanation is of one"):
        answer(served(model, tmp_path), measurements.to_dict("records"), "explain")


def test_there_are_no_arguments_to_an_explanation(tmp_path: Path) -> None:
    measurements, species = iris()
    here = served(xgboost.XGBClassifier(n_estimators=2).fit(measurements, species), tmp_path)
    with pytest.raises(InvalidInput, match="the model's explain takes no arguments"):
        answer(here, measurements.to_dict("records"), "explain", iteration_range=(0, 1))
