"""Keyword arguments that a request gives to a model's method."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from dragoman.errors import InvalidInput


def refuse_unknown_arguments(name: str, method: Any, arguments: Mapping[str, Any]) -> None:
    """`InvalidInput` where the method has no such arguments; where its parameters cannot be read, the method itself will say."""
    try:
        taken = inspect.signature(method)
    except (TypeError, ValueError):
        return
    try:
        taken.bind(None, **arguments)
    except TypeError as error:
        raise InvalidInput(f"the model's {name} takes no such arguments: {error}") from error
