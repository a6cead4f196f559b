"""Which application answers a path: a table, and patterns where a part of the path is free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dragoman.asgi import App

Methods = Mapping[str, App]  # what answers each method on one path


class Routes:
    """Paths and what answers them. What is added first stays; HEAD is answered wherever GET is."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, App]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, App]]] = []

    def add(self, method: str, path: str, app: App) -> None:
        """In `path`, `{name}` stands for any one part."""
        known = self._paths.get(path)
        if known is None:
            known = self._paths[path] = {}
            if "{" in path:
                self._patterns.append((_pattern(path), known))
        known.setdefault(method, app)
        if method == "GET":
            known.setdefault("HEAD", app)

    def at(self, path: str) -> Methods:
        """What answers there, by method; nothing where nothing is."""
        return self._paths.get(path) or next(self._matching(path), {})

    def _matching(self, path: str) -> Iterator[Methods]:
        return (methods for pattern, methods in self._patterns if pattern.fullmatch(path))


def _pattern(path: str) -> re.Pattern[str]:
    fixed = re.split(r"\{\w+\}", path)
    return re.compile("[^/]+".join(map(re.escape, fixed)))
