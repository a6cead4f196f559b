"""What a dialect decodes a request into, and what it encodes a reply from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dragoman.table import Array, Table

PREDICT = "predict"
PREDICT_PROBA = "predict_proba"
EXPLAIN = "explain"
RECOMMEND = "recommend"


class Call(msgspec.Struct, eq=False):
    """One request to one model.

    `outputs` are the model's own methods that the reply needs (`predict`, `predict_proba`, `explain`, …), in the order wanted.
    `arguments` go to those methods as keywords; calls with different arguments are never batched together.
    `context` is the dialect's own: what it needs again to encode the reply. The core never looks inside.
    """

    table: Table
    outputs: tuple[str, ...] = (PREDICT,)
    arguments: Mapping[str, Any] = msgspec.field(default_factory=dict)
    context: Any = None
    checked: bool = True  # False: the dialect brings its own rules, and the signature does not check its rows
    mixes: bool = True  # False: never batched with another call, whatever the model allows


class Prediction(msgspec.Struct, frozen=True, eq=False):
    """The model's answer to one Call: for each output an array whose first dimension is the call's rows.

    Numeric and boolean outputs keep the model's dtype; strings and structured values are object arrays.
    """

    outputs: Mapping[str, Array]
    rows: int
    columns: Mapping[str, tuple[str, ...]] | None = None  # the names of an output's columns, where the model answered with a data frame

    def slice(self, start: int, stop: int, outputs: Iterable[str] | None = None) -> Prediction:
        """The rows from `start` up to, not including, `stop`; of these outputs alone, where any are named."""
        names = self.outputs if outputs is None else outputs
        return Prediction({name: self.outputs[name][start:stop] for name in names}, stop - start, self.columns)
