"""pandas is imported when a model, or what feeds it, asks for it: not because scikit-learn is.

scikit-learn 1.9 imports pandas in one module, `sklearn.utils.fixes`, under the name `pd`, and goes on without where it is not installed;
everywhere else it imports it where it is used, or looks for it in `sys.modules`. That one import is a fifth of the time, and a third of
the memory, of loading a model that never sees a frame. So it is put off: `pd` there is a stand-in that imports pandas when it is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_ASKS_EARLY = "sklearn.utils.fixes"


@contextmanager
def pandas_later() -> Iterator[None]:
    """Inside, scikit-learn may be imported without pandas. Any other module that imports pandas gets it."""
    finder = _PutOff()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Pandas:
    """Stands for the module; it is imported when it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("pandas"), name)


class _PutOff(MetaPathFinder):
    """Finds that one module as the other finders do, and no pandas for it where there is one."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "pandas" and _importer() == _ASKS_EARLY and PathFinder.find_spec(name) is not None:
            raise ModuleNotFoundError("it is imported when it is used", name=name)
        if name != _ASKS_EARLY:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            run = loader.exec_module

            def run_and_stand_in(module: ModuleType) -> None:
                run(module)
                if getattr(module, "pd", "") is None and PathFinder.find_spec("pandas") is not None:
                    module.pd = _Pandas()  # type: ignore[attr-defined]

            loader.exec_module = run_and_stand_in  # on this one loader, which imports this one module once
        return spec


def _importer() -> str:
    """The module whose import statement is being carried out."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))
