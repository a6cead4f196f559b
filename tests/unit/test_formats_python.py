"""Models in Python, objects of one's own, and `dragoman.save`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import lightgbm
import msgspec
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.support.models import alone, answer, assert_same, files, iris, json_rows, loaded, nuclei, own_outputs

import dragoman
from dragoman.errors import InvalidInput, MissingLibrary, ModelLoadFailed
from dragoman.formats import detect, probe
from dragoman.signature import Field, Output, Signature
from dragoman.storage.digest import digest_of

FULL = """
from pathlib import Path
from dragoman import Field, Model, Output
from factors import FACTOR

class Scaled(Model):
    inputs = {"x": "number", "word": "string"}
    outputs = [Output("predict_proba", width=2)]
    classes = ("small", "large")
    target = "size"
    rows_independent = True

    def load(self, folder):
        self.offset = float((folder / "offset.txt").read_text())

    def predict(self, table, times=1):
        return [x * FACTOR * times + self.offset for x in table.column(0)]

    def predict_proba(self, table):
        return [[0.25, 0.75]] * table.rows

    def explain(self, table):
        return [{"because": word} for word in table.column(1)]
"""


def scaled(folder: Path, factor: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(FULL)
    (folder / "factors.py").write_text(f"FACTOR = {factor}\n")
    (folder / "offset.txt").write_text("0.5")
    return folder


def written(folder: Path, source: str) -> Path:
    (folder / "model.py").write_text(source)
    return folder / "model.py"


# --- python ---------------------------------------------------------------------------------------------------------


def test_a_python_model_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    model = loaded(scaled(tmp_path))
    signature = model.predictor.signature
    assert [(f.name, f.type) for f in signature.inputs] == [("x", "number"), ("word", "string")]
    assert [o.name for o in signature.outputs] == ["predict", "predict_proba", "explain"]
    assert (signature.classes, signature.target, model.predictor.rows_independent) == (("small", "large"), "size", True)
    rows = [{"word": "a", "x": 1}, {"word": "b", "x": 2}]
    assert answer(model, rows).tolist() == [2.5, 4.5]
    assert answer(model, rows, times=10).tolist() == [20.5, 40.5]
    assert answer(model, rows, "predict_proba").shape == (2, 2)
    assert answer(model, rows, "explain").tolist() == [{"because": "a"}, {"because": "b"}]
    with pytest.raises(InvalidInput, match="predict takes no such arguments"):
        answer(model, rows, power=2)


def test_loading_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    before = digest_of(scaled(tmp_path))
    loaded(tmp_path)
    assert digest_of(tmp_path) == before


def test_two_models_may_have_modules_of_one_name(tmp_path: Path) -> None:
    first, second = loaded(scaled(tmp_path / "a", 2)), loaded(scaled(tmp_path / "b", 3))
    rows = [{"word": "", "x": 1}]
    assert (answer(first, rows)[0], answer(second, rows)[0]) == (2.5, 3.5)


def test_a_python_model_is_not_called_independent_unless_it_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "from dragoman import Model\nclass A(Model):\n    def predict(self, t): return t.to_numpy().sum(axis=1)\n")
    model = loaded(path)
    assert (model.predictor.rows_independent, model.predictor.signature.inputs) == (False, ())
    assert answer(model, [[1, 2], [3, 4]]).tolist() == [3, 7]


def test_the_probe_tells_the_types_of_a_python_models_outputs(tmp_path: Path) -> None:
    outputs = {o.name: o for o in probe(loaded(scaled(tmp_path))).signature.outputs}
    assert (outputs["predict"].type, outputs["predict"].width, outputs["predict"].dtype) == ("number", None, "float64")
    assert (outputs["predict_proba"].width, outputs["explain"].type) == (2, "object")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from dragoman import Model\nclass A(Model): pass\n", "A has no predict method of its own"),
        (
            "from dragoman import Model\nclass A(Model):\n    predict = print\nclass B(Model):\n    predict = print\n",
            "must have one subclass of dragoman.Model, and has A, B",
        ),
        ("from dragoman import Model\nclass A(Model): pass\n1 / 0\n", "could not be loaded: ZeroDivisionError: division by zero"),
        (
            "from dragoman import Model\nclass A(Model):\n    def load(self, f): raise OSError('no weights\\nhere')\n    predict = load\n",
            "could not be loaded: OSError: no weights here",
        ),
        (
            "from dragoman import Model\nclass A(Model):\n    inputs = {'x': 'float'}\n    def predict(self, t): pass\n",
            "A.inputs: 'x' is no field with a type of number, integer, string or boolean",
        ),
        (
            "from dragoman import Model, Output\nclass A(Model):\n    outputs = [Output('score')]\n    def predict(self, t): pass\n",
            "A.outputs names 'score', which is none of its methods",
        ),
    ],
)
def test_what_is_wrong_with_a_python_model_is_said_in_one_line(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(ModelLoadFailed) as error:
        loaded(written(tmp_path, source))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_package_that_a_python_model_needs_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "import no_such_package\nfrom dragoman import Model\nclass A(Model): pass\n")
    with pytest.raises(MissingLibrary, match=r"model\.py needs the Python package 'no_such_package'"):
        loaded(path)


def test_a_class_may_derive_from_another_of_the_file(tmp_path: Path) -> None:
    source = (
        "from dragoman import Model\n"
        "class Base(Model):\n    def predict(self, t): return [self.value] * t.rows\n"
        "class Leaf(Base):\n    value = 7\n"
    )
    assert answer(loaded(written(tmp_path, source)), [[1]]).tolist() == [7]


# --- objects --------------------------------------------------------------------------------------------------------


class Summing:
    """Anything with a predict."""

    def __init__(self, framed: bool = False) -> None:
        self.framed = framed

    def predict(self, rows: Any) -> Any:
        assert isinstance(rows, pd.DataFrame) == self.framed
        return np.asarray(rows, dtype=float).sum(axis=1)


def test_an_object_gets_an_array_of_rows_sent_as_lists_and_a_frame_of_objects(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Summing()))
    model = loaded(tmp_path / "model.pkl")
    assert (model.predictor.rows_independent, model.predictor.signature.inputs) == (False, ())
    assert answer(model, [[1, 2.5], [3, 4]]).tolist() == [3.5, 7]
    (tmp_path / "framed.pkl").write_bytes(cloudpickle.dumps(Summing(framed=True)))
    assert answer(loaded(tmp_path / "framed.pkl"), [{"a": 1, "b": 2}]).tolist() == [3]


def test_what_the_manifest_declares_names_an_objects_inputs(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Summing()))
    model = loaded(tmp_path / "model.pkl", inputs=(Field("a"), Field("b", minimum=0)), outputs=("total", None))
    assert answer(model, [{"b": 2, "a": 1}]).tolist() == [3]
    assert model.predictor.signature.target == "total"
    with pytest.raises(InvalidInput, match="'b' must be at least 0"):
        answer(model, [[1, -2]])


# --- save -----------------------------------------------------------------------------------------------------------


def test_a_saved_estimator_comes_back_with_its_signature_and_its_digest(tmp_path: Path) -> None:
    measurements, species = iris()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(measurements, species)
    digest = dragoman.save(pipeline, tmp_path / "m", example=measurements, name="iris")
    assert digest == digest_of(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.joblib", "model.json"]
    model = loaded(tmp_path / "m")
    signature = model.predictor.signature
    assert signature.inputs[0] == Field("sepal_length", example=5.1)
    assert [(o.name, o.type, o.width, o.dtype) for o in signature.outputs][:2] == [
        ("predict", "integer", None, "int64"),
        ("predict_proba", "number", 3, "float64"),
    ]
    assert_same(answer(model, measurements.to_dict("records"), "predict_proba"), pipeline.predict_proba(measurements))
    assert model.warnings == ()
    assert pipeline.feature_names_in_.tolist() == list(measurements.columns)  # saving leaves the author's model alone


def test_saving_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dragoman.save(LinearRegression().fit(*iris()), tmp_path, example=iris()[0])
    assert capfd.readouterr() == ("", "")


def test_the_same_model_saved_twice_has_the_same_digest(tmp_path: Path) -> None:
    model = LinearRegression().fit(*iris())
    assert dragoman.save(model, tmp_path / "a", example=iris()[0]) == dragoman.save(model, tmp_path / "b", example=iris()[0])


def test_a_saved_sample_is_spread_over_the_training_data(tmp_path: Path) -> None:
    measurements = pd.DataFrame({"x": np.arange(1000.0), "word": ["a", None] * 500})
    dragoman.save(_Words().fit(measurements, measurements["x"]), tmp_path, example=measurements)
    sample = json.loads((tmp_path / "model.json").read_text())["sample"]
    assert len(sample) == 100
    assert (sample[0], sample[-1]) == ([0, "a"], [999, None])


class _Words:
    def fit(self, rows: Any, _: Any) -> _Words:
        return self

    def predict(self, rows: Any) -> Any:
        assert isinstance(rows, pd.DataFrame)
        return rows["x"].to_numpy()


def test_an_example_tells_the_inputs_of_an_object_of_ones_own(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, 2], "word": ["a", None], "count": [1, 2], "open": [True, False]})
    dragoman.save(_Words(), tmp_path, example=frame, rows_independent=True)
    model = loaded(tmp_path)
    assert detect(files(tmp_path)).format.name == "cloudpickle"
    assert [(f.name, f.type, f.nullable) for f in model.predictor.signature.inputs] == [
        ("x", "number", False),
        ("word", "string", True),
        ("count", "integer", False),
        ("open", "boolean", False),
    ]
    assert model.predictor.rows_independent is True
    assert answer(model, json_rows(frame)).tolist() == [1.5, 2]


def test_a_column_of_booleans_is_one_though_to_the_model_it_is_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"open": [True, False] * 5, "size": np.arange(10.0)})
    regression = make_pipeline(StandardScaler(), Ridge()).fit(frame, np.arange(10))
    dragoman.save(regression, tmp_path, example=frame)
    model = loaded(tmp_path)
    assert [(f.name, f.type) for f in model.predictor.signature.inputs] == [("open", "boolean"), ("size", "number")]
    assert_same(answer(model, frame.to_dict("records")), regression.predict(frame))


def test_a_signature_that_is_given_is_kept(tmp_path: Path) -> None:
    given = Signature(inputs=(Field("x", minimum=0), Field("y")), outputs=(Output("predict"),), target="z")
    dragoman.save(LinearRegression().fit([[0, 1], [1, 0]], [1, 2]), tmp_path, signature=given)
    model = loaded(tmp_path)
    assert msgspec.structs.replace(model.predictor.signature, outputs=own_outputs(model)) == given


def test_a_pipeline_with_a_function_of_ones_own_takes_it_along(tmp_path: Path) -> None:
    measurements, species = iris()
    pipeline = make_pipeline(FunctionTransformer(lambda rows: rows * 2), Ridge()).fit(measurements, species)
    dragoman.save(pipeline, tmp_path, example=measurements)
    assert (tmp_path / "model.pkl").is_file()
    model = loaded(tmp_path)
    assert [f.name for f in model.predictor.signature.inputs] == list(measurements.columns)
    assert_same(answer(model, measurements.to_dict("records")), pipeline.predict(measurements))
    assert model.predictor.rows_independent is False


def test_a_class_of_a_module_that_the_server_does_not_have_goes_into_the_file(tmp_path: Path) -> None:
    (tmp_path / "homemade.py").write_text("class Twice:\n    def predict(self, rows):\n        return [r[0] * 2 for r in rows]\n")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport dragoman, homemade\ndragoman.save(homemade.Twice(), sys.argv[1] + '/saved')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    (tmp_path / "homemade.py").unlink()
    assert answer(loaded(tmp_path / "saved"), [[2], [3]]).tolist() == [4, 6]


class Tripled(dragoman.Model):
    inputs = {"x": "number"}  # noqa: RUF012 - as authors write it
    rows_independent = True

    def predict(self, table: dragoman.Table) -> Any:
        return table.to_numpy()[:, 0] * 3


def test_a_dragoman_model_can_be_saved_as_an_object(tmp_path: Path) -> None:
    dragoman.save(Tripled(), tmp_path, example=pd.DataFrame({"x": [4.0]}))
    model = loaded(tmp_path)
    assert (model.predictor.rows_independent, model.predictor.signature.inputs[0].example) == (True, 4.0)
    assert answer(model, [{"x": 2}]).tolist() == [6]
    assert_same(alone(model, [[1], [2]]), answer(model, [[1], [2]]))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_bare_boosters_are_saved_in_their_own_formats(tmp_path: Path, library: str) -> None:
    rows, benign = nuclei()
    booster: Any
    if library == "xgboost":
        booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(rows, benign), num_boost_round=3)
        expected = booster.predict(xgboost.DMatrix(rows))
    else:
        booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(rows, benign), num_boost_round=3)
        expected = booster.predict(rows)
    dragoman.save(booster, tmp_path, example=rows)
    assert detect(files(tmp_path)).format.name == library
    assert detect(files(tmp_path)).runs_code is False
    model = loaded(tmp_path, policy="Deny")
    assert model.predictor.signature.inputs[0].example == pytest.approx(rows.iloc[0, 0])
    assert_same(answer(model, rows.to_dict("records")), expected)


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    dragoman.save(Summing(), tmp_path)
    dragoman.save(LinearRegression().fit(*iris()), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.joblib", "model.json"]


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (StandardScaler(), {}, "a StandardScaler has none"),
        (Summing(), {"example": [1, 2, 3]}, "must be a DataFrame or a 2-D array"),
        (_Words(), {"example": pd.DataFrame({"x": pd.to_datetime(["2024-01-01"])})}, "column 'x' of the example holds Timestamp"),
    ],
)
def test_what_cannot_be_saved_is_refused_with_a_reason(tmp_path: Path, model: Any, options: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        dragoman.save(model, tmp_path, **options)


def test_importing_dragoman_brings_no_numpy() -> None:
    script = "import sys, dragoman; dragoman.Model, dragoman.save, dragoman.Field; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_dragoman_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        dragoman.modle  # noqa: B018
