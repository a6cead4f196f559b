"""Code in a model runs only where the policy lets it, and nothing of it before it was asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import pytest
import skops.io
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.support.models import files, iris, loaded

from dragoman.errors import ModelLoadFailed, PolicyViolation
from dragoman.formats import detect


class Malicious:
    """Loading its pickle makes a folder: what a bad file could do, it could do instead."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


MALICIOUS_PY = """
import os
os.mkdir({target!r})
from dragoman import Model
class Bad(Model):
    def predict(self, table):
        return []
"""


def write_joblib(folder: Path, target: Path) -> Path:
    joblib.dump(Malicious(target), folder / "model.joblib", compress=3)
    return folder / "model.joblib"


def write_cloudpickle(folder: Path, target: Path) -> Path:
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(Malicious(target)))
    return folder / "model.pkl"


def write_python(folder: Path, target: Path) -> Path:
    (folder / "model.py").write_text(MALICIOUS_PY.format(target=str(target)))
    return folder / "model.py"


def write_mlflow(folder: Path, target: Path) -> Path:
    (folder / "m").mkdir()
    write_cloudpickle(folder / "m", target)
    (folder / "m" / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": {"pickled_model": "model.pkl"}}}))
    return folder / "m"


WRITERS = [write_joblib, write_cloudpickle, write_python, write_mlflow]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("policy", "pinned"), [("Deny", False), ("Deny", True), ("RequireDigest", False)])
def test_code_is_refused_before_any_of_it_runs(tmp_path: Path, write: Any, policy: Any, pinned: bool) -> None:
    harm = tmp_path / "harm"
    path = write(tmp_path, harm)
    with pytest.raises(PolicyViolation):
        loaded(path, policy=policy, pinned=pinned)
    assert not harm.exists()


@pytest.mark.parametrize("write", WRITERS)
def test_telling_the_format_runs_nothing(tmp_path: Path, write: Any) -> None:
    harm = tmp_path / "harm"
    assert detect(files(write(tmp_path, harm))).runs_code
    assert not harm.exists()


@pytest.mark.parametrize("write", WRITERS)
def test_the_trap_does_spring_where_code_is_allowed(tmp_path: Path, write: Any) -> None:
    """Else the tests above would show nothing."""
    harm = tmp_path / "harm"
    path = write(tmp_path, harm)
    if write is write_python:
        loaded(path)
    else:
        with pytest.raises(ModelLoadFailed, match="has no predict"):
            loaded(path)
    assert harm.exists()


def test_a_pinned_pickle_is_served_where_digests_are_required(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit(*iris()), tmp_path / "model.joblib")
    assert loaded(tmp_path / "model.joblib", policy="RequireDigest", pinned=True).predictor.signature.inputs


def test_the_refusal_says_where_the_pin_comes_from(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit(*iris()), tmp_path / "model.joblib")
    with pytest.raises(PolicyViolation, match=r"model\.joblib is a pickle of .*`dragoman digest \./the-file-you-trained`"):
        loaded(tmp_path / "model.joblib", policy="RequireDigest")


def test_data_needs_no_pin(tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit(*iris()), tmp_path / "model.skops")
    assert loaded(tmp_path / "model.skops", policy="Deny").predictor.signature.classes == (0, 1, 2)


def test_skops_with_a_type_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer

    trap = FunctionTransformer(os.mkdir)
    trap.predict = None
    skops.io.dump(trap, tmp_path / "model.skops")
    with pytest.raises(PolicyViolation, match=r"types that are not trusted as data: posix\.mkdir"):
        loaded(tmp_path / "model.skops")
