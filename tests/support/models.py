"""Small real models, fitted once a test run, and what the tests of formats do with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_iris

from dragoman.check import Checker
from dragoman.formats import LoadedModel, ModelFiles, Settings, load
from dragoman.predictors import checked_outputs
from dragoman.signature import Output
from dragoman.table import Array, Table

IRIS_NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


@cache
def iris() -> tuple[pd.DataFrame, Array]:
    """Every second flower: measurements with names, and species as 0, 1 and 2."""
    measurements, species = load_iris(return_X_y=True, as_frame=True)
    measurements.columns = pd.Index(IRIS_NAMES)
    return measurements.iloc[::2].reset_index(drop=True), species.to_numpy()[::2]


@cache
def nuclei() -> tuple[pd.DataFrame, Array]:
    """Six measurements of 190 tumours, and whether each is benign."""
    measurements, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    chosen = measurements.iloc[::3, :6].reset_index(drop=True)
    chosen.columns = pd.Index([str(name).replace(" ", "_") for name in chosen.columns])
    return chosen, benign.to_numpy()[::3]


def files(path: Path, name: str | None = None) -> ModelFiles:
    """A model as storage hands it over."""
    return ModelFiles(path, name or path.name, "sha256:" + "0" * 64)


def loaded(path: Path, declared: str | None = None, **options: Any) -> LoadedModel:
    return load(files(path), declared, settings=Settings(threads=1), **options)


def own_outputs(model: LoadedModel) -> tuple[Output, ...]:
    """Those that are methods of the model; an explanation that the runtime makes of it is not."""
    return tuple(output for output in model.predictor.signature.outputs if output.how is None)


def answer(model: LoadedModel, rows: Sequence[Any] | Table, output: str = "predict", **arguments: Any) -> Array:
    """Rows as a dialect decodes them, checked by the signature, predicted, and checked for their count."""
    table = rows if isinstance(rows, Table) else Table.of_rows(rows)
    checked = Checker(model.predictor.signature)(table)
    return checked_outputs(model.predictor.predict(checked, (output,), arguments), (output,), checked.rows)[output]


def alone(model: LoadedModel, rows: Sequence[Any], output: str = "predict") -> Array:
    """Each row predicted by itself."""
    return np.concatenate([answer(model, [row], output) for row in rows])


def assert_same(got: Array, expected: Any) -> None:
    """Labels identical, numbers within 1e-12 relative: batched matrix products differ in the last bit."""
    wanted = np.asarray(expected)
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
    else:
        np.testing.assert_array_equal(got, wanted)


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows as a client sends them: objects, null where a value is missing."""
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]
