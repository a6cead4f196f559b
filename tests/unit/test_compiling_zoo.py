"""A zoo of estimators and pipelines: each is compiled and answers as it did, or is seen to fall back, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from palmerpenguins import load_penguins
from sklearn import (
    compose,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    gaussian_process,
    kernel_ridge,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from dragoman.call import PREDICT
from dragoman.check import Checker
from dragoman.compiling import compile_model
from dragoman.formats import Settings
from dragoman.formats.sklearn import of_estimator
from dragoman.predictors.compiled import beside, load
from dragoman.table import Table

NUMBERS, WORDS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"], ["island", "sex"]


@cache
def iris() -> tuple[Any, Any]:
    rows, species = load_iris(return_X_y=True)
    return rows, np.array(["setosa", "versicolor", "virginica"])[species]


@cache
def coded_iris() -> tuple[Any, Any]:
    rows, species = load_iris(return_X_y=True)
    return rows, species


@cache
def nuclei() -> tuple[Any, Any]:
    rows, benign = load_breast_cancer(return_X_y=True)
    return rows[:300], benign[:300]


@cache
def diabetes() -> tuple[Any, Any]:
    rows, progression = load_diabetes(return_X_y=True)
    return rows, progression


@cache
def about_nought() -> tuple[Any, Any]:
    """Numbers on both sides of nought, where lightgbm has a threshold of its own."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 8))
    return rows, (rows[:, 0] * rows[:, 1] + rows[:, 2] > rng.normal(0, 0.5, 1500)).astype(int)


@cache
def penguins() -> tuple[Any, Any]:
    table = load_penguins()
    return table[WORDS + NUMBERS], table["species"]


@cache
def categorical_penguins() -> tuple[Any, Any]:
    table = load_penguins()
    rows = table[WORDS + NUMBERS].copy()
    rows[WORDS] = rows[WORDS].astype("category")
    return rows, table["species"].astype("category").cat.codes.to_numpy()


def columns(last: Any, numbers: Any = None, words: Any = None) -> Any:
    """A pipeline of a mixed-type ColumnTransformer."""
    numbers = numbers or make_pipeline(SimpleImputer(strategy="median"), preprocessing.StandardScaler())
    words = words or make_pipeline(SimpleImputer(strategy="most_frequent"), preprocessing.OneHotEncoder(handle_unknown="ignore"))
    return make_pipeline(compose.make_column_transformer((numbers, NUMBERS), (words, WORDS)), last)


class Own(linear_model.LogisticRegression):  # type: ignore[misc]
    """An author's own estimator: what it does is not known."""


Own.__module__ = "authors.own"

_UNKNOWN = "not among the estimators"
SCALED = preprocessing.StandardScaler
COMPILED: dict[str, tuple[str, Callable[[], tuple[Any, Any]], Callable[[], Any]]] = {
    # linear models, alone and after steps
    "logistic regression": ("onnx", iris, lambda: linear_model.LogisticRegression(max_iter=500)),
    "logistic regression of two": ("onnx", nuclei, lambda: make_pipeline(SCALED(), linear_model.LogisticRegression())),
    "logistic regression, scaled": ("onnx", iris, lambda: make_pipeline(SCALED(), linear_model.LogisticRegression())),
    "logistic regression, min and max": (
        "onnx",
        iris,
        lambda: make_pipeline(preprocessing.MinMaxScaler(), linear_model.LogisticRegression()),
    ),
    "logistic regression, components": ("onnx", iris, lambda: make_pipeline(decomposition.PCA(2), linear_model.LogisticRegression())),
    "logistic regression, imputed": ("onnx", iris, lambda: make_pipeline(SimpleImputer(), SCALED(), linear_model.LogisticRegression())),
    "logistic regression, cross-validated": ("onnx", iris, lambda: make_pipeline(SCALED(), linear_model.LogisticRegressionCV(cv=2))),
    "ridge classifier": ("onnx", iris, linear_model.RidgeClassifier),
    "perceptron": ("onnx", iris, linear_model.Perceptron),
    "stochastic gradient descent": ("onnx", iris, lambda: linear_model.SGDClassifier(random_state=0)),
    "linear support vectors": ("onnx", iris, lambda: make_pipeline(SCALED(), svm.LinearSVC())),
    "linear discriminant analysis": ("onnx", iris, discriminant_analysis.LinearDiscriminantAnalysis),
    "linear regression": ("onnx", diabetes, linear_model.LinearRegression),
    "ridge, robustly scaled": ("onnx", diabetes, lambda: make_pipeline(preprocessing.RobustScaler(), linear_model.Ridge())),
    "lasso": ("onnx", diabetes, linear_model.Lasso),
    "elastic net": ("onnx", diabetes, linear_model.ElasticNet),
    "bayesian ridge": ("onnx", diabetes, linear_model.BayesianRidge),
    "huber": ("onnx", diabetes, linear_model.HuberRegressor),
    "quantiles": ("onnx", diabetes, linear_model.QuantileRegressor),
    "poisson": ("onnx", diabetes, linear_model.PoissonRegressor),
    "partial least squares": ("onnx", diabetes, PLSRegression),
    # others that are sums of products
    "network, classifier": (
        "onnx",
        iris,
        lambda: make_pipeline(SCALED(), neural_network.MLPClassifier((8,), max_iter=200, random_state=0)),
    ),
    "network, regressor": (
        "onnx",
        diabetes,
        lambda: make_pipeline(SCALED(), neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=200, random_state=0)),
    ),
    "gaussian naive bayes": ("onnx", iris, naive_bayes.GaussianNB),
    "multinomial naive bayes": ("onnx", iris, lambda: make_pipeline(preprocessing.MinMaxScaler(clip=True), naive_bayes.MultinomialNB())),
    "calibrated": ("onnx", iris, lambda: CalibratedClassifierCV(linear_model.LogisticRegression(max_iter=500), cv=2)),
    # trees
    "decision tree": ("treelite", iris, lambda: tree.DecisionTreeClassifier(random_state=0)),
    "decision tree, regressor": ("treelite", diabetes, lambda: tree.DecisionTreeRegressor(max_depth=6, random_state=0)),
    "random forest": ("treelite", iris, lambda: ensemble.RandomForestClassifier(20, random_state=0)),
    "random forest of two": ("treelite", nuclei, lambda: ensemble.RandomForestClassifier(20, random_state=0)),
    "random forest, regressor": ("treelite", diabetes, lambda: ensemble.RandomForestRegressor(20, random_state=0)),
    "extra trees": ("treelite", iris, lambda: ensemble.ExtraTreesClassifier(20, random_state=0)),
    "extra trees, regressor": ("treelite", diabetes, lambda: ensemble.ExtraTreesRegressor(20, random_state=0)),
    "gradient boosting": ("treelite", iris, lambda: ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0)),
    "gradient boosting of two": ("treelite", nuclei, lambda: ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0)),
    "gradient boosting, exponential": (
        "treelite",
        nuclei,
        lambda: ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=10, random_state=0),
    ),
    "gradient boosting, regressor": ("treelite", diabetes, lambda: ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0)),
    "histogram boosting": ("treelite", iris, lambda: ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)),
    "histogram boosting of two": ("treelite", nuclei, lambda: ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)),
    "histogram boosting, regressor": ("treelite", diabetes, lambda: ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=0)),
    "histogram boosting, poisson": (
        "treelite",
        diabetes,
        lambda: ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=10, random_state=0),
    ),
    "a search for a forest": (
        "treelite",
        iris,
        lambda: model_selection.GridSearchCV(ensemble.RandomForestClassifier(10, random_state=0), {"max_depth": [2, 3]}, cv=2),
    ),
    "xgboost": (
        "treelite",
        coded_iris,
        lambda: xgboost.XGBClassifier(n_estimators=10, n_jobs=1),
    ),
    "xgboost of two": ("treelite", nuclei, lambda: xgboost.XGBClassifier(n_estimators=20, n_jobs=1)),
    "xgboost, regressor": ("treelite", diabetes, lambda: xgboost.XGBRegressor(n_estimators=20, n_jobs=1)),
    "xgboost, random forest": ("treelite", nuclei, lambda: xgboost.XGBRFClassifier(n_estimators=20, n_jobs=1)),
    "xgboost, poisson": ("treelite", diabetes, lambda: xgboost.XGBRegressor(n_estimators=20, objective="count:poisson", n_jobs=1)),
    "lightgbm": ("treelite", iris, lambda: lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1)),
    "lightgbm of two": ("treelite", nuclei, lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1)),
    "lightgbm, regressor": ("treelite", diabetes, lambda: lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1)),
    "lightgbm about nought": ("treelite", about_nought, lambda: lightgbm.LGBMClassifier(n_estimators=150, verbose=-1, n_jobs=1)),
    "xgboost of many trees": ("treelite", about_nought, lambda: xgboost.XGBClassifier(n_estimators=300, n_jobs=1)),
    "lightgbm with categories": ("treelite", categorical_penguins, lambda: lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1)),
    # a graph that feeds trees
    "random forest, scaled": ("onnx+treelite", iris, lambda: make_pipeline(SCALED(), ensemble.RandomForestClassifier(20, random_state=0))),
    "histogram boosting, scaled": (
        "onnx+treelite",
        iris,
        lambda: make_pipeline(SCALED(), ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)),
    ),
    # numbers and words, some missing
    "columns, logistic regression": ("onnx", penguins, lambda: columns(linear_model.LogisticRegression(max_iter=1000))),
    "columns, random forest": ("onnx+treelite", penguins, lambda: columns(ensemble.RandomForestClassifier(20, random_state=0))),
    "columns, histogram boosting": (
        "onnx+treelite",
        penguins,
        lambda: columns(ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)),
    ),
}
FALL_BACK: dict[str, tuple[str, Callable[[], tuple[Any, Any]], Callable[[], Any]]] = {
    **{
        type(make()).__name__: (_UNKNOWN, data, make)
        for data, make in (
            (iris, svm.SVC),  # in 32 bits as a graph
            (diabetes, svm.SVR),
            (iris, lambda: ensemble.BaggingClassifier(random_state=0)),
            (iris, lambda: ensemble.AdaBoostClassifier(n_estimators=5, random_state=0)),
            (
                iris,
                lambda: ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier())]),
            ),
            (iris, naive_bayes.BernoulliNB),
            (iris, discriminant_analysis.QuadraticDiscriminantAnalysis),
            (iris, neighbors.KNeighborsClassifier),  # of neighbours at the same distance, a graph takes others
            (iris, neighbors.NearestCentroid),
            (diabetes, kernel_ridge.KernelRidge),
            (iris, gaussian_process.GaussianProcessClassifier),
            (iris, lambda: dummy.DummyClassifier(strategy="prior")),
            (iris, lambda: neighbors.RadiusNeighborsClassifier(1.0)),
        )
    },
    "polynomials": (_UNKNOWN, diabetes, lambda: make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.Ridge())),
    "an encoder that knows missing words": (
        "differs",
        penguins,
        lambda: columns(linear_model.LogisticRegression(max_iter=1000), words=preprocessing.OneHotEncoder(handle_unknown="ignore")),
    ),
    "several targets": (
        "several targets",
        lambda: (iris()[0], iris()[0][:, :2]),
        lambda: ensemble.RandomForestRegressor(5, random_state=0),
    ),
    "categories within histograms": (
        "categorical features of its own",
        categorical_penguins,
        lambda: ensemble.HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5),
    ),
    "categories within xgboost": (
        "treelite does not take",
        categorical_penguins,
        lambda: xgboost.XGBClassifier(n_estimators=5, n_jobs=1, enable_categorical=True),
    ),
    "linear xgboost": ("no trees", diabetes, lambda: xgboost.XGBRegressor(booster="gblinear", n_jobs=1)),
    "trees that are dropped at random": (
        "differs",
        nuclei,
        lambda: xgboost.XGBClassifier(booster="dart", rate_drop=0.3, n_estimators=20, n_jobs=1),
    ),
    "linear trees": (
        "treelite does not take",
        diabetes,
        lambda: lightgbm.LGBMRegressor(linear_tree=True, n_estimators=5, verbose=-1, n_jobs=1),
    ),
    "an author's own": ("none of scikit-learn's own", iris, Own),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models, and other tests beside them: more threads only wait for each other."""
    with threadpool_limits(1):
        yield


def fitted(data: Callable[[], tuple[Any, Any]], make: Callable[[], Any]) -> Any:
    with np.errstate(all="ignore"):
        return of_estimator(make().fit(*data()), "model.joblib", Settings()).predictor


def strange_rows(predictor: Any, rows: Any) -> Table:
    """The training data's own rows, the same with noise, and with values missing where that is allowed."""
    table = pd.DataFrame(np.asarray(rows, dtype=object), columns=[field.name for field in predictor.signature.inputs])
    noisy, rng = table.copy(), np.random.default_rng(7)
    for field in predictor.signature.inputs:
        if field.type == "number":
            numbers = table[field.name].astype(float)
            noisy[field.name] = numbers * rng.normal(1, 0.5, len(table)) + rng.normal(0, 0.1, len(table))
            noisy[field.name] = noisy[field.name].clip(lower=field.minimum)
        if field.nullable:
            noisy.loc[rng.random(len(table)) < 0.1, field.name] = None
    together = pd.concat([table, noisy], ignore_index=True)
    named = {str(name): together[name].where(together[name].notna(), None).to_numpy(dtype=object) for name in together}
    return Checker(predictor.signature)(Table.of_columns(named))


def same(expected: Any, answered: Any) -> None:
    assert answered.shape == expected.shape
    if expected.dtype.kind == "f":
        typical = np.abs(expected).max(axis=1, keepdims=True) if expected.ndim == 2 else np.median(np.abs(expected))
        assert np.all(np.abs(answered - expected) <= 1e-12 * np.maximum(np.abs(expected), typical))
    else:
        assert answered.tolist() == expected.tolist()


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.filterwarnings("ignore")  # of training, which is not what is tested
def test_a_compiled_model_answers_as_its_original(tmp_path: Path, name: str) -> None:
    engine, data, make = COMPILED[name]
    predictor = fitted(data, make)
    made = compile_model(predictor, tmp_path)
    if made.reason.startswith("it is proven equal, and no faster"):  # on a busy machine; that is measured, and not what is tested
        return
    assert made.reason == ""
    assert made.engine == engine
    assert made.rows >= 2000
    assert made.largest_difference <= 1e-12
    assert PREDICT in made.outputs

    table = strange_rows(predictor, data()[0])
    both, alone = beside(predictor, tmp_path, 1), load(tmp_path)
    for output in made.outputs:
        expected = np.asarray(predictor.predict(table, (output,), {})[output])
        same(expected, alone.predict(table, (output,), {})[output])
        same(expected, np.asarray(both.predict(table, (output,), {})[output]))


@pytest.mark.parametrize("name", FALL_BACK)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_proven_equal_is_served_as_it_is(tmp_path: Path, name: str) -> None:
    reason, data, make = FALL_BACK[name]
    made = compile_model(fitted(data, make), tmp_path)
    assert re.search(reason, made.reason), made.reason
    assert made.engine == ""


def test_the_zoo_is_large_enough_to_mean_something() -> None:
    assert len(COMPILED) + len(FALL_BACK) >= 40
    assert len(FALL_BACK) >= 10
