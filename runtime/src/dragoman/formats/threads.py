"""Loading without starting threads: GNU OpenMP's do not survive a fork, and workers are forked after loading.

LightGBM and XGBoost start theirs when a model is loaded, also when it is inside a joblib. A limit of one holds only in libraries that are
already there, and unpickling imports them on its way: so it is renewed whenever one of them comes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_WITH_OPENMP = frozenset(["lightgbm", "xgboost"])


@contextmanager
def without_threads() -> Iterator[None]:
    """Inside, OpenMP computes in the calling thread alone; afterwards as it did before."""
    with ExitStack() as limits:
        _limit(limits)
        watcher = _Watcher(limits)
        sys.meta_path.insert(0, watcher)
        try:
            yield
        finally:
            sys.meta_path.remove(watcher)


def _limit(limits: ExitStack) -> None:
    if _may_have_openmp():
        from threadpoolctl import threadpool_limits

        limits.enter_context(threadpool_limits(1, "openmp"))


def _may_have_openmp() -> bool:
    """Whether there is anything to limit in this process: threadpoolctl would find out as well, in 7 ms of a start."""
    try:
        return b"omp" in Path("/proc/self/maps").read_bytes()  # libgomp, libomp, libiomp5, or something that only sounds like them
    except OSError:  # not Linux
        return True


class _Watcher(MetaPathFinder):
    """Finds those libraries as the other finders do, and limits them once they are imported."""

    def __init__(self, limits: ExitStack) -> None:
        self._limits = limits

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _WITH_OPENMP:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target)) is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            run = loader.exec_module

            def run_and_limit(module: ModuleType) -> None:
                run(module)
                _limit(self._limits)

            loader.exec_module = run_and_limit  # on this one loader, which imports this one module once
        return spec
