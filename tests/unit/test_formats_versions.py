"""A model from other versions is served with a warning in plain words; one whose library is missing is not, and says what to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
import sklearn
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.support.models import answer, iris, loaded

import dragoman


def outdated(path: Path, model: Any, **versions: str) -> Path:
    """Saved, its model.json rewritten as if it had been done with other versions."""
    dragoman.save(model, path)
    document = json.loads((path / "model.json").read_text())
    document["versions"].update({name.replace("_", "-"): version for name, version in versions.items()})
    (path / "model.json").write_text(json.dumps(document))
    return path


def test_other_versions_in_model_json_are_told(tmp_path: Path) -> None:
    model = loaded(outdated(tmp_path, LinearRegression().fit(*iris()), scikit_learn="1.2.0", python="3.8", numpy="1.0", other="1"))
    assert [line.split(":")[0] for line in model.warnings] == [
        "saved with numpy 1.0, loaded with " + model.versions["numpy"],
        f"saved with python 3.8, loaded with {sys.version_info.major}.{sys.version_info.minor}",
        f"saved with scikit-learn 1.2.0, loaded with {sklearn.__version__}",
    ]
    assert answer(model, [[1, 2, 3, 4]]).shape == (1,)


def test_the_versions_in_use_are_told(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit(*iris()), tmp_path / "m.joblib")
    assert loaded(tmp_path / "m.joblib").versions["scikit-learn"] == sklearn.__version__
    xgboost.XGBRegressor(n_estimators=1).fit(*iris()).save_model(tmp_path / "m.json")
    assert loaded(tmp_path / "m.json").versions["xgboost"] == xgboost.__version__


def test_scikit_learns_own_warning_is_heard_where_there_is_no_model_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LogisticRegression().fit(*iris())
    monkeypatch.setattr("sklearn.base.__version__", "1.1.0")
    joblib.dump(model, tmp_path / "m.joblib")
    monkeypatch.undo()
    warnings = loaded(tmp_path / "m.joblib").warnings
    assert warnings == (
        f"saved with scikit-learn 1.1.0, loaded with {sklearn.__version__}: "
        f"answers may differ; save it again with {sklearn.__version__}, or install 1.1.0",
    )


BLOCKED = """
import sys
from pathlib import Path
class Blocker:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in sys.argv[2].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from dragoman.errors import MissingLibrary
from dragoman.formats import ModelFiles, load
path = Path(sys.argv[1])
try:
    load(ModelFiles(path, path.name, ""))
except MissingLibrary as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("file", "blocked", "said"),
    [
        ("m.joblib", "sklearn", "m.joblib needs scikit-learn, which is not installed: pip install 'dragoman[sklearn]'"),
        ("m.joblib", "joblib", "m.joblib needs joblib, which is not installed: pip install 'dragoman[sklearn]'"),
        ("m.json", "xgboost", "m.json needs xgboost, which is not installed: pip install 'dragoman[xgboost]'"),
        ("m.json", "sklearn", "m.json needs scikit-learn, which is not installed: pip install 'dragoman[sklearn]'"),
        ("inside.joblib", "xgboost", "inside.joblib needs xgboost, which is not installed: pip install 'dragoman[xgboost]'"),
        ("m.txt", "lightgbm", "m.txt needs lightgbm, which is not installed: pip install 'dragoman[lightgbm]'"),
        ("m.onnx", "onnxruntime", "m.onnx needs onnxruntime, which is not installed: pip install 'dragoman[onnx]'"),
        ("m.skops", "skops", "m.skops needs skops, which is not installed: pip install 'dragoman[sklearn]'"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(models: Path, file: str, blocked: str, said: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(models / file), blocked], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.stdout.strip() == said, run.stderr


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import lightgbm
    import numpy as np
    import skops.io
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path_factory.mktemp("models")
    rows, species = iris()
    regression = LinearRegression().fit(rows.to_numpy(), species)
    classifier = xgboost.XGBClassifier(n_estimators=2)
    joblib.dump(LinearRegression().fit(rows, species), folder / "m.joblib")
    joblib.dump(make_pipeline(StandardScaler(), classifier).fit(rows, species), folder / "inside.joblib")
    classifier.fit(rows, species).save_model(folder / "m.json")
    lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(rows, species).booster_.save_model(folder / "m.txt")
    (folder / "m.onnx").write_bytes(to_onnx(regression, rows.to_numpy()[:1].astype(np.float32)).SerializeToString())
    skops.io.dump(regression, folder / "m.skops")
    return folder
