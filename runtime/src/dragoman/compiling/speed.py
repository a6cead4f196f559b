"""Up to how many rows a compiled model is the faster one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dragoman.compiling.errors import NotCompiled
from dragoman.compiling.rows import Rows
from dragoman.predictors.compiled import CompiledPredictor

_SIZES = (1, 4, 16, 64, 256, 1024, 4096)
_TIMES = 7
_SECONDS = 0.5  # for one size


def faster_up_to(original: Any, compiled: CompiledPredictor, rows: Rows) -> int:
    """The largest number of rows of those tried up to which it was always faster. `NotCompiled` where it is not for a single row."""
    outputs = tuple(output.name for output in compiled.signature.outputs)[:1]
    largest = 0
    for size in _SIZES:
        if size > rows.most:
            break
        table = rows.table(size)
        if seconds(lambda: compiled.answers(compiled.rows(table), outputs)) >= seconds(lambda: original.predict(table, outputs, {})):  # noqa: B023
            break
        largest = size
    if largest == 0:
        raise NotCompiled("it is proven equal, and no faster than the original for a single row")
    return largest


def seconds(work: Callable[[], Any]) -> float:
    """The best of several runs; after one that warms up."""
    work()
    best, begun = float("inf"), time.perf_counter()
    for _ in range(_TIMES):
        started = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - started)
        if now - begun > _SECONDS:
            break
    return best
