"""scikit-learn models: what is inferred of them, and that they answer as they do in process, alone and together."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import NMF, PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from tests.support.models import IRIS_NAMES, alone, answer, assert_same, iris, loaded, own_outputs

from dragoman.errors import InvalidInput, ModelLoadFailed
from dragoman.formats import LoadedModel, Settings, probe
from dragoman.formats.sklearn import of_estimator
from dragoman.table import Table


def centred(rows: Any) -> Any:
    return np.asarray(rows) - np.asarray(rows).mean(axis=0)


class Majority(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator of the author's own, which answers every row with the commonest answer for the batch."""

    def fit(self, X: Any, y: Any) -> Majority:
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), int(np.asarray(X).sum() > 0))


INDEPENDENT = {
    "logistic": LogisticRegression(max_iter=500),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(5, random_state=0),
    "extra trees": ExtraTreesRegressor(5, random_state=0),
    "tree": DecisionTreeClassifier(),
    "gradient boosting": GradientBoostingClassifier(n_estimators=3),
    "hist gradient boosting": HistGradientBoostingClassifier(max_iter=3),
    "adaboost": AdaBoostClassifier(n_estimators=3),
    "svc": SVC(),
    "neighbours": make_pipeline(MinMaxScaler(), KNeighborsClassifier()),
    "bayes": GaussianNB(),
    "mlp": make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=30, tol=1)),
    "lda": LinearDiscriminantAnalysis(),
    "pca": make_pipeline(StandardScaler(), PCA(2), LogisticRegression()),
    "union": make_pipeline(FeatureUnion([("a", PCA(2)), ("b", SelectKBest(k=1))]), Ridge()),
    "polynomial": make_pipeline(PolynomialFeatures(2), Ridge()),
    "log": make_pipeline(FunctionTransformer(np.log1p), Ridge()),
    "grid": GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1]}, cv=2),
    "calibrated": CalibratedClassifierCV(GaussianNB(), cv=2),
    "voting": VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=500))]),
    "stacking": StackingClassifier([("a", GaussianNB())], LogisticRegression(), cv=2),
    "one against the rest": OneVsRestClassifier(LogisticRegression()),
    "target": TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()),
    "clusters": KMeans(3, n_init=1, random_state=0),
    "mixture": GaussianMixture(3, random_state=0),
    "outliers": IsolationForest(n_estimators=5, random_state=0),
    "xgboost": xgboost.XGBClassifier(n_estimators=3),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=3, verbose=-1),
    "lightgbm in a pipeline": make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(n_estimators=3, verbose=-1)),
    "by name": make_pipeline(make_column_transformer((StandardScaler(), IRIS_NAMES[:2]), remainder="passthrough"), Ridge()),
    "columns by position": make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 3]), ("b", "drop", [1])]), Ridge()),
    "frames between steps": make_pipeline(StandardScaler(), Ridge()).set_output(transform="pandas"),
}
DEPENDENT = {
    "a function of one's own": make_pipeline(FunctionTransformer(centred), Ridge()),
    "inside a union": make_pipeline(FeatureUnion([("a", FunctionTransformer(centred)), ("b", StandardScaler())]), Ridge()),
    "an estimator of one's own": Majority(),
    "solved for all rows": make_pipeline(NMF(2, init="nndsvda", max_iter=500, tol=1e-2), Ridge()),
    "drawn at random": DummyClassifier(strategy="uniform"),
    "deep down": VotingClassifier([("a", GaussianNB()), ("b", make_pipeline(FunctionTransformer(centred), GaussianNB()))]),
}


@cache
def fitted(name: str, named: bool = True) -> Any:
    measurements, species = iris()
    model = (INDEPENDENT | DEPENDENT)[name]
    return model.fit(measurements if named else measurements.to_numpy(), species)


def served(model: Any, folder: Path) -> LoadedModel:
    joblib.dump(model, folder / "model.joblib")
    return loaded(folder / "model.joblib")


def methods(model: LoadedModel) -> list[str]:
    return [output.name for output in own_outputs(model)]


def in_process(model: Any, method: str, rows: Any) -> Any:
    return getattr(model, method)(rows)


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INDEPENDENT | DEPENDENT)
def test_every_output_is_what_the_model_answers_in_process(tmp_path: Path, name: str) -> None:
    measurements, _ = iris()
    model = served(fitted(name), tmp_path)
    assert methods(model)[0] == "predict"
    if name == "drawn at random":
        return
    rows: list[Any] = measurements.to_dict("records") if model.predictor.signature.named else measurements.to_numpy().tolist()
    for method in methods(model):
        assert_same(answer(model, rows, method), in_process(fitted(name), method, measurements))


@pytest.mark.parametrize("name", sorted(set(INDEPENDENT) - {"by name", "frames between steps"}))
def test_a_model_fitted_on_arrays_answers_the_same(tmp_path: Path, name: str) -> None:
    from sklearn import clone

    measurements, species = iris()
    model = clone(INDEPENDENT[name]).fit(measurements.to_numpy(), species)
    here = served(model, tmp_path)
    assert here.predictor.signature.named is False
    assert_same(answer(here, measurements.to_numpy().tolist()), model.predict(measurements.to_numpy()))


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_rows_are_answered_alone_as_together(tmp_path: Path, name: str) -> None:
    model = served(fitted(name), tmp_path)
    assert model.predictor.rows_independent is True
    rows = (iris()[0] * 1.1).iloc[::5].to_dict("records")
    for method in methods(model):
        assert_same(alone(model, rows, method), answer(model, rows, method))


@given(rows=st.lists(st.lists(st.floats(0, 9, width=32), min_size=4, max_size=4), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["scaled", "forest", "hist gradient boosting", "xgboost", "neighbours"])
def test_whatever_rows_stand_together_each_gets_its_own_answer(name: str, rows: list[list[float]]) -> None:
    model = _kept(name)
    assert_same(alone(model, rows, "predict_proba"), answer(model, rows, "predict_proba"))


@cache
def _kept(name: str) -> LoadedModel:
    return of_estimator(pickle.loads(pickle.dumps(fitted(name))), name, Settings())


@pytest.mark.parametrize("name", DEPENDENT)
def test_rows_are_not_called_independent_where_a_part_is_not_known_to_be(tmp_path: Path, name: str) -> None:
    assert served(fitted(name), tmp_path).predictor.rows_independent is False


def test_a_model_that_centres_its_rows_really_depends_on_them(tmp_path: Path) -> None:
    model = served(fitted("a function of one's own"), tmp_path)
    rows = iris()[0].to_dict("records")
    assert not np.allclose(alone(model, rows), answer(model, rows))


def test_columns_come_in_any_order(tmp_path: Path) -> None:
    model = served(fitted("by name"), tmp_path)
    shuffled = iris()[0][IRIS_NAMES[::-1]]
    assert_same(answer(model, shuffled.to_dict("records")), in_process(fitted("by name"), "predict", iris()[0]))


@pytest.mark.parametrize("write", [joblib.dump, skops.io.dump], ids=["joblib", "skops"])
@pytest.mark.parametrize("name", ["forest", "hist gradient boosting", "xgboost", "lightgbm", "neighbours", "mlp", "calibrated", "stacking"])
def test_every_container_gives_the_same_model(tmp_path: Path, name: str, write: Any) -> None:
    write(fitted(name), tmp_path / "m.bin")
    measurements, _ = iris()
    for method in ("predict", "predict_proba"):
        got = answer(loaded(tmp_path / "m.bin", policy="Allow"), measurements.to_dict("records"), method)
        assert_same(got, in_process(fitted(name), method, measurements))


def test_svc_answers_labels_by_its_own_method_and_not_by_its_probabilities(tmp_path: Path) -> None:
    measurements, species = iris()
    svc = SVC().fit(measurements, species)
    assert methods(served(svc, tmp_path)) == ["predict", "decision_function"]


def test_several_targets_come_a_row_at_a_time(tmp_path: Path) -> None:
    measurements, species = iris()
    both = np.column_stack([species, species == 1])
    model = MultiOutputClassifier(GaussianNB()).fit(measurements, both)
    here = served(model, tmp_path)
    assert_same(answer(here, measurements.to_dict("records")), model.predict(measurements))
    uneven = answer(here, measurements.to_dict("records"), "predict_proba")
    first, second = model.predict_proba(measurements)
    np.testing.assert_allclose(uneven[7][0], first[7])
    np.testing.assert_allclose(uneven[7][1], second[7])


# --- signatures -----------------------------------------------------------------------------------------------------


def test_a_classifier_says_its_names_classes_and_outputs(tmp_path: Path) -> None:
    signature = served(fitted("scaled"), tmp_path).predictor.signature
    assert [(f.name, f.type, f.nullable) for f in signature.inputs] == [(name, "number", False) for name in IRIS_NAMES]
    assert (signature.classes, signature.named) == ((0, 1, 2), True)
    assert signature.inputs[0].example == pytest.approx(iris()[0]["sepal_length"].mean(), rel=1e-3)
    predict, proba, *_ = signature.outputs
    assert (predict.type, predict.dtype, proba.width) == ("integer", "int64", 3)


def test_without_names_inputs_are_numbered(tmp_path: Path) -> None:
    measurements, species = iris()
    signature = served(LinearRegression().fit(measurements.to_numpy(), species), tmp_path).predictor.signature
    assert [f.name for f in signature.inputs] == ["f0", "f1", "f2", "f3"]
    assert (signature.named, signature.classes) == (False, None)


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 7]], ids=["strings", "booleans", "integers"])
def test_labels_keep_their_type(tmp_path: Path, labels: list[Any]) -> None:
    measurements, species = iris()
    model = served(GaussianNB().fit(measurements, np.array(labels)[(species > 0).astype(int)]), tmp_path)
    kinds = {str: "string", bool: "boolean", int: "integer"}
    assert model.predictor.signature.classes == tuple(labels)
    assert model.predictor.signature.outputs[0].type == kinds[type(labels[0])]
    assert set(answer(model, measurements.to_dict("records")).tolist()) == set(labels)


@pytest.mark.parametrize("name", ["hist gradient boosting", "xgboost", "lightgbm", "forest"])
def test_models_that_take_missing_values_say_so(tmp_path: Path, name: str) -> None:
    model = served(fitted(name), tmp_path)
    assert all(f.nullable for f in model.predictor.signature.inputs)
    missing = iris()[0].iloc[:1].astype(float)
    missing.iloc[0, 2] = np.nan
    row = dict.fromkeys(IRIS_NAMES, None) | iris()[0].iloc[0].to_dict() | {"petal_length": None}
    assert_same(answer(model, [row], "predict_proba"), fitted(name).predict_proba(missing))


def test_an_imputer_makes_a_column_nullable_and_a_scaler_does_not() -> None:
    measurements, species = iris()
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), IRIS_NAMES[:1]), (StandardScaler(), IRIS_NAMES[1:])
    )
    model = of_estimator(make_pipeline(columns, Ridge()).fit(measurements, species), "m", Settings())
    assert [f.nullable for f in model.predictor.signature.inputs] == [True, False, False, False]


def test_the_last_step_decides_whether_missing_values_may_pass_a_scaler() -> None:
    measurements, species = iris()
    model = of_estimator(
        make_pipeline(StandardScaler(), HistGradientBoostingRegressor(max_iter=2)).fit(measurements, species), "m", Settings()
    )
    assert all(f.nullable for f in model.predictor.signature.inputs)


SHOPS = pd.DataFrame(
    {
        "city": ["Bern", "Basel", "Genf", "Bern", "Basel", "Genf"] * 4,
        "size": [10.0, np.nan, 30, 40, 50, 60] * 4,
        "floors": [1, 2, 1, 3, 2, 1] * 4,
        "open": [True, False, True, True, False, True] * 4,
        "note": ["x", "y", "z", "x", "y", "z"] * 4,
    }
)
SALES = np.arange(24.0)


def shop_model(unknown: str = "error") -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown=unknown), ["city", "open"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
        (OrdinalEncoder(), ["floors"]),
    )
    return make_pipeline(columns, Ridge()).fit(SHOPS, SALES)


def test_a_column_transformer_tells_types_enums_and_nulls(tmp_path: Path) -> None:
    signature = served(shop_model(), tmp_path).predictor.signature
    fields = {f.name: f for f in signature.inputs}
    assert {name: (f.type, f.nullable) for name, f in fields.items()} == {
        "city": ("string", False),
        "size": ("number", True),
        "floors": ("integer", False),
        "open": ("boolean", False),
    }
    assert fields["city"].enum == ("Basel", "Bern", "Genf")
    assert fields["floors"].enum == (1, 2, 3)


def test_a_column_that_goes_nowhere_may_be_sent_or_left_out(tmp_path: Path) -> None:
    model = served(shop_model(), tmp_path)
    rows = SHOPS.astype(object).where(SHOPS.notna(), None).to_dict("records")
    assert model.predictor.signature.extra_columns == "ignore"
    assert_same(answer(model, rows), shop_model().predict(SHOPS))
    assert_same(answer(model, [{k: v for k, v in row.items() if k != "note"} for row in rows]), shop_model().predict(SHOPS))


def test_unknown_categories_are_refused_where_the_encoder_refuses_them(tmp_path: Path) -> None:
    row = {"city": "Chur", "size": 1, "floors": 1, "open": True}
    with pytest.raises(InvalidInput, match="row 0: 'city' must be one of 'Basel', 'Bern', 'Genf'"):
        answer(served(shop_model(), tmp_path), [row])
    assert answer(served(shop_model("ignore"), tmp_path), [row]).shape == (1,)


@pytest.mark.parametrize("absent", [None, np.nan], ids=["None", "NaN"])
@pytest.mark.parametrize("named", [True, False])
def test_a_missing_word_is_what_it_was_in_training(tmp_path: Path, absent: Any, named: bool) -> None:
    words = pd.DataFrame({"word": pd.Series(["a", "b", absent] * 4, dtype=object), "other": pd.Series(["c", "d", "c"] * 4, dtype=object)})
    rows: Any = words if named else words.to_numpy()
    regression = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge(0.1)).fit(rows, np.arange(12.0) % 3)
    model = served(regression, tmp_path)
    assert model.predictor.signature.inputs[0].nullable
    sent = [["a", "c"], ["b", "d"], [None, "c"]]
    assert_same(answer(model, sent), regression.predict(rows[:3]))


def test_categories_of_a_hist_gradient_boosting_model_are_its_inputs(tmp_path: Path) -> None:
    frame = SHOPS[["city", "size"]].assign(city=SHOPS["city"].astype("category"))
    regression = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2).fit(frame, SALES)
    model = served(regression, tmp_path)
    assert [(f.name, f.type, f.nullable) for f in model.predictor.signature.inputs] == [("city", "string", True), ("size", "number", True)]
    rows = [{"city": c, "size": None if np.isnan(s) else s} for c, s in zip(SHOPS["city"], SHOPS["size"], strict=True)]
    assert_same(answer(model, rows), regression.predict(frame))


def test_a_model_of_texts_takes_one_text_a_row(tmp_path: Path) -> None:
    texts = ["good and fine", "bad and sad", "fine", "sad"]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    model = served(pipeline, tmp_path)
    assert [(f.name, f.type) for f in model.predictor.signature.inputs] == [("text", "string")]
    assert_same(answer(model, texts, "predict_proba"), pipeline.predict_proba(texts))
    assert_same(answer(model, [{"text": t} for t in texts]), pipeline.predict(texts))


def test_where_a_function_of_ones_own_comes_first_nothing_is_claimed_of_the_inputs(tmp_path: Path) -> None:
    signature = served(fitted("a function of one's own"), tmp_path).predictor.signature
    assert signature.inputs == ()


@pytest.mark.parametrize("name", INDEPENDENT)
def test_the_example_row_is_answered_and_refines_the_outputs(tmp_path: Path, name: str) -> None:
    model = served(fitted(name), tmp_path)
    probed = probe(model)
    assert probed.warnings == ()
    for output in probed.signature.outputs:
        got = answer(model, [model.predictor.signature.example_row()], output.name)
        assert output.width == (None if got.ndim == 1 else got.shape[1])
        assert output.dtype == (got.dtype.name if got.dtype.kind in "biuf" else None)


def test_a_model_that_fails_on_the_example_row_is_served_with_a_warning() -> None:
    class Fussy(Majority):
        def predict(self, X: Any) -> Any:
            raise RuntimeError("not today")

    measurements, species = iris()
    probed = probe(of_estimator(Fussy().fit(measurements, species), "m", Settings()))
    assert probed.warnings == ("the model's predict failed on the example row: RuntimeError: not today",)


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.array([[1.0, np.inf, 0, 0]]), "infinity"),
        (np.array([[1.0, np.nan, 0, 0]]), "NaN"),
        (np.array([[1.0, 2]]), "has 2 features"),
    ],
)
def test_rows_that_the_estimator_refuses_are_the_callers_to_mend(tmp_path: Path, rows: Any, said: str) -> None:
    model = served(fitted("logistic"), tmp_path)
    with pytest.raises(InvalidInput, match=said):
        model.predictor.predict(Table.of_array(rows), ("predict",), {})


def test_numbers_too_large_for_a_forest_are_the_callers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="too large"):
        answer(served(fitted("forest"), tmp_path), [[1e300, 0, 0, 0]])


def test_numbers_that_overflow_do_not_warn(tmp_path: Path) -> None:
    assert answer(served(fitted("logistic"), tmp_path), [[1e308, 1e308, 1e308, -1e308]], "predict_proba").shape == (1, 3)


def test_arguments_that_a_method_does_not_take_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="predict takes no such arguments"):
        answer(served(fitted("logistic"), tmp_path), [[1, 2, 3, 4]], temperature=1)


def test_arguments_go_to_the_method(tmp_path: Path) -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor

    measurements, species = iris()
    model = served(GaussianProcessRegressor(alpha=0.1).fit(measurements, species), tmp_path)
    mean = answer(model, [[5, 3, 2, 1]])
    assert_same(answer(model, [[5, 3, 2, 1]], return_std=False), mean)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps({"model": 1}), r"holds a dict, which has no predict method"),
        (pickle.dumps(LinearRegression())[:40], r"could not be loaded"),
        (b"\x80\x04not a pickle", r"could not be loaded"),
        (b"nonsense", r"could not be loaded"),
        (b"", r"could not be loaded: the file ends too soon"),
        (b"\x80\x04\x8c\x0csklearn.gone\x94\x8c\x01A\x94\x93\x94.", r"names sklearn\.gone, which scikit-learn 1\.\S+ does not have"),
    ],
)
def test_a_corrupt_file_fails_with_one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "model.joblib").write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=said) as error:
        loaded(tmp_path / "model.joblib")
    assert "\n" not in str(error.value)
    assert "model.joblib" in str(error.value)


def test_a_transformer_alone_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="holds a StandardScaler, which has no predict method"):
        served(StandardScaler().fit(iris()[0]), tmp_path)


def test_threads_are_bounded_whatever_the_model_was_fitted_with() -> None:
    measurements, species = iris()
    greedy = RandomForestClassifier(3, n_jobs=-1, random_state=0)
    boosters = [
        ("x", xgboost.XGBClassifier(n_estimators=2, n_jobs=8)),
        ("l", lightgbm.LGBMClassifier(n_estimators=2, n_jobs=8, verbose=-1)),
    ]
    both = VotingClassifier([("f", make_pipeline(StandardScaler(), greedy)), *boosters]).fit(measurements.to_numpy(), species)
    model: Any = of_estimator(both, "m", Settings(threads=2)).predictor
    forest, x, light = model.model.estimators_
    assert (forest.steps[-1][1].n_jobs, x.n_jobs, light.n_jobs) == (1, 2, 2)
    assert '"nthread":"2"' in x.get_booster().save_config()
