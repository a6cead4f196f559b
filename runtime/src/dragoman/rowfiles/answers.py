"""A prediction as flat, named columns: `prediction`, `probability_setosa`, ….

An output's label is its own name, but for `predict` and `predict_proba`. One value a row makes a column of that label; n values
a row make n columns, named by the classes where those are as many (probabilities, decision values), else counted from 0. Anything deeper
stays one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dragoman.errors import ModelFailed
from dragoman.json import plain_array
from dragoman.table import Array

_LABELS = {"predict": "prediction", "predict_proba": "probability"}
_BY_CLASS = frozenset({"predict_proba", "predict_log_proba", "decision_function"})


def columns(outputs: Mapping[str, Array], classes: Sequence[Any] | None) -> dict[str, Array]:
    """Arrays of shape (rows,) by column name, in the outputs' order."""
    found: dict[str, Array] = {}
    for output, array in outputs.items():
        label = _LABELS.get(output, output)
        if array.ndim == 2 and array.dtype != object:
            for i, suffix in enumerate(_suffixes(output, array.shape[1], classes)):
                found[f"{label}_{suffix}"] = array[:, i]
        else:
            found[label] = array if array.ndim == 1 else _nested(array)
    return found


def same_columns(first: Sequence[str], now: Sequence[str]) -> None:
    """`ModelFailed` where a model answers later rows in another shape than the first."""
    if list(first) != list(now):
        raise ModelFailed(f"the model answered the first rows with {len(first)} columns and these with {len(now)}")


def plain(column: Array) -> list[Any]:
    """Python's own values: None for null and NaN."""
    if column.dtype.kind == "f":
        values: list[Any] = column.astype(np.float64).tolist()
        if np.isnan(column).any():
            return [None if value != value else value for value in values]
        return values
    written = plain_array(column)
    return list(written.tolist() if isinstance(written, np.ndarray) else written)


def _suffixes(output: str, width: int, classes: Sequence[Any] | None) -> list[str]:
    if output in _BY_CLASS and classes is not None and len(classes) == width:
        names = [str(c) for c in classes]
        if len(set(names)) == width:
            return names
    return [str(i) for i in range(width)]


def _nested(array: Array) -> Array:
    rows = np.empty(len(array), dtype=object)
    rows[:] = [row.tolist() if isinstance(row, np.ndarray) else row for row in array]
    return rows
