"""Predictors of native boosters: xgboost's and lightgbm's own Booster, without scikit-learn's wrappers around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from dragoman.check import shown
from dragoman.errors import InvalidInput
from dragoman.signature import Signature
from dragoman.table import Array, Table


class Matrix(msgspec.Struct, frozen=True):
    """Rows as one float matrix: categories as their codes, missing values as NaN."""

    dtype: str = "float64"
    codes: Mapping[int, Mapping[Any, float]] = field(default_factory=dict)  # by column: the code of each category
    unknown_is_missing: bool = False  # a category that training did not have; False: it is refused

    def __call__(self, table: Table) -> Array:
        """Shape (rows, features). `InvalidInput` names the row of a value that is no number and no category."""
        if table.array is not None and not self.codes and table.array.dtype != object:
            return np.ascontiguousarray(table.array, dtype=self.dtype)
        matrix = np.empty((table.rows, table.width), dtype=self.dtype)
        for i in range(table.width):
            column, codes = table.column(i), self.codes.get(i)
            matrix[:, i] = _numbers(column, _name(table, i)) if codes is None else self._coded(column, codes, _name(table, i))
        return matrix

    def _coded(self, column: Array, codes: Mapping[Any, float], name: str) -> list[float]:
        coded = []
        for row, value in enumerate(column.tolist()):
            code = np.nan if value is None or value != value else codes.get(value)
            if code is None and not self.unknown_is_missing:
                raise InvalidInput(
                    f"row {row}: {name} has {shown(value)}, which is not one of the categories that the model was trained with"
                )
            coded.append(np.nan if code is None else code)
        return coded


@dataclass(frozen=True)
class BoosterPredictor:
    """Its one output is what the booster's objective gives: a probability for `binary:logistic`, not a label."""

    model: Any
    signature: Signature
    matrix: Matrix
    run: Callable[[Any, Array, Mapping[str, Any]], Any]  # (booster, matrix, arguments) → (rows,) or (rows, values)
    rows_independent: bool = True

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Whatever the outputs asked for, there is only predict."""
        matrix = self.matrix(table)
        return {name: self.run(self.model, matrix, arguments) for name in outputs}


def _name(table: Table, index: int) -> str:
    return repr(table.names[index]) if table.names is not None else f"column {index}"


def _numbers(column: Array, name: str) -> Array:
    if column.dtype != object:
        return column
    try:
        return np.array([np.nan if value is None else value for value in column.tolist()], dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be numbers") from None
