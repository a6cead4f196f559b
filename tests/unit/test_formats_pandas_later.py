"""scikit-learn without pandas, until something needs it. Each in a process of its own: this one has imported pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS = np.arange(12.0).reshape(6, 2)
LABELS = [0, 1] * 3
FRAME = pd.DataFrame(ROWS, columns=["a", "b"])

LOADING = """
import sys
from pathlib import Path
import numpy as np
from dragoman import formats
from dragoman.table import Table
for file in map(Path, sys.argv[1:]):
    loaded = formats.load(formats.ModelFiles(file, file.name, ""))
    before = "pandas" in sys.modules
    named = ("a", "b") if loaded.predictor.signature.named else None
    table = Table(np.arange(12.0).reshape(6, 2), (), named, 6)
    answer = loaded.predictor.predict(table, ("predict",), {})["predict"]
    print(before, "pandas" in sys.modules, np.asarray(answer, dtype=float).tolist())
"""


def run(code: str, *arguments: str) -> list[str]:
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def served(folder: Path, *models: Any) -> list[tuple[str, str]]:
    """Whether pandas was there once each was loaded, and once it had predicted; all in one process, which is to find the right labels."""
    files = [folder / f"{i}.joblib" for i in range(len(models))]
    for model, file in zip(models, files, strict=True):
        joblib.dump(model, file)
    lines = [line.split(" ", 2) for line in run(LOADING, *map(str, files))]
    labels = [m.predict(FRAME if hasattr(m, "feature_names_in_") else ROWS).astype(float).tolist() for m in models]
    assert [answer for _, _, answer in lines] == [str(found) for found in labels]
    return [(loaded, predicted) for loaded, predicted, _ in lines]


def test_only_what_asks_for_pandas_gets_it(tmp_path: Path) -> None:
    on_arrays = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    on_names = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, LABELS)
    asks_as_it_predicts = make_pipeline(SimpleImputer(), LogisticRegression()).fit(ROWS, LABELS)
    assert served(tmp_path, on_arrays, on_names, asks_as_it_predicts) == [("False", "False"), ("False", "False"), ("False", "True")]


def test_what_is_fed_with_frames_has_pandas_before_it_predicts(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()).fit(FRAME, LABELS)
    assert served(tmp_path, model) == [("True", "True")]


WITHIN = """
import sys
from dragoman.formats.pandas_later import pandas_later
with pandas_later():
    import sklearn.linear_model
    early = "pandas" in sys.modules
    {inside}
from sklearn.utils import fixes
print(early, "pandas" in sys.modules)
print(fixes.pd.Series([1, 2]).sum(), "pandas" in sys.modules)
"""


@pytest.mark.parametrize(
    ("inside", "there"), [("from sklearn.utils.fixes import pd; pd.NA", True), ("import pandas", True), ("pass", False)]
)
def test_everybody_else_gets_pandas_and_scikit_learn_too_when_it_uses_it(inside: str, there: bool) -> None:
    assert run(WITHIN.replace("{inside}", inside)) == [f"False {there}", "3 True"]
