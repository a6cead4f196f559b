"""Folders that MLflow wrote, served without its package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cloudpickle
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.models import IRIS_NAMES, answer, assert_same, files, iris, loaded

from dragoman.errors import ModelLoadFailed, UnsupportedFormat
from dragoman.formats import detect

COLUMNS = json.dumps([{"type": "double", "name": name, "required": True} for name in IRIS_NAMES])


def folder(path: Path, flavour: str, said: dict[str, Any], signature: dict[str, str] | None = None) -> Path:
    """An MLmodel file as MLflow writes it, with the function flavour beside the one that counts."""
    document = {
        "artifact_path": "model",
        "flavors": {"python_function": {"loader_module": f"mlflow.{flavour}", "model_path": "x"}, flavour: said},
        "mlflow_version": "3.1.0",
        "model_uuid": "0",
        **({"signature": signature} if signature else {}),
    }
    (path / "MLmodel").write_text(yaml.safe_dump(document))
    return path


def pickled(path: Path, model: Any) -> dict[str, Any]:
    (path / "model.pkl").write_bytes(cloudpickle.dumps(model))
    return {"pickled_model": "model.pkl", "serialization_format": "cloudpickle", "sklearn_version": "1.5.0"}


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris())


def test_the_sklearn_flavour_is_served_with_its_signature_and_a_warning_of_its_version(tmp_path: Path) -> None:
    unnamed = make_pipeline(StandardScaler(), LogisticRegression()).fit(iris()[0].to_numpy(), iris()[1])
    model = loaded(folder(tmp_path, "sklearn", pickled(tmp_path, unnamed), {"inputs": COLUMNS, "outputs": "[]"}))
    assert detect(files(tmp_path)).format.name == "mlflow"
    assert [f.name for f in model.predictor.signature.inputs] == IRIS_NAMES
    assert any(line.startswith("saved with scikit-learn 1.5.0, loaded with ") for line in model.warnings)
    assert model.predictor.rows_independent is True
    assert_same(answer(model, iris()[0].to_dict("records"), "predict_proba"), unnamed.predict_proba(iris()[0].to_numpy()))


def test_the_sklearn_flavour_as_skops_is_data(tmp_path: Path) -> None:
    skops.io.dump(pipeline(), tmp_path / "model.skops")
    folder(tmp_path, "sklearn", {"pickled_model": "model.skops", "serialization_format": "skops"})
    assert detect(files(tmp_path)).runs_code is False
    assert_same(answer(loaded(tmp_path, policy="Deny"), iris()[0].to_dict("records")), pipeline().predict(iris()[0]))


@pytest.mark.parametrize("suffix", ["ubj", "json"])
def test_the_xgboost_flavour(tmp_path: Path, suffix: str) -> None:
    classifier = xgboost.XGBClassifier(n_estimators=3).fit(*iris())
    classifier.save_model(tmp_path / f"model.{suffix}")
    model = loaded(folder(tmp_path, "xgboost", {"data": f"model.{suffix}", "xgb_version": xgboost.__version__}, {"inputs": COLUMNS}))
    assert model.warnings == ()
    assert_same(answer(model, iris()[0].to_dict("records")), classifier.predict(iris()[0]))


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_lightgbm_flavour(tmp_path: Path, wrapped: bool) -> None:
    classifier = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(*iris())
    if wrapped:
        (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(classifier))
    else:
        classifier.booster_.save_model(tmp_path / "model.lgb")
    model = loaded(folder(tmp_path, "lightgbm", {"data": "model.pkl" if wrapped else "model.lgb"}))
    assert detect(files(tmp_path)).runs_code is wrapped
    expected = classifier.predict(iris()[0]) if wrapped else classifier.predict_proba(iris()[0])
    assert_same(answer(model, iris()[0].to_dict("records")), expected)


def test_the_onnx_flavour_does_not_fork(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    rows = iris()[0].to_numpy().astype(np.float32)
    (tmp_path / "model.onnx").write_bytes(to_onnx(pipeline(), rows[:1]).SerializeToString())
    folder(tmp_path, "onnx", {"data": "model.onnx"})
    assert detect(files(tmp_path)).forks is False
    assert_same(answer(loaded(tmp_path), rows.tolist()), pipeline().predict(iris()[0]))


@pytest.mark.parametrize(
    "inputs",
    [
        json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]),
        json.dumps([{"type": "datetime", "name": "when"}]),
        "not json",
        json.dumps([{"type": "double", "name": "one of a wrong number"}]),
    ],
)
def test_a_signature_that_tells_no_columns_gives_way_to_what_the_model_knows(tmp_path: Path, inputs: str) -> None:
    model = loaded(folder(tmp_path, "sklearn", pickled(tmp_path, pipeline()), {"inputs": inputs}))
    assert [f.name for f in model.predictor.signature.inputs] == IRIS_NAMES


def test_columns_that_mlflow_calls_optional_may_be_left_out(tmp_path: Path) -> None:
    classifier = xgboost.XGBClassifier(n_estimators=3).fit(*iris())
    classifier.save_model(tmp_path / "model.ubj")
    columns = [{"type": "double", "name": name, "required": name != "petal_width"} for name in IRIS_NAMES]
    model = loaded(folder(tmp_path, "xgboost", {"data": "model.ubj"}, {"inputs": json.dumps(columns)}))
    rows = iris()[0].drop(columns="petal_width")
    assert_same(answer(model, rows.to_dict("records")), classifier.predict(rows.assign(petal_width=np.nan)))


def test_a_function_that_needs_mlflow_itself_is_refused(tmp_path: Path) -> None:
    document = {"flavors": {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(document))
    with pytest.raises(UnsupportedFormat, match="only the python_function flavour, which needs MLflow's own package"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("flavors: {tensorflow: {data: x}}", UnsupportedFormat, "its flavours are tensorflow; known are sklearn, xgboost, lightgbm, onnx"),
        ("{}", UnsupportedFormat, "its flavours are none"),
        ("- 1", ModelLoadFailed, "MLmodel has no flavors"),
        ("a: [", ModelLoadFailed, "MLmodel is not valid YAML"),
        ("flavors: {sklearn: {pickled_model: gone.pkl}}", ModelLoadFailed, "names the file 'gone.pkl', which is not in the folder"),
        ("flavors: {sklearn: {pickled_model: ../../etc/passwd}}", ModelLoadFailed, "which is not in the folder"),
        ("flavors: {onnx: {data: MLmodel}}", ModelLoadFailed, "MLmodel is not a model of its onnx flavour"),
    ],
)
def test_what_is_wrong_with_the_folder_is_said(tmp_path: Path, content: str, error: type[Exception], said: str) -> None:
    (tmp_path / "MLmodel").write_text(content)
    with pytest.raises(error, match=said):
        loaded(tmp_path)
