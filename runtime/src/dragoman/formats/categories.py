"""Categorical columns: the type of their values, and the codes that stand for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.signature import FieldType

_TYPES: tuple[tuple[frozenset[type], FieldType], ...] = (
    (frozenset([str]), "string"),
    (frozenset([bool]), "boolean"),
    (frozenset([int]), "integer"),
    (frozenset([int, float]), "number"),
)


def category_type(values: Sequence[Any]) -> FieldType | None:
    """The type that all categories share; None where they are mixed, or none."""
    kinds = {type(v) for v in values}
    return next((name for accepted, name in _TYPES if kinds and kinds <= accepted), None)


def category_codes(categories: Mapping[int, Sequence[Any]]) -> dict[int, dict[Any, float]]:
    """By column, each category's code: its place in the order that training gave."""
    return {column: {value: float(code) for code, value in enumerate(values)} for column, values in categories.items()}
