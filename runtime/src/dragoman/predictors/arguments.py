"""Keyword arguments that a request gives to a model's method."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from dragoman.errors import InvalidInput
from dragoman.signature import Parameter


def parameters_of(predictor: Any, name: str) -> tuple[Parameter, ...]:
    """What an output's own method takes, the rows first: the parameter called x or X, else the first one. Empty where it does not say."""
    while hasattr(predictor, "inner"):  # predictors around predictors
        predictor = predictor.inner
    method = getattr(getattr(predictor, "model", None), name, None)
    try:
        found = [p for p in inspect.signature(method).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # type: ignore[arg-type]
    except (TypeError, ValueError):  # there is none, or it is not Python's
        return ()
    rows = next((p for p in found if p.name in ("x", "X")), found[0] if found else None)
    found.sort(key=lambda p: p is not rows)
    return tuple(Parameter(p.name, p.default is p.empty, _type_of(p)) for p in found)


def _type_of(parameter: inspect.Parameter) -> Any:
    """A default of None says nothing; an annotation that is more than a plain type is not looked into."""
    said = parameter.annotation if parameter.annotation is not parameter.empty else type(parameter.default)
    name = said if isinstance(said, str) else getattr(said, "__name__", "")  # a string under `from __future__ import annotations`
    return name if name in ("int", "float", "bool", "str") else None


def called(method: Any, rows: Any, arguments: Mapping[str, Any]) -> Any:
    """The method with its rows: first, or by name where the parameter called x or X is not the first one."""
    name = _rows_by_name(getattr(method, "__func__", None))
    return method(rows, **arguments) if name is None else method(**{name: rows}, **arguments)


@cache
def _rows_by_name(function: Any) -> str | None:
    try:
        names = list(inspect.signature(function).parameters)[1:]  # without self
    except (TypeError, ValueError):
        return None
    return next((name for name in names[1:] if name in ("x", "X")), None)


def refuse_unknown_arguments(name: str, method: Any, arguments: Mapping[str, Any]) -> None:
    """`InvalidInput` where the method has no such arguments; where its parameters cannot be read, the method itself will say."""
    try:
        taken = inspect.signature(method)
    except (TypeError, ValueError):
        return
    try:
        name_of_rows = _rows_by_name(getattr(method, "__func__", None))
        taken.bind(None, **arguments) if name_of_rows is None else taken.bind(**{name_of_rows: None}, **arguments)
    except TypeError as error:
        raise InvalidInput(f"the model's {name} takes no such arguments: {error}") from error


def refuse_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """`InvalidInput` where there are any: what they would change in the answer, this output would not show."""
    if arguments:
        raise InvalidInput(f"the model's {name} takes no arguments, got {sorted(arguments)}")
