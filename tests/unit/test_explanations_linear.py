"""Linear models are explained exactly: what the inputs contribute, and the score at the reference, add up to the row's score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from palmerpenguins import load_penguins
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC, LinearSVR
from tests.support.models import answer, iris, json_rows, loaded, nuclei

import dragoman
from dragoman.errors import InvalidInput
from dragoman.formats import LoadedModel
from dragoman.signature import Field

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]


def penguins() -> tuple[pd.DataFrame, Any]:
    """Strings and numbers, some of them missing, and the species."""
    birds = load_penguins()
    return birds[WORDS + NUMBERS], birds["species"]


def mixed(estimator: Any, **encoding: Any) -> Any:
    """The columns of penguins, in another order than they are sent in, made numbers of."""
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), NUMBERS),
            (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", **encoding)), WORDS),
        ),
        estimator,
    )


def served(model: Any, folder: Path) -> LoadedModel:
    joblib.dump(model, folder / "model.joblib")
    return loaded(folder / "model.joblib")


def how(model: LoadedModel) -> str | None:
    return next(o.how for o in model.predictor.signature.outputs if o.name == "explain")


def scores(model: Any, rows: Any) -> Any:
    """Shape (rows, classes), or (rows, 1) of two classes and of a value."""
    found = model.decision_function(rows) if hasattr(model, "decision_function") else model.predict(rows)
    return found.reshape(len(rows), -1)


def of_predicted(found: Any) -> Any:
    return found[:, 0] if found.shape[1] == 1 else found.max(axis=1)


def assert_adds_up(explained: Any, found: Any, reference: Any) -> None:
    """To 1e-12 of what was added up."""
    column = found.argmax(axis=1) if found.shape[1] > 1 else np.zeros(len(found), dtype=int)
    at_reference = np.asarray(reference)[column]
    np.testing.assert_allclose(explained.sum(axis=1) + at_reference, of_predicted(found), rtol=1e-12, atol=1e-12)


NUMERIC = {
    "logistic": LogisticRegression(max_iter=300),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
    "scaled to a range": make_pipeline(MinMaxScaler(), LogisticRegression()),
    "ridge classifier": RidgeClassifier(),
    "svc": make_pipeline(StandardScaler(), LinearSVC()),
    "sgd": make_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
    "lda": LinearDiscriminantAnalysis(),
    "chosen": make_pipeline(SelectKBest(k=2), StandardScaler(), LogisticRegression()),
    "varying": make_pipeline(VarianceThreshold(0.2), LogisticRegression()),
    "binned": make_pipeline(KBinsDiscretizer(4), LogisticRegression()),
    "splines": make_pipeline(SplineTransformer(n_knots=4), LogisticRegression(max_iter=300)),
    "logs": make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    "union": make_pipeline(make_union(StandardScaler(), MinMaxScaler()), LogisticRegression()),
    "nested": make_pipeline(make_pipeline(StandardScaler(), "passthrough"), make_pipeline(LogisticRegression())),
    "searched": GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2),
    "frozen": make_pipeline(FrozenEstimator(StandardScaler().fit(*iris())), LogisticRegression()),
    "targets": make_pipeline(KBinsDiscretizer(3, encode="ordinal"), TargetEncoder(cv=2), LogisticRegression()),
    "by position": make_pipeline(make_column_transformer((StandardScaler(), [3, 0]), remainder="passthrough"), LogisticRegression()),
    "by mask": make_pipeline(make_column_transformer((StandardScaler(), [True, False, False, True])), LogisticRegression()),
}


@pytest.mark.parametrize("name", sorted(set(NUMERIC) - {"frozen"}))
def test_contributions_add_up_to_the_score_of_the_class_predicted(tmp_path: Path, name: str) -> None:
    measurements, species = iris()
    model = NUMERIC[name].fit(measurements, species)
    dragoman.save(model, tmp_path, example=measurements)
    here = loaded(tmp_path)
    assert how(here) == "exact (linear) against the background sample"
    explained = answer(here, measurements.to_dict("records"), "explain")
    assert (explained.shape, explained.dtype.name) == ((75, len(here.predictor.signature.inputs)), "float64")
    assert_adds_up(explained, scores(model, measurements), scores(model, measurements).mean(axis=0))


@pytest.mark.parametrize(
    "model",
    [LinearRegression(), make_pipeline(StandardScaler(), Ridge()), ElasticNet(), make_pipeline(StandardScaler(), LinearSVR())],
    ids=["plain", "ridge", "elastic net", "svr"],
)
def test_a_regression_is_explained_in_units_of_its_value(tmp_path: Path, model: Any) -> None:
    measurements, _ = iris()
    model.fit(measurements[["sepal_length", "sepal_width"]], measurements["petal_length"])
    rows = measurements[["sepal_length", "sepal_width"]]
    dragoman.save(model, tmp_path, example=rows)
    explained = answer(loaded(tmp_path), rows.to_dict("records"), "explain")
    assert_adds_up(explained, scores(model, rows), scores(model, rows).mean(axis=0))


def test_of_two_classes_it_is_the_last_ones_log_odds(tmp_path: Path) -> None:
    rows, benign = nuclei()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, benign)
    explained = answer(served(model, tmp_path), rows.to_dict("records"), "explain")
    scaler, logistic = model[0], model[-1]
    np.testing.assert_allclose(explained, (rows.to_numpy() - scaler.mean_) / scaler.scale_ * logistic.coef_[0], rtol=1e-12)
    assert_adds_up(explained, scores(model, rows), logistic.intercept_)


def test_of_several_classes_it_is_the_predicted_ones(tmp_path: Path) -> None:
    measurements, species = iris()
    model = LogisticRegression(max_iter=300).fit(measurements, species)
    explained = answer(served(model, tmp_path), measurements.to_dict("records"), "explain")
    np.testing.assert_allclose(explained, measurements.to_numpy() * model.coef_[model.predict(measurements)], rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        (LogisticRegression(max_iter=300), "zero"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "the scaler's mean"),
        (make_pipeline(MinMaxScaler(), LogisticRegression()), "zero after its transformers"),
        (make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=300)), "zero after its transformers"),
    ],
)
def test_without_a_background_it_is_zero_as_the_linear_model_sees_it(tmp_path: Path, model: Any, reference: str) -> None:
    measurements, species = iris()
    here = served(model.fit(measurements, species), tmp_path)
    assert how(here) == f"exact (linear) against {reference}"
    last = model[-1] if hasattr(model, "steps") else model
    assert_adds_up(answer(here, measurements.to_dict("records"), "explain"), scores(model, measurements), last.intercept_)


@pytest.mark.parametrize("encoding", [{}, {"drop": "first"}, {"min_frequency": 60}, {"sparse_output": False}], ids=str)
def test_strings_and_missing_values_are_explained_through_their_columns(tmp_path: Path, encoding: Any) -> None:
    birds, species = penguins()
    model = mixed(LogisticRegression(max_iter=500), **encoding).fit(birds, species)
    dragoman.save(model, tmp_path, example=birds)
    here = loaded(tmp_path)
    assert how(here) == "exact (linear) against the background sample"
    explained = answer(here, json_rows(birds), "explain")
    sample = birds.iloc[np.linspace(0, len(birds) - 1, 100).astype(int)]  # the rows that are kept
    assert_adds_up(explained, scores(model, birds), scores(model, sample).mean(axis=0))
    assert set(np.flatnonzero(np.abs(explained).max(axis=0) > 0)) == set(range(6))


def test_each_input_has_what_its_own_columns_contribute(tmp_path: Path) -> None:
    birds, species = penguins()
    model = mixed(LogisticRegression(max_iter=500)).fit(birds, species == "Gentoo")
    here = served(model, tmp_path)
    rows = birds.assign(island=birds["island"].iloc[0])
    alike = answer(here, json_rows(rows), "explain")
    assert len(set(alike[:, 0])) == 1  # the same island contributes the same, whatever the bird
    weights = model[-1].coef_[0][-5:-2]  # of Biscoe, Dream and Torgersen
    assert alike[0, 0] == pytest.approx(weights[2])
    assert [f.name for f in here.predictor.signature.inputs] == WORDS + NUMBERS


def test_columns_that_go_nowhere_contribute_nothing(tmp_path: Path) -> None:
    measurements, species = iris()
    model = make_pipeline(make_column_transformer((StandardScaler(), [3, 1]), ("drop", [0])), LogisticRegression())
    here = served(model.fit(measurements.to_numpy(), species), tmp_path)
    explained = answer(here, measurements.to_numpy().tolist(), "explain")
    assert how(here) == "exact (linear) against zero after its transformers"
    assert np.flatnonzero(np.abs(explained).max(axis=0)).tolist() == [1, 3]


def test_text_is_one_input(tmp_path: Path) -> None:
    texts = ["good day", "bad day", "good night", "bad night", "bad bad day"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0, 0])
    here = served(model, tmp_path)
    explained = answer(here, [[text] for text in texts], "explain")
    np.testing.assert_allclose(explained[:, 0] + model[-1].intercept_, model.decision_function(texts), rtol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(PCA(2), LogisticRegression()),
        make_pipeline(PolynomialFeatures(), LogisticRegression(max_iter=500)),
        make_pipeline(FunctionTransformer(lambda rows: rows), LogisticRegression(max_iter=500)),
        PoissonRegressor(),
        make_pipeline(StandardScaler(), make_pipeline(PCA(), LogisticRegression())),
    ],
    ids=["mixed columns", "products", "a function of one's own", "a link", "deep down"],
)
def test_what_is_not_exact_is_not_called_so(tmp_path: Path, model: Any) -> None:
    measurements, species = iris()
    if model.__class__.__name__ == "PoissonRegressor" or "functiontransformer" not in getattr(model, "named_steps", {}):
        assert how(served(model.fit(measurements, species), tmp_path)) == "ablation against the example row"
        return
    dragoman.save(model.fit(measurements, species), tmp_path, example=measurements)
    assert how(loaded(tmp_path)) == "ablation against the background sample"


def test_inputs_that_the_manifest_names_are_the_same_columns(tmp_path: Path) -> None:
    measurements, species = iris()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(measurements.to_numpy(), species)
    joblib.dump(model, tmp_path / "model.joblib")
    renamed = loaded(tmp_path / "model.joblib", inputs=tuple(Field(name) for name in "dcba"))
    rows = measurements.to_numpy().tolist()
    np.testing.assert_array_equal(answer(renamed, rows, "explain"), answer(loaded(tmp_path / "model.joblib"), rows, "explain"))


def test_a_model_that_was_never_fitted_is_no_worse_for_it(tmp_path: Path) -> None:
    joblib.dump(LogisticRegression(), tmp_path / "model.joblib")
    assert how(loaded(tmp_path / "model.joblib", inputs=(Field("a"),))) == "ablation against the example row"


def test_rows_that_a_step_refuses_are_the_callers_to_mend(tmp_path: Path) -> None:
    birds, species = penguins()
    whole = birds.dropna()
    steps = make_column_transformer((OrdinalEncoder(), WORDS), (StandardScaler(), NUMBERS))
    here = served(make_pipeline(steps, LogisticRegression(max_iter=500)).fit(whole, species[whole.index]), tmp_path)
    row = whole.iloc[0].to_dict() | {"island": "Atlantis"}
    frame = {str(name): np.array([value], dtype=object if name in WORDS else float) for name, value in row.items()}
    with pytest.raises(InvalidInput, match="Found unknown categories"):
        here.predictor.predict(dragoman.Table.of_columns(frame), ("explain",), {})


def test_there_are_no_arguments_to_an_explanation(tmp_path: Path) -> None:
    measurements, species = iris()
    here = served(LogisticRegression(max_iter=300).fit(measurements, species), tmp_path)
    with pytest.raises(InvalidInput, match=r"the model's explain takes no arguments, got \['depth'\]"):
        answer(here, measurements.head(1).to_dict("records"), "explain", depth=3)


@given(
    weights=st.lists(st.floats(-100, 100), min_size=3, max_size=3),
    rows=st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=1, max_size=5),
    sample=st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=2, max_size=5),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_weights_rows_and_sample_are_it_adds_up(tmp_path: Path, weights: Any, rows: Any, sample: Any) -> None:
    model = LinearRegression().fit(np.eye(3), [0.0, 1.0, 2.0])
    model.coef_, model.intercept_ = np.array(weights), 3.0
    dragoman.save(model, tmp_path, background=np.array(sample))
    explained = answer(loaded(tmp_path), rows, "explain")
    size = np.abs(weights).max() * 1e3 + 1
    np.testing.assert_allclose(explained.sum(axis=1) + model.predict(sample).mean(), model.predict(rows), rtol=0, atol=1e-12 * size)
