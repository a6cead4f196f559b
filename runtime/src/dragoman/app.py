"""The REST surface: the paths of the enabled dialects, the docs page, the OpenAPI document.

What dialects predict and answer is found in a table; everything else is ordinary Starlette (`routes.py`), imported when first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dragoman.asgi import App, Direct, Receive, Scope, Send
from dragoman.dialects import DIALECTS, OPTIONS
from dragoman.dialects.dialect import Predict, Surface
from dragoman.direct_exchange import DirectExchange
from dragoman.errors import InvalidSpec
from dragoman.exchange import AnswerExchange, PredictExchange, Worker
from dragoman.guard import Guards
from dragoman.registry import Registry

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/:._~-]+")  # there is one way to write it in a request line
# Where two enabled dialects own the same method and path, and media type does not tell them apart, the first of these answers.
PRECEDENCE = ("porter", "mlup", "certifai", "seldon", "datarobot", "v1", "v2", "v2_grpc", "seldon_grpc")


def surfaces(models: Registry) -> dict[str, Surface]:
    """What each enabled dialect shows, by its name, in order of precedence."""
    found: dict[str, Surface] = {}
    for name in sorted(OPTIONS, key=PRECEDENCE.index):
        option = OPTIONS[name]
        enabled = [(m, options) for m in models.values() if (options := m.dialects.get(option)) is not None]
        if enabled:
            found[name] = DIALECTS[name].surface(enabled)
    return found


class Application:
    """The ASGI application. Raises `InvalidSpec` where two models of one dialect own the same path."""

    def __init__(self, models: Registry, worker: Worker) -> None:
        self._models, self._worker = models, worker
        self._exchanges: dict[Any, PredictExchange] = {}  # of all predict paths that there were: what is in flight there goes on
        self._rest: App | None = None
        self.rebuild()

    def rebuild(self) -> None:
        """With what is known of the models now: what a dialect shows may depend on it."""
        shown, guards = surfaces(self._models), Guards(self._models, self._worker)
        predicts = _predict_table(shown, lambda name, p: guards.predict(self._exchange(name, p), name, shown[name], p))
        self._table = dict(predicts)
        for key, app in _answers(shown, guards, self._worker):
            self._table.setdefault(key, app)
        self._shown, self._guards, self._rest = shown, guards, None
        plain = {key: app for key, app in predicts.items() if isinstance(app, PredictExchange) and _PLAIN_PATH.fullmatch(key[1])}
        self._directs = {(method.encode(), path.encode()): DirectExchange(app) for (method, path), app in plain.items()}

    def direct(self, method: bytes, url: bytes) -> Direct | None:
        """What answers a request with this very URL without a task, where something does."""
        return self._directs.get((method, url))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._table.get((scope["method"], scope["path"])) or self._rest or self._make_rest()
        await app(scope, receive, send)

    def _make_rest(self) -> App:
        """When the first of them comes: to import Starlette takes 12 ms, which no start has to wait for."""
        from dragoman.routes import starlette

        self._rest = starlette(self._table, self._shown, self._models, self._worker, self._guards)
        return self._rest

    def _exchange(self, dialect: str, predict: Predict) -> PredictExchange:
        """The one that there was on this path goes on, with what the dialect says now."""
        key = (dialect, predict.method, predict.path, predict.media_types, predict.model.name)
        exchange = self._exchanges.get(key)
        if exchange is None:
            model = self._models[predict.model.name]
            exchange = self._exchanges[key] = PredictExchange(DIALECTS[dialect], predict, model, self._worker)
        else:
            exchange.take(predict)
        return exchange


class _ByMediaType:
    """Several dialects on one method and path, told apart by the request's media type; the first takes what none names."""

    def __init__(self, candidates: list[tuple[frozenset[str], App]]) -> None:
        self._named = {media_type: exchange for media_types, exchange in reversed(candidates) for media_type in media_types}
        self._default = next((exchange for media_types, exchange in candidates if not media_types), candidates[0][1])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        media_type = given.split(b";", 1)[0].strip().lower().decode("latin-1")
        await self._named.get(media_type, self._default)(scope, receive, send)


def _predict_table(shown: Mapping[str, Surface], exchange: Callable[[str, Predict], App]) -> dict[tuple[str, str], App]:
    owners: dict[tuple[str, str], list[tuple[str, Predict]]] = {}
    for name, surface in shown.items():
        for predict in surface.predicts:
            sharing = owners.setdefault((predict.method, predict.path), [])
            for other, taken in sharing:
                if other == name and taken.media_types == predict.media_types:
                    raise InvalidSpec(
                        f"models {taken.model.name!r} and {predict.model.name!r} both answer {predict.method} {predict.path} in {name}: "
                        "give one of them another name or another path"
                    )
            sharing.append((name, predict))
    table: dict[tuple[str, str], App] = {}
    for key, sharing in owners.items():
        exchanges = [(p.media_types, exchange(name, p)) for name, p in sharing]
        table[key] = exchanges[0][1] if len(exchanges) == 1 else _ByMediaType(exchanges)
    return table


def _answers(shown: Mapping[str, Surface], guards: Guards, worker: Worker) -> Iterator[tuple[tuple[str, str], App]]:
    """What dialects answer by themselves; where two own the same method and path, the first has it."""
    for name, surface in shown.items():
        for answer in surface.answers:
            answering = AnswerExchange(DIALECTS[name], answer, worker)
            yield (answer.method, answer.path), guards.answer(answering, name, surface, answer)
