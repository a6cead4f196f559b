"""treelite's interpreter of trees by its C API (`treelite/c_api.h`), with what does not change from call to call prepared once.

`treelite.gtil.predict` parses its options, and asks the model for its types and shapes, in each call: of 26 µs for a row of a hundred
trees that is 16.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import treelite
from treelite.core import _LIB, _check_call
from treelite.gtil.gtil import GTILConfig

from dragoman.table import Array


class Interpreter:
    """Calls it with rows, C-contiguous and of `dtype`, shape (rows, features); gives their scores, shape (rows, scores a row)."""

    def __init__(self, model: Any, *, threads: int, margin: bool) -> None:
        self.dtype = np.dtype(model.input_type)
        self._model = model  # which the handle belongs to
        self._handle, self._type = model.handle, model.input_type.encode()
        self._features = model.num_feature
        self._config = GTILConfig(nthread=threads, predict_type="raw" if margin else "default")
        one = treelite.gtil.predict(model, np.zeros((1, self._features), dtype=self.dtype), nthread=1, pred_margin=margin)
        self._width, self._out = one.size, one.dtype

    def __call__(self, rows: Array) -> Array:
        count, features = rows.shape
        if features != self._features:  # trees that never ask for the last ones
            rows = np.ascontiguousarray(rows[:, : self._features])
        scores = np.zeros((count, self._width), dtype=self._out)
        _check_call(
            _LIB.TreeliteGTILPredict(
                self._handle,
                ctypes.c_void_p(rows.ctypes.data),
                self._type,
                ctypes.c_uint64(count),
                ctypes.c_void_p(scores.ctypes.data),
                self._config.handle,
            )
        )
        return scores
