"""What rows are compared with: a sample of the training data that was saved with the model, or the signature's example row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dragoman.check import Checker
from dragoman.errors import InvalidInput, ModelFailed
from dragoman.predictors.explaining import unbounded
from dragoman.signature import Field, Signature, example_of
from dragoman.table import Table


@dataclass(frozen=True)
class Background:
    """`sample` has rows as model.json keeps them: JSON values in the order of the inputs, null where missing."""

    sample: tuple[tuple[Any, ...], ...]
    signature: Signature

    @cached_property
    def table(self) -> Table:
        """The sample as the model takes rows; without those that miss a value which it needs. `ModelFailed` where it does not fit."""
        needed = [i for i, field in enumerate(self.signature.inputs) if not field.nullable]
        whole = [list(row) for row in self.sample if not any(row[i] is None for i in needed if i < len(row))]
        return self._checked(whole)

    @cached_property
    def reference(self) -> Table:
        """One row: of each input the median, or the most frequent value where it is no number; the example row where there is no sample."""
        if not self.sample:
            return self._checked([[example_of(field) for field in self.signature.inputs]])
        columns = list(zip(*self.sample, strict=True))
        if len(columns) != len(self.signature.inputs):
            raise ModelFailed(f"the background sample has {len(columns)} columns, the model takes {len(self.signature.inputs)}")
        return self._checked([[_typical(field, values) for field, values in zip(self.signature.inputs, columns, strict=True)]])

    def _checked(self, rows: Sequence[Any]) -> Table:
        try:
            return Checker(unbounded(self.signature))(Table.of_rows(rows))
        except InvalidInput as error:
            raise ModelFailed(f"the background sample does not fit the model's inputs: {error.message}") from error


def _typical(field: Field, values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    if not present:
        return None if field.nullable else example_of(field)
    if field.type in ("number", "integer") and not field.enum:
        return _median(sorted(present), field.type == "integer")
    counts = Counter(present)
    return max(counts, key=lambda value: (counts[value], str(value)))  # of two as frequent always the same


def _median(values: Sequence[Any], whole: bool) -> Any:
    """The lower of two in the middle where it must be a value that there is."""
    middle = (len(values) - 1) // 2
    return values[middle] if whole or len(values) % 2 else (values[middle] + values[middle + 1]) / 2
