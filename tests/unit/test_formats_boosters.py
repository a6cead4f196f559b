"""xgboost's and lightgbm's own files: the same answers as in process, with their names, types, categories and missing values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from tests.support.models import alone, answer, assert_same, iris, json_rows, loaded, nuclei, own_outputs

from dragoman.errors import InvalidInput, ModelLoadFailed
from dragoman.table import Table

Write = Callable[[Any, Path], Path]
SHOPS = pd.DataFrame(
    {
        "city": pd.Categorical(["Bern", "Basel", "Genf"] * 60),
        "size": np.where(np.arange(180) % 7 == 0, np.nan, np.arange(180.0)),
        "floors": np.arange(180) % 4,
        "open": np.arange(180) % 3 == 0,
    }
)
SALES = (SHOPS["city"] == "Bern") * 5.0 + SHOPS["floors"] + SHOPS["open"] * 2.0
QUIET: dict[str, Any] = {"verbose": -1, "min_child_samples": 5}


def xgboost_file(suffix: str) -> Write:
    def write(model: Any, folder: Path) -> Path:
        model.save_model(folder / f"model.{suffix}")
        return folder / f"model.{suffix}"

    return write


def text_file(model: Any, folder: Path) -> Path:
    model.save_model(folder / "model.txt")
    return folder / "model.txt"


def joblib_file(model: Any, folder: Path) -> Path:
    joblib.dump(model, folder / "model.joblib")
    return folder / "model.joblib"


XGBOOST_FILES = [xgboost_file("json"), xgboost_file("ubj"), joblib_file]


@pytest.mark.parametrize("write", XGBOOST_FILES, ids=["json", "ubj", "joblib"])
def test_a_file_that_a_classifier_wrote_has_labels_and_probabilities(tmp_path: Path, write: Write) -> None:
    rows, benign = nuclei()
    classifier = xgboost.XGBClassifier(n_estimators=5).fit(rows, benign)
    model = loaded(write(classifier, tmp_path))
    signature = model.predictor.signature
    assert [o.name for o in own_outputs(model)] == ["predict", "predict_proba"]
    assert [(f.name, f.type, f.nullable, f.dtype) for f in signature.inputs] == [(n, "number", True, "float32") for n in rows.columns]
    assert signature.classes == (0, 1)
    sent = rows.to_dict("records")
    assert_same(answer(model, sent), classifier.predict(rows))
    assert_same(answer(model, sent, "predict_proba"), classifier.predict_proba(rows))
    assert_same(alone(model, sent[:20], "predict_proba"), classifier.predict_proba(rows)[:20])


@pytest.mark.parametrize("write", XGBOOST_FILES, ids=["json", "ubj", "joblib"])
@pytest.mark.parametrize(
    ("objective", "width"), [("binary:logistic", None), ("reg:squarederror", None), ("multi:softprob", 3), ("multi:softmax", None)]
)
def test_a_bare_xgboost_booster_answers_what_its_objective_gives(tmp_path: Path, write: Write, objective: str, width: int | None) -> None:
    rows, species = iris()
    target = species if objective.startswith("multi") else (species > 0).astype(int)
    options = {"objective": objective} | ({"num_class": 3} if objective.startswith("multi") else {})
    booster = xgboost.train(options, xgboost.DMatrix(rows, target), num_boost_round=4)
    model = loaded(write(booster, tmp_path))
    assert [(o.name, o.width) for o in own_outputs(model)] == [("predict", width)]
    expected = booster.predict(xgboost.DMatrix(rows))
    assert_same(answer(model, rows.to_dict("records")), expected)
    assert_same(alone(model, rows.to_dict("records")[:10]), expected[:10])


def test_a_linear_xgboost_booster_is_served_too(tmp_path: Path) -> None:
    rows, species = iris()
    booster = xgboost.train({"booster": "gblinear", "updater": "coord_descent"}, xgboost.DMatrix(rows, species), num_boost_round=3)
    model = loaded(xgboost_file("json")(booster, tmp_path))
    assert_same(answer(model, rows.to_dict("records")), booster.predict(xgboost.DMatrix(rows)))


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
@pytest.mark.parametrize("write", XGBOOST_FILES, ids=["json", "ubj", "joblib"])
def test_xgboost_takes_categories_by_name(tmp_path: Path, write: Write, booster: str) -> None:
    regressor = xgboost.XGBRegressor(n_estimators=4, booster=booster, enable_categorical=True).fit(SHOPS, SALES)
    model = loaded(write(regressor, tmp_path))
    fields = {f.name: f for f in model.predictor.signature.inputs}
    assert {name: f.type for name, f in fields.items()} == {"city": "string", "size": "number", "floors": "integer", "open": "boolean"}
    assert fields["city"].enum == ("Basel", "Bern", "Genf")
    assert_same(answer(model, json_rows(SHOPS)), regressor.predict(SHOPS))
    with pytest.raises(InvalidInput, match="'city' must be one of"):
        answer(model, [{"city": "Chur", "size": 1, "floors": 1, "open": True}])
    assert answer(model, [{"city": None, "size": None, "floors": None, "open": None}]).shape == (1,)


def test_an_unchecked_category_that_training_did_not_have_is_refused_by_row(tmp_path: Path) -> None:
    regressor = xgboost.XGBRegressor(n_estimators=2, enable_categorical=True).fit(SHOPS, SALES)
    model = loaded(joblib_file(regressor, tmp_path))
    columns = {"city": np.array(["Bern", "Chur"], dtype=object), "size": np.ones(2), "floors": np.ones(2), "open": np.ones(2)}
    with pytest.raises(InvalidInput, match="row 1: 'city' has \"Chur\""):
        model.predictor.predict(Table.of_columns(columns), ("predict",), {})


def test_a_booster_without_names_numbers_its_inputs(tmp_path: Path) -> None:
    rows, species = iris()
    booster = xgboost.train({}, xgboost.DMatrix(rows.to_numpy(), species), num_boost_round=2)
    signature = loaded(xgboost_file("json")(booster, tmp_path)).predictor.signature
    assert ([f.name for f in signature.inputs], signature.named) == (["f0", "f1", "f2", "f3"], False)


# --- lightgbm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [text_file, joblib_file], ids=["text", "joblib"])
@pytest.mark.parametrize(("objective", "width"), [("binary", None), ("regression", None), ("multiclass", 3)])
def test_a_lightgbm_booster_answers_what_its_objective_gives(tmp_path: Path, write: Write, objective: str, width: int | None) -> None:
    rows, species = iris()
    target = species if objective == "multiclass" else (species > 0).astype(int)
    options = {"objective": objective, **QUIET} | ({"num_class": 3} if objective == "multiclass" else {})
    booster = lightgbm.train(options, lightgbm.Dataset(rows, target), num_boost_round=4)
    model = loaded(write(booster, tmp_path))
    signature = model.predictor.signature
    assert [(o.name, o.width) for o in own_outputs(model)] == [("predict", width)]
    assert [(f.name, f.type, f.nullable) for f in signature.inputs] == [(name, "number", True) for name in rows.columns]
    low, high = rows["petal_width"].min(), rows["petal_width"].max()
    assert low < signature.inputs[3].example < high
    assert_same(answer(model, rows.to_dict("records")), booster.predict(rows))
    assert_same(alone(model, rows.to_dict("records")[:10]), booster.predict(rows)[:10])


@pytest.mark.parametrize("wrapped", [True, False])
def test_lightgbm_takes_categories_by_name_and_unknown_ones_as_missing(tmp_path: Path, wrapped: bool) -> None:
    regressor = lightgbm.LGBMRegressor(n_estimators=5, **QUIET).fit(SHOPS, SALES)
    model = loaded(joblib_file(regressor, tmp_path) if wrapped else text_file(regressor.booster_, tmp_path))
    fields = {f.name: f for f in model.predictor.signature.inputs}
    assert (fields["city"].type, fields["city"].enum) == ("string", None)
    rows = json_rows(SHOPS.assign(open=SHOPS["open"].astype(int)))
    assert_same(answer(model, rows), regressor.predict(SHOPS))
    missing = SHOPS.iloc[:1].assign(city=pd.Categorical([None], categories=["Basel", "Bern", "Genf"]))
    assert_same(answer(model, [rows[0] | {"city": "Chur"}]), regressor.predict(missing))


def test_lightgbm_without_names_numbers_its_inputs(tmp_path: Path) -> None:
    rows, species = iris()
    booster = lightgbm.train({"objective": "regression", **QUIET}, lightgbm.Dataset(rows.to_numpy(), species), num_boost_round=2)
    signature = loaded(text_file(booster, tmp_path)).predictor.signature
    assert ([f.name for f in signature.inputs], signature.named) == (["f0", "f1", "f2", "f3"], False)


# --- what goes wrong, and what must not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.json", b'{"learner": {"attributes": {}, "feature_names": ['),
        ("model.ubj", b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"),
        ("model.ubj", b"nothing"),
        ("model.lgb", b"nothing"),
        ("model.txt", b"tree\nversion=v4\n"),
    ],
)
def test_a_corrupt_file_fails_with_one_clear_line(tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=f"^{name} could not be loaded: ") as error:
        loaded(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "Stack trace" not in str(error.value)


FORKED = """
import os, sys
from pathlib import Path
from dragoman.check import Checker
from dragoman.formats import ModelFiles, Settings, load
from dragoman.table import Table
path = Path(sys.argv[1])
model = load(ModelFiles(path, path.name, ""), settings=Settings(threads=2))
signature = model.predictor.signature
rows = Checker(signature)(Table.of_rows([signature.example_row()] * 500))
child = os.fork()
if child == 0:
    model.predictor.predict(rows, ("predict",), {})
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("kind", ["xgboost json", "lightgbm text", "xgboost joblib", "lightgbm joblib compressed"])
def test_a_child_forked_after_loading_can_predict(tmp_path: Path, kind: str) -> None:
    rows, benign = nuclei()
    if kind.startswith("xgboost"):
        booster = xgboost.XGBClassifier(n_estimators=3).fit(rows, benign)
        path = joblib_file(booster, tmp_path) if "joblib" in kind else xgboost_file("json")(booster, tmp_path)
    else:
        forest = lightgbm.LGBMClassifier(n_estimators=3, **QUIET).fit(rows, benign)
        path = tmp_path / "model.joblib"
        if "joblib" in kind:
            joblib.dump(forest, path, compress=3)
        else:
            path = text_file(forest.booster_, tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(path)], env=environment, timeout=120, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_an_xgboost_file_with_its_keys_in_another_order_is_read(tmp_path: Path) -> None:
    rows, benign = nuclei()
    xgboost.XGBClassifier(n_estimators=2).fit(rows, benign).save_model(tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    (tmp_path / "m.json").write_text(json.dumps({"version": document["version"], "learner": document["learner"]}, indent=1))
    assert loaded(tmp_path / "m.json").predictor.signature.classes == (0, 1)
