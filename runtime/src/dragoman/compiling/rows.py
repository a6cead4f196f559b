"""Rows to prove a compiled model with: they cover the signature's ranges, the edges between them, missing values and every category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dragoman.check import Checker
from dragoman.formats.estimators import walk
from dragoman.signature import Field, Signature
from dragoman.table import Array, Table

BATCH = 512
_CELLS = 20_000_000  # of all rows together
_MOST, _FEWEST = 8192, 64
_MISSING_SHARE = 0.08
_MAGNITUDES = 10.0 ** np.arange(-6, 7)


class Rows:
    """Rows for one model; the same each time. `thresholds`: by feature, what it is compared with."""

    def __init__(self, original: Any, thresholds: Sequence[Array] = ()) -> None:
        self.signature: Signature = original.signature
        self._check = Checker(self.signature)
        self._model = original.model
        self._thresholds = thresholds

    @property
    def any_missing_number(self) -> bool:
        return any(f.nullable or not f.required for f in self.signature.inputs if f.type not in ("string",))

    @property
    def most(self) -> int:
        return max(_FEWEST, min(_MOST, _CELLS // len(self.signature.inputs)))

    def tables(self, count: int) -> Iterator[Table]:
        """Batches of at most `BATCH` rows, `count` in all, as a request's rows are after they were checked."""
        rng = np.random.default_rng(0)
        known = self._known()
        for start in range(0, count, BATCH):
            yield self._table(rng, min(BATCH, count - start), known)

    def table(self, rows: int) -> Table:
        return self._table(np.random.default_rng(1), rows, self._known())

    def _table(self, rng: np.random.Generator, rows: int, known: Sequence[Array]) -> Table:
        columns = {f.name: self._column(rng, f, rows, known[i]) for i, f in enumerate(self.signature.inputs)}
        return self._check(Table.of_columns(columns))

    def _column(self, rng: np.random.Generator, field: Field, rows: int, known: Array) -> Array:
        if field.enum or field.type in ("string", "boolean"):
            values = list(field.enum or ((True, False) if field.type == "boolean" else ()))
            if field.type == "string" and not field.enum:
                values = [*_categories(self._model, field), "some words", ""]
            column = np.empty(rows, dtype=object)
            column[:] = [values[i] for i in rng.integers(0, len(values), rows)]
        else:
            column = _numbers(rng, field, rows, known)
        if field.nullable or not field.required:
            missing = rng.random(rows) < _MISSING_SHARE
            column = column.astype(object) if column.dtype == object else column
            column[missing] = None if column.dtype == object else np.nan
        return column

    def _known(self) -> list[Array]:
        """For each feature the values that the model itself tells of: what trees compare it with, and where scaling centres it."""
        fields = self.signature.inputs
        known = list(self._thresholds) or [np.empty(0) for _ in fields]
        for part in walk(self._model):
            center = getattr(part, "mean_", getattr(part, "center_", getattr(part, "data_min_", None)))
            scale = getattr(part, "scale_", None)
            if isinstance(center, np.ndarray) and isinstance(scale, np.ndarray) and center.shape == scale.shape == (len(fields),):
                known = [np.concatenate([k, c + s * np.linspace(-4, 4, 17)]) for k, c, s in zip(known, center, scale, strict=True)]
        return known


def _numbers(rng: np.random.Generator, field: Field, rows: int, known: Array) -> Array:
    """A third spread over the range, a third around what the model compares with (on it, and next to it on both sides), a third edges."""
    low = field.minimum if field.minimum is not None else (known.min() if len(known) else None)
    high = field.maximum if field.maximum is not None else (known.max() if len(known) else None)
    if low is None or high is None or not low < high:
        low, high = (low, low + 10.0) if low is not None else (high - 10.0, high) if high is not None else (-10.0, 10.0)
    width = high - low
    spread = rng.uniform(low - 0.1 * width, high + 0.1 * width, rows)
    around = spread
    if len(known):
        around = rng.choice(known, rows)
        around = np.where(rng.random(rows) < 0.5, around.astype(np.float32).astype(np.float64), around)
        step = rng.integers(-1, 2, rows)
        around = np.where(step == 0, around, np.nextafter(around, np.where(step > 0, np.inf, -np.inf)))
    center = 0.0 if low <= 0 <= high else low
    edges = center + rng.choice([-1.0, 0.0, 1.0], rows) * rng.choice(_MAGNITUDES[max(1.0, 10 * abs(width)) >= _MAGNITUDES], rows)
    kind = rng.integers(0, 3, rows)
    values = np.choose(kind, [spread, around, edges])
    if field.type == "integer":
        values = np.round(values)
    lowest = -np.inf if field.minimum is None else field.minimum
    highest = np.inf if field.maximum is None else field.maximum
    clipped: Array = np.clip(values, lowest, highest)
    return clipped


def _categories(model: Any, field: Field) -> list[str]:
    """Every string that the model's encoders know, whatever their column: those of another one are unknown to this."""
    known: dict[str, None] = {}
    for part in walk(model):
        for values in getattr(part, "categories_", ()):
            if hasattr(values, "__iter__"):
                known.update(dict.fromkeys(v for v in values if isinstance(v, str)))
    return list(known)[:2000]
