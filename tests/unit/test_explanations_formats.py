"""Which models are explained how: told when they are loaded, from what they are and from what was saved with them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml
from onnx import TensorProto, helper
from palmerpenguins import load_penguins
from rich.console import Console
from skl2onnx import to_onnx
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.support.models import IRIS_NAMES, answer, assert_same, iris, json_rows, loaded

import dragoman
from dragoman.formats import LoadedModel, probe
from dragoman.inspection import Inspection
from dragoman.inspection_report import report
from dragoman.loading import load_model
from dragoman.manifest import ModelDeployment
from dragoman.messages import Load
from dragoman.settings import Settings
from dragoman.signature import Output


def how(model: LoadedModel) -> str | None:
    return next(o.how for o in model.predictor.signature.outputs if o.name == "explain")


class Squares:
    """An object of nobody's library: the sum of squares."""

    def predict(self, rows: Any) -> Any:
        return (np.asarray(rows) ** 2).sum(axis=1)


class Reasons(Squares):
    def explain(self, rows: Any) -> Any:
        return [{"because": float(row[0])} for row in np.asarray(rows)]


class Fitted(BaseEstimator):  # type: ignore[misc]
    """An estimator of one's own, with explanations of its own."""

    def fit(self, rows: Any, target: Any) -> Fitted:
        self.n_features_in_ = np.shape(rows)[1]
        return self

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows)[:, 0]

    def explain(self, rows: Any) -> Any:
        return np.asarray(rows) * 2


# --- the background -------------------------------------------------------------------------------------------------


def test_a_background_is_kept_in_model_json_and_is_what_rows_are_compared_with(tmp_path: Path) -> None:
    measurements, species = iris()
    model = LogisticRegression(max_iter=300).fit(measurements, species)
    dragoman.save(model, tmp_path, example=measurements, background=measurements.head(7))
    kept = json.loads((tmp_path / "model.json").read_text())
    assert kept["background"] == measurements.head(7).to_numpy().tolist()
    assert len(kept["sample"]) == 75
    explained = answer(loaded(tmp_path), measurements.head(7).to_dict("records"), "explain")
    np.testing.assert_allclose(explained.mean(axis=0), 0, atol=1e-12)  # all of one class, and compared with their own mean


def test_without_one_it_is_the_example_and_no_rows_are_kept_twice(tmp_path: Path) -> None:
    measurements, species = iris()
    dragoman.save(RandomForestClassifier(n_estimators=2).fit(measurements, species), tmp_path, example=measurements)
    assert "background" not in json.loads((tmp_path / "model.json").read_text())
    assert how(loaded(tmp_path)) == "ablation against the background sample"


def test_a_background_is_bounded_and_spread_over_what_is_given(tmp_path: Path) -> None:
    rows = np.arange(2_000.0)[:, None]
    dragoman.save(LinearRegression().fit(rows, rows[:, 0]), tmp_path, background=rows)
    kept = json.loads((tmp_path / "model.json").read_text())["background"]
    assert (len(kept), kept[0], kept[-1]) == (100, [0.0], [1999.0])
    assert "sample" not in json.loads((tmp_path / "model.json").read_text())


def test_a_background_alone_tells_the_inputs_too(tmp_path: Path) -> None:
    dragoman.save(Squares(), tmp_path, background=pd.DataFrame({"a": [1.0, 3.0], "b": [0.0, 0.0]}), rows_independent=True)
    model = loaded(tmp_path)
    assert [f.name for f in model.predictor.signature.inputs] == ["a", "b"]
    assert_same(answer(model, [{"a": 4, "b": 5}], "explain"), [[12.0, 25.0]])


@pytest.mark.parametrize("background", [pd.DataFrame({"other": [1.0]}), np.ones((0, 4)), np.ones((3, 2))], ids=["other", "empty", "narrow"])
def test_a_background_of_other_inputs_is_refused(tmp_path: Path, background: Any) -> None:
    measurements, species = iris()
    model = LogisticRegression(max_iter=300).fit(measurements, species)
    with pytest.raises(ValueError, match="background must have rows, and the model's inputs as columns: sepal_length, sepal_width"):
        dragoman.save(model, tmp_path, background=background)


# --- every format ---------------------------------------------------------------------------------------------------


def test_strings_and_missing_values_in_a_forest(tmp_path: Path) -> None:
    """The example of penguins."""
    birds = load_penguins()
    numbers, words = ["bill_length_mm", "body_mass_g"], ["island", "sex"]
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), words),
    )
    rows = birds[words + numbers]
    model = make_pipeline(steps, RandomForestClassifier(n_estimators=5, random_state=0)).fit(rows, birds["species"])
    dragoman.save(model, tmp_path, example=rows)
    here = loaded(tmp_path)
    asked = rows.head(8)
    assert asked.isna().to_numpy().any()
    explained = answer(here, json_rows(asked), "explain")
    kept = rows.iloc[np.linspace(0, len(rows) - 1, 100).astype(int)]
    chosen = model.predict_proba(asked).argmax(axis=1)

    def score(frame: pd.DataFrame) -> Any:
        return model.predict_proba(frame)[np.arange(8), chosen]

    reference = {name: kept[name].mode()[0] if name in words else kept[name].median() for name in rows.columns}
    expected = [score(asked) - score(asked.assign(**{name: value})) for name, value in reference.items()]
    np.testing.assert_allclose(explained, np.column_stack(expected), rtol=0, atol=1e-12)
    assert np.abs(explained).max(axis=0).min() > 0


def test_an_onnx_graph(tmp_path: Path) -> None:
    measurements, species = iris()
    rows = measurements.to_numpy().astype(np.float32)
    model = RandomForestClassifier(n_estimators=5, random_state=0).fit(rows, species)
    (tmp_path / "model.onnx").write_bytes(to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString())
    here = loaded(tmp_path / "model.onnx")
    assert how(here) == "ablation against the example row"
    predicted = model.predict(rows)
    expected = []
    for column in range(4):
        changed = rows.copy()
        changed[:, column] = 0
        expected.append((model.predict_proba(rows) - model.predict_proba(changed))[np.arange(len(rows)), predicted])
    np.testing.assert_allclose(answer(here, rows.tolist(), "explain"), np.column_stack(expected), rtol=0, atol=1e-6)


def test_a_cloudpickled_object_whose_inputs_are_told(tmp_path: Path) -> None:
    dragoman.save(Squares(), tmp_path, example=np.array([[1.0, 2.0], [3.0, 2.0]]))
    model = loaded(tmp_path)
    assert (how(model), model.predictor.rows_independent) == ("ablation against the background sample", False)
    assert_same(answer(model, [[4, 5], [0, 2]], "explain"), [[12.0, 21.0], [-4.0, 0.0]])


def test_an_object_whose_inputs_nobody_told_has_no_explanations(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Squares()))
    assert [o.name for o in loaded(tmp_path / "model.pkl").predictor.signature.outputs] == ["predict"]


@pytest.mark.parametrize("flavour", ["sklearn", "xgboost"])
def test_an_mlflow_folder(tmp_path: Path, flavour: str) -> None:
    measurements, species = iris()
    if flavour == "sklearn":
        model: Any = make_pipeline(StandardScaler(), LogisticRegression()).fit(measurements.to_numpy(), species)
        (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(model))
        said = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    else:
        model = xgboost.XGBClassifier(n_estimators=2).fit(measurements, species)
        model.save_model(tmp_path / "model.ubj")
        said = {"data": "model.ubj"}
    columns = json.dumps([{"type": "double", "name": name, "required": True} for name in IRIS_NAMES])
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {flavour: said}, "signature": {"inputs": columns}}))
    here = loaded(tmp_path)
    rows = measurements.to_numpy()
    if flavour == "sklearn":
        assert how(here) == "exact (linear) against the scaler's mean"
        expected = model[0].transform(rows) * model[-1].coef_[model.predict(rows)]
    else:
        assert how(here) == "native (xgboost)"
        given = model.get_booster().predict(xgboost.DMatrix(measurements), pred_contribs=True)
        expected = given[np.arange(75), model.predict(rows), :-1]
    np.testing.assert_allclose(answer(here, measurements.to_dict("records"), "explain"), expected, rtol=1e-6, atol=1e-7)


# --- explanations of the model's own --------------------------------------------------------------------------------


def test_a_models_own_explanations_are_passed_through_as_they_are(tmp_path: Path) -> None:
    dragoman.save(Reasons(), tmp_path, example=np.array([[1.0, 2.0], [3.0, 2.0]]))
    model = loaded(tmp_path)
    assert how(model) is None
    assert answer(model, [[4, 5], [0, 2]], "explain").tolist() == [{"because": 4.0}, {"because": 0.0}]


def test_a_graphs_own_output_of_that_name_is_passed_through(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["explain"])],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("y", "explain")],
    )
    opsets = [helper.make_opsetid("", 18)]
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    model = loaded(tmp_path / "m.onnx")
    assert how(model) is None
    assert answer(model, [[4, 5]], "explain").tolist() == [[4, 5]]


def test_an_estimator_of_ones_own_with_explain_explains_itself(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Fitted().fit([[1, 2]], [1])))
    model = loaded(tmp_path / "model.pkl")
    assert how(model) is None
    assert answer(model, [[4, 5]], "explain").tolist() == [[8, 10]]
    assert next(o for o in probe(model).signature.outputs if o.name == "explain") == Output("explain", width=2, dtype="float64")


def test_a_python_model_that_does_not_explain_itself_is_explained(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "from dragoman import Field, Model\n"
        "class Sums(Model):\n"
        "    inputs = (Field('a', example=1.0), Field('b'))\n"
        "    def predict(self, table):\n"
        "        return table.to_numpy().sum(axis=1)\n"
    )
    model = loaded(tmp_path / "model.py")
    assert how(model) == "ablation against the example row"
    assert_same(answer(model, [{"a": 3, "b": 4}], "explain"), [[2.0, 4.0]])


# --- what is told ---------------------------------------------------------------------------------------------------


def test_the_probe_does_not_predict_for_it(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "from dragoman import Field, Model\n"
        "class Counts(Model):\n"
        "    inputs = (Field('a'), Field('b'))\n"
        "    asked = 0\n"
        "    def predict(self, table):\n"
        "        Counts.asked += 1\n"
        "        return [Counts.asked] * table.rows\n"
    )
    model = loaded(tmp_path / "model.py")
    told = {o.name: o for o in probe(model).signature.outputs}
    assert told["explain"] == Output("explain", width=2, dtype="float64", how="ablation against the example row")
    assert answer(model, [[1, 2]]).tolist() == [2]


@pytest.mark.parametrize("said", [None, True, False])
def test_what_the_manifest_says_of_rows_and_time_holds_for_explanations(tmp_path: Path, said: bool | None) -> None:
    joblib.dump(RandomForestClassifier(n_estimators=2).fit(*iris()), tmp_path / "m.joblib")
    spec = {
        "model": {"uri": str(tmp_path / "m.joblib")},
        "serving": {"limits": {"timeoutSeconds": 8}, "batching": {"rowsIndependent": said}},
    }
    document = {"apiVersion": "dragoman.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "m"}, "spec": spec}
    load = Load(model="m", path=str(tmp_path / "m.joblib"), name="m.joblib", digest="sha256:0")
    predictor: Any = load_model(load, msgspec.convert(document, ModelDeployment), Settings()).predictor
    assert predictor.rows_independent is (said is not False)
    assert predictor.explainer.pieces.seconds == 4


def test_inspecting_a_model_says_how(tmp_path: Path) -> None:
    measurements, species = iris()
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(measurements, species), tmp_path / "m.joblib")
    model = loaded(tmp_path / "m.joblib")
    assert "explanations: exact (linear) against the scaler's mean" in _page(model)
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Reasons()))
    assert "explanations: the model's own" in _page(loaded(tmp_path / "model.pkl"))
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Squares()))
    assert "explanations: none: the model's inputs are not known, or it has no predict" in _page(loaded(tmp_path / "model.pkl"))


def _page(model: LoadedModel) -> str:
    told = Inspection(
        name="m",
        uri="m.joblib",
        digest="sha256:0",
        pinned=False,
        size=1,
        files=1,
        signature=model.predictor.signature,
        rows_independent=True,
    )
    page = io.StringIO()
    Console(file=page, width=200).print(report(told))
    return page.getvalue()
