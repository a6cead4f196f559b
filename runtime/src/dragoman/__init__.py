"""Dragoman: one model, every prediction API.

What an author of models uses: `Model`, `save`, and the types of a signature. They are imported when they are asked for, so that
`import dragoman` brings neither numpy nor a model library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dragoman.authoring import Model, save
    from dragoman.signature import Field, Output, Signature
    from dragoman.table import Table

__version__ = "0.1.0"
__all__ = ["Field", "Model", "Output", "Signature", "Table", "__version__", "save"]

_HOMES = {
    "Model": "dragoman.authoring",
    "save": "dragoman.authoring",
    "Field": "dragoman.signature",
    "Output": "dragoman.signature",
    "Signature": "dragoman.signature",
    "Table": "dragoman.table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dragoman' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
