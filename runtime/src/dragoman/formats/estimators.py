"""Looking into estimators: what is nested in them. Classes are told by module and name, so that nothing need be imported for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

_METHODS = ("fit", "predict", "predict_proba", "transform")


def package_of(value: Any) -> str:
    """The top-level package of an object's class."""
    return type(value).__module__.partition(".")[0]


def sklearn_name(value: Any) -> str | None:
    """The name of the nearest class in an object's ancestry that is scikit-learn's own."""
    return next((c.__name__ for c in type(value).__mro__ if c.__module__.partition(".")[0] == "sklearn"), None)


def walk(estimator: Any) -> Iterator[Any]:
    """The estimator and every one that is nested in it, fitted or not, each once."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting.extend(_nested(current))


def is_estimator(value: Any) -> bool:
    """Anything with a method of scikit-learn's estimators; classes are not."""
    return not isinstance(value, type) and any(callable(getattr(type(value), method, None)) for method in _METHODS)


def attributes(part: Any) -> list[tuple[str, Any]]:
    """What an object holds, by name."""
    return list(vars(part).items()) if hasattr(part, "__dict__") else []


def _nested(part: Any) -> Iterator[Any]:
    for _, value in attributes(part):
        yield from _estimators_in(value, depth=2)


def _estimators_in(value: Any, depth: int) -> Iterator[Any]:
    if is_estimator(value):
        yield value
    elif depth and isinstance(value, dict):
        for item in islice(value.values(), 10_000):
            yield from _estimators_in(item, depth - 1)
    elif depth and _is_list(value) and any(is_estimator(item) or _is_list(item) for item in _flat(value, 8)):
        # a list of a million words is no list of estimators: its first items tell
        for item in _flat(value, None):
            yield from _estimators_in(item, depth - 1)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (type(value).__name__ == "ndarray" and value.dtype.kind == "O")


def _flat(value: Any, count: int | None) -> Iterator[Any]:
    return islice(value if isinstance(value, list | tuple) else value.flat, count)
