"""The protocol of everything that predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dragoman.errors import ModelFailed
from dragoman.signature import Signature
from dragoman.table import Array, Table


class Predictor(Protocol):
    """A loaded model, or something around one. Called from one thread at a time."""

    @property
    def signature(self) -> Signature:
        """What the model itself knows of its inputs and outputs; `outputs` lists the methods that can be asked for."""

    @property
    def rows_independent(self) -> bool:
        """Whether each row's answer is the same whatever rows stand beside it: only then are requests batched together."""

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """For each output asked for, the model's own method called on the rows. May raise anything."""


def checked_outputs(given: Mapping[str, Any], outputs: Sequence[str], rows: int) -> dict[str, Array]:
    """What a predictor gave, as arrays of `rows` rows each. `ModelFailed` when the count is wrong."""
    checked: dict[str, Array] = {}
    for name in outputs:
        array = _as_array(given[name])
        if array.ndim == 0 or array.shape[0] != rows:
            count = "a single value" if array.ndim == 0 else f"{array.shape[0]} rows"
            raise ModelFailed(f"the model's {name} answered {rows} rows with {count}")
        checked[name] = array
    return checked


def names_of_columns(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]] | None:
    """Of each output that is a data frame; None where none is."""
    found = {name: tuple(map(str, value.columns)) for name, value in given.items() if hasattr(value, "columns")}
    return found or None


def _as_array(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "to_numpy"):  # pandas, polars
        return np.asarray(value.to_numpy())
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
        return np.asarray(value, dtype=object)
    items = list(value)
    if any(isinstance(item, Mapping | str) for item in items):
        return _object_array(items)
    try:
        return np.asarray(items)
    except ValueError:  # rows of different lengths: kept as lists
        return _object_array(items)


def _object_array(items: list[Any]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
