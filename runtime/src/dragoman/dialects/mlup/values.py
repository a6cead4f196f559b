"""Values as pydantic takes them: a number may come as text, and a boolean as a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any


class NotThat(Exception):
    """The value is nothing of the kind."""


def as_int(value: Any, compatibility: str | None) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        return int(value)
    raise NotThat


def as_float(value: Any, compatibility: str | None) -> float:
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise NotThat from None
    raise NotThat


def as_bool(value: Any, compatibility: str | None) -> bool:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else value
    if isinstance(word, str | int | float) and word in _WORDS:
        return _WORDS[word]
    raise NotThat


def as_str(value: Any, compatibility: str | None) -> str:
    """A number becomes text; not so in 0.4."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not compatibility:
        return str(value)
    raise NotThat


def as_list(value: Any, compatibility: str | None) -> list[Any]:
    if isinstance(value, list):
        return value
    raise NotThat


_TRUE, _FALSE = (1, "1", "on", "t", "true", "y", "yes"), (0, "0", "off", "f", "false", "n", "no")
_WORDS: dict[str | float, bool] = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}

READ: Mapping[str, Callable[[Any, str | None], Any]] = {"int": as_int, "float": as_float, "bool": as_bool, "str": as_str, "list": as_list}
