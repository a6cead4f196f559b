"""The predictor of an author's own object: anything with a predict method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.predictors.arguments import called, refuse_unknown_arguments
from dragoman.predictors.feed import Feed
from dragoman.signature import Signature
from dragoman.table import Table


@dataclass(frozen=True)
class AuthoredPredictor:
    """Calls each output's own method with the rows; what it raises is the author's."""

    model: Any
    signature: Signature
    rows_independent: bool
    feed: Feed

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`InvalidInput` for arguments that a method does not take."""
        rows = self.feed(table)
        with np.errstate(all="ignore"):
            return {name: self._call(name, rows, arguments) for name in outputs}

    def _call(self, name: str, rows: Any, arguments: Mapping[str, Any]) -> Any:
        method = getattr(self.model, name)
        if arguments:
            refuse_unknown_arguments(name, method, arguments)
        return called(method, rows, arguments)
