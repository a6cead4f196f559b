"""Boosters' own ways for a single row, of their C API: what their Python packages do around them costs as much as the trees, or more.

LightGBM (`c_api.h`) has a function for one row, which its package does not offer: 8 us, not 23. XGBoost (`c_api.h`) has none; its package
describes rows and wishes in JSON for each call, which for one row of one place in memory can be done once: 150 us, not 290.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from dragoman.predictors.feed import FLOAT32, FLOAT64, is_plain
from dragoman.table import Array

_NORMAL, _FLOAT64 = 0, 1  # C_API_PREDICT_NORMAL, C_API_DTYPE_FLOAT64
_FIRST = 0  # iteration: by the trees from the first on
Single = Callable[[Array], Array]  # a row, shape (1, features), to what the booster answers


class RowByRow:
    """A booster's answers to rows (rows, features); a single row goes the shorter way, once both were seen to agree in this process.

    Called from one thread at a time. An object for each booster: what it prepares holds the booster's state as it is at the first row.
    """

    def __init__(self, booster: Callable[[Array], Array], single: Callable[[Array], Single | None], dtype: np.dtype[Any], features: int):
        """`single` prepares the shorter way for answers like the one that it is given; None: there is none."""
        self._booster, self._prepare, self._dtype, self._features = booster, single, dtype, features
        self._single: Single | None = None
        self._tried = False

    def __call__(self, rows: Array) -> Array:
        if len(rows) != 1 or not is_plain(rows, self._dtype, self._features):
            return self._booster(rows)
        if self._single is not None:
            return self._single(rows)
        answer = self._booster(rows)
        if not self._tried:
            self._tried = True
            single = self._prepare(answer)
            if single is not None and np.array_equal(single(rows), answer, equal_nan=True):
                self._single = single
        return answer


def of_lightgbm(booster: Any, threads: int) -> RowByRow:
    """`Booster.predict`."""
    features = booster.num_feature()
    return RowByRow(
        lambda rows: booster.predict(rows, num_threads=threads), lambda like: _Lightgbm.of(booster, features, like), FLOAT64, features
    )


def of_xgboost(booster: Any, rounds: tuple[int, int] = (0, 0)) -> RowByRow:
    """`Booster.inplace_predict` by the trees of these rounds; (0, 0) are those of all, or up to the best."""
    features = booster.num_features()
    return RowByRow(
        lambda rows: booster.inplace_predict(rows, iteration_range=rounds, validate_features=False),
        lambda like: _Xgboost.of(booster, rounds, features, like),
        FLOAT32,
        features,
    )


class _Lightgbm:
    def __init__(self, library: Any, handle: ctypes.c_void_p, features: int, shape: tuple[int, ...], booster: Any) -> None:
        self._free, self._last_error, self._handle = library.LGBM_FastConfigFree, library.LGBM_GetLastError, handle
        self._ask = library.LGBM_BoosterPredictForMatSingleRowFast
        self._booster = booster  # which must outlive the handle
        self._row, self._answer = np.empty((1, features)), np.empty(shape)  # whose addresses are asked for once
        self._count = ctypes.c_int64()
        row, answer = ctypes.c_void_p(self._row.ctypes.data), ctypes.c_void_p(self._answer.ctypes.data)
        self._given = (handle, row, ctypes.byref(self._count), answer)

    @classmethod
    def of(cls, booster: Any, features: int, like: Array) -> _Lightgbm | None:
        if like.dtype != np.float64:
            return None
        try:
            from lightgbm.basic import _LIB  # type: ignore[attr-defined]

            begin = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit
        except (ImportError, AttributeError):
            return None
        handle = ctypes.c_void_p()
        best = booster.best_iteration if booster.best_iteration > 0 else -1  # as Booster.predict does
        if begin(booster._handle, _NORMAL, _FIRST, best, _FLOAT64, features, ctypes.c_char_p(b"num_threads=1"), ctypes.byref(handle)):
            return None
        return cls(_LIB, handle, features, like.shape, booster)

    def __call__(self, row: Array) -> Array:
        self._row[:] = row
        if self._ask(*self._given):
            raise RuntimeError(self._last_error().decode("utf-8", "replace"))
        return self._answer.copy()

    def __del__(self) -> None:
        self._free(self._handle)


class _Xgboost:
    def __init__(self, library: Any, booster: Any, rounds: tuple[int, int], features: int, shape: tuple[int, ...]) -> None:
        self._ask, self._last_error, self._booster = library.XGBoosterPredictFromDense, library.XGBGetLastError, booster
        self._row, self._answer = np.empty((1, features), dtype=np.float32), np.empty(shape, dtype=np.float32)
        rows = {"data": [self._row.ctypes.data, False], "typestr": self._row.dtype.str, "shape": [1, features], "version": 3}
        # as inplace_predict says it: what is missing is NaN
        wishes: dict[str, Any] = {
            "type": _NORMAL,
            "training": False,
            "iteration_begin": int(rounds[0]),
            "iteration_end": int(rounds[1]),
            "cache_id": 0,
            "missing": float("nan"),
            "strict_shape": False,
        }
        self._shape, self._dimensions = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        self._found, self._to = ctypes.POINTER(ctypes.c_float)(), ctypes.c_void_p(self._answer.ctypes.data)
        self._given = (
            booster.handle,
            json.dumps(rows).encode(),
            json.dumps(wishes).encode(),
            ctypes.c_void_p(),
            ctypes.byref(self._shape),
            ctypes.byref(self._dimensions),
            ctypes.byref(self._found),
        )

    @classmethod
    def of(cls, booster: Any, rounds: tuple[int, int], features: int, like: Array) -> _Xgboost | None:
        try:
            from xgboost.core import _LIB

            own = cls(_LIB, booster, rounds, features, like.shape)
        except (ImportError, AttributeError):
            return None
        return own if like.dtype == np.float32 else None

    def __call__(self, row: Array) -> Array:
        self._row[:] = row
        if self._ask(*self._given):
            raise RuntimeError(self._last_error().decode("utf-8", "replace"))
        ctypes.memmove(self._to, self._found, self._answer.nbytes)  # before the booster's next answer takes its place
        return self._answer.copy()
