"""No model hangs after a fork: with two workers, each killed and replaced once, every answer is the model's own.

LightGBM and XGBoost start OpenMP when loaded, HistGradientBoosting when it predicts, onnxruntime holds threads: children forked after
that would wait for threads that they do not have.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import make_classification
from tests.support.serving import Server, eventually, manifest, serving

MODELS = Path(__file__).parents[1] / "models"
Array = np.ndarray[Any, np.dtype[Any]]
Answer = Callable[[Array], Array]
X, Y = make_classification(400, 4, random_state=0)
ROWS = np.round(X[:20], 3).astype(np.float32).astype(np.float64)  # the same as float32, which ONNX and boosters compute in


def lightgbm_native(folder: Path) -> tuple[Path, Answer]:
    import lightgbm

    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), 10)
    booster.save_model(folder / "model.txt")
    return folder / "model.txt", lambda rows: np.asarray(booster.predict(rows))


def lightgbm_joblib(folder: Path) -> tuple[Path, Answer]:
    import lightgbm

    return _dumped(folder, lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(X, Y))


def xgboost_native(folder: Path) -> tuple[Path, Answer]:
    import xgboost

    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y), 10)
    booster.save_model(folder / "model.ubj")
    return folder / "model.ubj", lambda rows: booster.predict(xgboost.DMatrix(rows))


def xgboost_joblib(folder: Path) -> tuple[Path, Answer]:
    import xgboost

    return _dumped(folder, xgboost.XGBClassifier(n_estimators=10).fit(X, Y))


def hist_gradient_boosting(folder: Path) -> tuple[Path, Answer]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _dumped(folder, HistGradientBoostingClassifier(max_iter=10).fit(X, Y))


def onnx(folder: Path) -> tuple[Path, Answer]:
    import skl2onnx
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X.astype(np.float32), Y)
    graph = skl2onnx.to_onnx(model, X[:1].astype(np.float32), options={"zipmap": False})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return folder / "model.onnx", model.predict


def python(folder: Path) -> tuple[Path, Answer]:
    return MODELS / "centred.py", lambda rows: (rows - rows.mean(axis=0)).sum(axis=1)


def _dumped(folder: Path, model: Any) -> tuple[Path, Answer]:
    joblib.dump(model, folder / "model.joblib")
    return folder / "model.joblib", model.predict


KINDS = {
    make.__name__.replace("_", "-"): make
    for make in (lightgbm_native, lightgbm_joblib, xgboost_native, xgboost_joblib, hist_gradient_boosting, onnx, python)
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Answer]]:
    """A model's file of each kind, and what it answers in this process."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in KINDS.items()}


@pytest.fixture(scope="module")
def server(made: dict[str, tuple[Path, Answer]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _replaced(tmp_path_factory.mktemp("fork"), made, "fork") as started:
        yield started


@contextmanager
def _replaced(folder: Path, made: dict[str, tuple[Path, Answer]], start_method: str) -> Iterator[Server]:
    """All of these models in one server of two workers, each of which has been killed and replaced once."""
    for name, (path, _) in made.items():
        manifest(folder, name, path)
    with serving(folder, folder, "--workers", "2", "--start-method", start_method) as started:
        for name, (_, answer) in made.items():
            _assert_answers(started, name, answer)
        for restarts, pid in enumerate(started.worker_pids(), start=1):
            os.kill(pid, signal.SIGKILL)
            eventually(lambda n=restarts: started.metric("dragoman_worker_restarts_total") == n)
            eventually(lambda: len(started.worker_pids()) == 2, seconds=60)
        yield started


def _assert_answers(server: Server, name: str, answer: Answer) -> None:
    rows = ROWS[:, :2] if name == "python" else ROWS
    for some in [rows] * 8 + [rows[:1]] * 8:  # connections, which the two workers share
        reply = server.predict(name, some.tolist())
        np.testing.assert_allclose(reply.json()["predictions"], answer(some), rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_a_replaced_worker_predicts_as_the_model_does(server: Server, made: dict[str, tuple[Path, Answer]], name: str) -> None:
    _assert_answers(server, name, made[name][1])
    assert server.metric("dragoman_worker_restarts_total") == 2


def test_all_but_onnx_sessions_are_loaded_once_for_all_workers(server: Server) -> None:
    assert [m["name"] for m in server.status()["models"] if m.get("own")] == ["onnx"]


def test_workers_that_start_afresh_predict_as_the_model_does(made: dict[str, tuple[Path, Answer]], tmp_path: Path) -> None:
    some = {name: made[name] for name in ("lightgbm-joblib", "onnx")}
    with _replaced(tmp_path, some, "fresh") as server:
        for name, (_, answer) in some.items():
            _assert_answers(server, name, answer)
        assert server.metric("dragoman_worker_restarts_total") == 2
        assert all(m["own"] for m in server.status()["models"])
