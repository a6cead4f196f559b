"""The libraries that formats need: imported when a model needs them, and named with their extra when they are missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from dragoman.errors import MissingLibrary, ModelLoadFailed, ServeError

# the extra that brings a top-level package, and the name it is installed by
_EXTRAS = {
    "sklearn": ("sklearn", "scikit-learn"),
    "joblib": ("sklearn", "joblib"),
    "skops": ("sklearn", "skops"),
    "pandas": ("sklearn", "pandas"),
    "scipy": ("sklearn", "scipy"),
    "xgboost": ("xgboost", "xgboost"),
    "lightgbm": ("lightgbm", "lightgbm"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "treelite": ("compile", "treelite"),
    "skl2onnx": ("compile", "skl2onnx"),
    "onnx": ("compile", "onnx"),
    "pyarrow": ("parquet", "pyarrow"),
    "flask": ("porter", "flask"),
}


def require(package: str, what: str) -> Any:
    """The imported package. `MissingLibrary` names what needs it and the extra that brings it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise missing(error, what) from error
    except (ImportError, OSError) as error:  # there, but a shared library that it needs is not
        raise MissingLibrary(f"{what} needs {display_name(package)}, which cannot be imported: {' '.join(str(error).split())}") from error


def missing(error: ModuleNotFoundError, what: str) -> ServeError:
    """The error that says which package `what` needs, and how to install it; or that an installed one lacks the module it names."""
    name = error.name or ""
    package = name.partition(".")[0]
    if not package:
        return MissingLibrary(f"{what} needs a package that is not installed: {error}")
    if package in sys.modules and package != name:
        versions = versions_of([package])
        here = " ".join(*versions.items()) if versions else package
        return ModelLoadFailed(f"{what} names {name}, which {here} does not have: it was saved with another version")
    extra, installed_as = _EXTRAS.get(package, (None, package))
    if extra is not None:
        return MissingLibrary(f"{what} needs {installed_as}, which is not installed: pip install 'dragoman[{extra}]'")
    return MissingLibrary(f"{what} needs the Python package {package!r}, which is not installed here: install it beside dragoman")


def display_name(package: str) -> str:
    """A top-level package by the name that people install: "sklearn" is "scikit-learn"."""
    return _EXTRAS.get(package, (None, package))[1]


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those top-level packages that are imported and say one, by the name that people install."""
    found = {}
    for package in sorted(set(packages)):
        version = getattr(sys.modules.get(package), "__version__", None)
        if isinstance(version, str):
            found[display_name(package)] = version
    return found
