"""LightGBM's own way for a single row, of its C API (`LightGBM/c_api.h`), which its Python package does not offer: 8 us, not 23."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from dragoman.predictors.feed import FLOAT64, is_plain
from dragoman.table import Array

_NORMAL, _FLOAT64 = 0, 1  # C_API_PREDICT_NORMAL, C_API_DTYPE_FLOAT64


class RowByRow:
    """`Booster.predict` of an array (rows, features); a single row goes the shorter way, once both were seen to agree in this process.

    Called from one thread at a time. An object for each booster: what it prepares holds the booster's state as it is at the first row.
    """

    def __init__(self, booster: Any, threads: int) -> None:
        self._booster, self._threads = booster, threads
        self._features = booster.num_feature()
        self._single: _Single | None = None
        self._tried = False

    def __call__(self, rows: Array) -> Array:
        if len(rows) != 1 or not is_plain(rows, FLOAT64, self._features):
            return self._by_booster(rows)
        if self._single is not None:
            return self._single(rows)
        answer = self._by_booster(rows)
        if not self._tried:
            self._tried = True
            single = _Single.of(self._booster, self._features, answer)
            if single is not None and np.array_equal(single(rows), answer, equal_nan=True):
                self._single = single
        return answer

    def _by_booster(self, rows: Array) -> Array:
        answer: Array = self._booster.predict(rows, num_threads=self._threads)
        return answer


class _Single:
    def __init__(self, library: Any, handle: ctypes.c_void_p, features: int, shape: tuple[int, ...], booster: Any) -> None:
        self._free, self._last_error, self._handle = library.LGBM_FastConfigFree, library.LGBM_GetLastError, handle
        self._ask = library.LGBM_BoosterPredictForMatSingleRowFast
        self._booster = booster  # which must outlive the handle
        self._row, self._answer = np.empty((1, features)), np.empty(shape)  # whose addresses are asked for once
        self._count = ctypes.c_int64()
        self._given = (
            handle,
            ctypes.c_void_p(self._row.ctypes.data),
            ctypes.byref(self._count),
            ctypes.c_void_p(self._answer.ctypes.data),
        )

    @classmethod
    def of(cls, booster: Any, features: int, like: Array) -> _Single | None:
        """Answers of the shape of `like`; None where this LightGBM has no such way."""
        if like.dtype != np.float64:
            return None
        try:
            from lightgbm.basic import _LIB  # type: ignore[attr-defined]

            begin = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit
        except (ImportError, AttributeError):
            return None
        handle = ctypes.c_void_p()
        best = booster.best_iteration if booster.best_iteration > 0 else -1  # as Booster.predict does
        if begin(booster._handle, _NORMAL, 0, best, _FLOAT64, features, ctypes.c_char_p(b"num_threads=1"), ctypes.byref(handle)):
            return None
        return cls(_LIB, handle, features, like.shape, booster)

    def __call__(self, row: Array) -> Array:
        self._row[:] = row
        if self._ask(*self._given):
            raise RuntimeError(self._last_error().decode("utf-8", "replace"))
        return self._answer.copy()

    def __del__(self) -> None:
        self._free(self._handle)
