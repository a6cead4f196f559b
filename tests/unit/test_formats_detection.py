"""Formats are told from names and bytes, and nothing is run or imported for it."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.models import files, iris, nuclei
from xgboost import XGBClassifier

from dragoman.errors import UnsupportedFormat
from dragoman.formats import Found, detect
from dragoman.formats.pickles import read_pickle
from dragoman.formats.protobuf import fields

MODEL_PY = """
from dragoman import Model

class Halves(Model):
    def predict(self, table):
        return table.to_numpy()[:, 0] / 2
"""


class Own:
    """A class that is nobody's format."""

    def predict(self, rows: Any) -> Any:
        return rows


@pytest.fixture(scope="module")
def model() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris())


def found(path: Path, declared: str | None = None) -> Found:
    return detect(files(path), declared)


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
def test_a_joblib_of_an_estimator_is_sklearn_however_it_is_compressed(tmp_path: Path, model: Any, compress: Any) -> None:
    joblib.dump(model, tmp_path / "model.bin", compress=compress)
    told = found(tmp_path / "model.bin")
    assert (told.format.name, told.file, told.runs_code) == ("sklearn", "model.bin", True)
    assert "sklearn.pipeline.Pipeline" in told.told.what


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol_is_read(tmp_path: Path, model: Any, protocol: int) -> None:
    (tmp_path / "m").write_bytes(pickle.dumps(model, protocol))
    assert found(tmp_path / "m").format.name == "sklearn"
    (tmp_path / "own").write_bytes(pickle.dumps(Own(), protocol))
    assert found(tmp_path / "own").format.name == "cloudpickle"


def test_a_booster_in_a_joblib_is_sklearn(tmp_path: Path) -> None:
    joblib.dump(XGBClassifier(n_estimators=2).fit(*nuclei()), tmp_path / "m.joblib")
    assert found(tmp_path / "m.joblib").format.name == "sklearn"


def test_an_object_of_ones_own_is_cloudpickle(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(Own()))
    assert found(tmp_path / "model.pkl").format.name == "cloudpickle"


def test_what_is_declared_decides_between_the_two_that_pickle(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    assert found(tmp_path / "model.joblib", "cloudpickle").format.name == "cloudpickle"
    (tmp_path / "own.pkl").write_bytes(pickle.dumps(Own()))
    assert found(tmp_path / "own.pkl", "sklearn").format.name == "sklearn"


def test_skops_is_data(tmp_path: Path, model: Any) -> None:
    skops.io.dump(model, tmp_path / "model.zip")
    told = found(tmp_path / "model.zip")
    assert (told.format.name, told.runs_code) == ("sklearn", False)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost_is_told_in_json_and_in_ubj(tmp_path: Path, suffix: str) -> None:
    XGBClassifier(n_estimators=2).fit(*nuclei()).save_model(tmp_path / f"m.{suffix}")
    path = (tmp_path / f"m.{suffix}").rename(tmp_path / "nameless")
    told = found(path)
    assert (told.format.name, told.runs_code, told.forks) == ("xgboost", False, True)


def test_onnx_is_told_by_its_bytes_and_does_not_fork(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    measurements, species = iris()
    regression = LinearRegression().fit(measurements.to_numpy(), species)
    (tmp_path / "m").write_bytes(to_onnx(regression, measurements.to_numpy()[:1].astype(np.float32)).SerializeToString())
    told = found(tmp_path / "m")
    assert (told.format.name, told.runs_code, told.forks) == ("onnx", False, False)


def test_a_truncated_onnx_file_is_told_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x12\xff\xff\x03abc")
    assert found(tmp_path / "m.onnx").told.sure is False


@pytest.mark.parametrize(
    "source",
    [
        MODEL_PY,
        MODEL_PY.replace("import Model", "import Model as M").replace("(Model)", "(M)"),
        "import dragoman\nclass A(dragoman.Model):\n    pass\n",
        "import dragoman as d\nclass A(d.Model): pass\nclass B(A): pass\n",
        "from dragoman.authoring import Model\nclass A(Model): pass\n",
    ],
)
def test_python_with_a_model_class_is_told_by_its_syntax(tmp_path: Path, source: str) -> None:
    (tmp_path / "served.py").write_text(source)
    told = found(tmp_path / "served.py")
    assert (told.format.name, told.runs_code) == ("python", True)


@pytest.mark.parametrize("source", ["class Model: pass\nclass A(Model): pass\n", "print(1)\n", "def (\n", "(" * 300 + "\n"])
def test_other_python_is_no_model(tmp_path: Path, source: str) -> None:
    (tmp_path / "train.py").write_text(source)
    with pytest.raises(UnsupportedFormat, match=r"no model found in train\.py \((Python without a|no valid Python)"):
        found(tmp_path / "train.py")


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from porter.services import ModelApp\napp = ModelApp([])", "Python that imports porter: write dragoman.porter in its imports"),
        ("import seldon\nclass A(seldon.Recommender): ...", "Python that imports seldon: write dragoman.seldon in its imports"),
        ("x = 1\ndef f(:\n    pass", "no valid Python: line 2: invalid syntax"),
        ("x = '\0'", "no valid Python: "),
        ("x = 1", "Python without a dragoman.Model, and without a ModelApp of dragoman.porter"),
    ],
)
def test_python_without_a_model_is_told_what_is_missing(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "app.py").write_text(source)
    with pytest.raises(UnsupportedFormat, match=rf"no model found in app\.py \({re.escape(said)}"):
        detect(files(tmp_path / "app.py"))


def test_a_folder_with_one_model_among_other_files_needs_no_naming(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "iris-2024.joblib")
    for name in ("README.md", "train.py", "data.csv", "params.json", "modeldeployment.yaml"):
        (tmp_path / name).write_text("{}")
    assert found(tmp_path).file == "iris-2024.joblib"


def test_of_several_models_the_one_called_model_is_served(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    joblib.dump(model.steps[0][1], tmp_path / "scaler.joblib")
    assert found(tmp_path).file == "model.joblib"


def test_several_models_of_other_names_are_refused_with_their_names(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "a.joblib")
    joblib.dump(model, tmp_path / "b.joblib")
    with pytest.raises(UnsupportedFormat, match=r"has 2 models: a\.joblib .*, b\.joblib .*: say which it is in spec\.model\.format"):
        found(tmp_path)


def test_a_models_own_code_leads_what_lies_beside_it(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    (tmp_path / "model.py").write_text(MODEL_PY)
    assert found(tmp_path).file == "model.py"


def test_model_json_says_which_file_is_the_model(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "a.joblib")
    joblib.dump(model, tmp_path / "b.joblib")
    (tmp_path / "model.json").write_text(json.dumps({"dragoman": "0.1.0", "format": "sklearn", "file": "b.joblib"}))
    assert found(tmp_path).file == "b.joblib"


def test_an_xgboost_model_may_be_called_model_json_in_a_folder(tmp_path: Path) -> None:
    XGBClassifier(n_estimators=2).fit(*nuclei()).save_model(tmp_path / "model.json")
    assert (found(tmp_path).format.name, found(tmp_path).file) == ("xgboost", "model.json")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="has no files"):
        found(tmp_path)


# --- what is refused, and how ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("net.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("net.pt", b"PK\x03\x04rest", "PyTorch"),
        ("table.parquet", b"PAR1....", "Parquet"),
        ("old.model", b"binf\x00\x00", "old binary format"),
        ("m.joblib.lz4", b"\x04\x22\x4d\x18", "LZ4"),
        ("notes.txt", b"changes\nfoo\nbar\n", "16 bytes of no known kind"),
        ("nothing", b"", "empty"),
        ("model.joblib", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a Git LFS pointer"),
        ("model.onnx", b"\n<!DOCTYPE html>\n<html>", "an HTML page"),
        ("model.pkl", b"<HTML><body>please log in", "an HTML page"),
        ("model.ubj", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    ],
)
def test_what_is_no_model_is_named_and_the_known_formats_too(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedFormat) as error:
        found(tmp_path / name)
    for part in (name, said, "sklearn, xgboost, lightgbm, onnx, cloudpickle", "spec.model.format"):
        assert part in str(error.value)


def test_a_declared_format_that_is_not_the_files_is_refused_with_what_it_is(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(UnsupportedFormat, match=r"says onnx, but there is no onnx model in model\.joblib \(a pickle of sklearn"):
        found(tmp_path / "model.joblib", "onnx")


def test_a_zip_archive_that_is_not_skops_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(UnsupportedFormat, match="zip archive"):
        found(tmp_path / "m.zip")


def test_detection_imports_neither_numpy_nor_a_model_library(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    script = (
        "import sys; from pathlib import Path; from dragoman.formats import ModelFiles, detect\n"
        "print(detect(ModelFiles(Path(sys.argv[1]), 'model.joblib', '')).format.name)\n"
        "print(sorted({'numpy', 'pandas', 'sklearn', 'joblib', 'xgboost', 'lightgbm', 'onnxruntime', 'skops'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model.joblib")], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["sklearn", "[]"]


# --- the readers take anything --------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_no_bytes_upset_the_readers(head: bytes) -> None:
    read_pickle(head)
    read_pickle(b"\x80\x04" + head)
    try:
        last = 0
        for field in fields(head):
            assert last <= field.start <= field.end <= len(head)
            last = field.end
    except ValueError:
        pass


@given(st.lists(st.tuples(st.integers(0, 50), st.text(max_size=5)), max_size=4))
def test_plain_values_have_no_class(value: Any) -> None:
    told = read_pickle(pickle.dumps(value))
    assert told is not None
    assert told.root is None
