"""Up to how many rows a compiled model is the faster one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dragoman.compiling.errors import NotCompiled
from dragoman.compiling.rows import Rows
from dragoman.predictors.compiled import CompiledPredictor

_SIZES = (1, 4, 16, 64, 256, 1024, 4096)
_TIMES = 7
_SECONDS = 0.5  # for one size


@dataclass(frozen=True)
class Speed:
    faster_up_to_rows: int  # the largest number of those tried up to which the compiled one was always faster
    original_seconds: float  # of one row
    compiled_seconds: float


def compare(original: Any, compiled: CompiledPredictor, rows: Rows) -> Speed:
    """`NotCompiled` where it is not faster for a single row."""
    outputs = tuple(output.name for output in compiled.signature.outputs)[:1]
    measured: list[tuple[int, float, float]] = []
    for size in _SIZES:
        if size > rows.most:
            break
        table = rows.table(size)
        after = seconds(lambda: compiled.answers(compiled.rows(table), outputs))  # noqa: B023
        before = seconds(lambda: original.predict(table, outputs, {}))  # noqa: B023
        if after >= before:
            break
        measured.append((size, before, after))
    if not measured:
        raise NotCompiled("it is proven equal, and no faster than the original for a single row")
    return Speed(measured[-1][0], *measured[0][1:])


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
