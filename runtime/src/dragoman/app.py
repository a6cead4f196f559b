"""The REST surface: the paths of the enabled dialects, the docs page, the OpenAPI document.

Predict paths are found first, in a table of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dragoman import swagger_ui
from dragoman.asgi import App, Direct, Receive, Scope, Send
from dragoman.dialects import DIALECTS, OPTIONS
from dragoman.dialects.dialect import Predict, Reply, Request, Surface, error_reply
from dragoman.errors import CallError, InvalidSpec, MethodNotAllowed
from dragoman.exchange import AnswerExchange, KeptExchange, PredictExchange, Worker, request_of, send_reply, unexpected
from dragoman.guard import Check, Guards
from dragoman.openapi import openapi_document
from dragoman.registry import Registry
from dragoman.routes import Routes

# Where two enabled dialects own the same method and path, and media type does not tell them apart, the first of these answers.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/:._~-]+")  # there is one way to write it in a request line
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
        self.rebuild()

    def rebuild(self) -> None:
        """With what is known of the models now: what a dialect shows may depend on it."""
        shown, guards = surfaces(self._models), Guards(self._models, self._worker)
        predicts = _predict_table(shown, lambda name, p: guards.predict(self._exchange(name, p), name, shown[name], p))
        self._predicts, self._routes = predicts, _routes(shown, self._models, self._worker, predicts, guards)
        self._refusal = Refusal(shown, self._worker, guards)
        plain = {key: app for key, app in predicts.items() if isinstance(app, PredictExchange) and _PLAIN_PATH.fullmatch(key[1])}
        self._directs = {(method.encode(), path.encode()): app for (method, path), app in plain.items()}

    def direct(self, method: bytes, url: bytes) -> Direct | None:
        """What answers a request with this very URL without a task, where something does."""
        return self._directs.get((method, url))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._predicts.get((scope["method"], scope["path"]))
        if exchange is not None:
            await exchange(scope, receive, send)
            return
        methods = self._routes.at(scope["path"])
        app = methods.get(scope["method"])
        if app is not None:
            await app(scope, receive, send)
        else:
            await self._refusal(scope, send, sorted(methods))

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


def _routes(
    shown: Mapping[str, Surface], models: Registry, worker: Worker, predicts: Mapping[tuple[str, str], App], guards: Guards
) -> Routes:
    routes = Routes()
    for (method, path), exchange in predicts.items():  # so that another method on the path is a 405
        routes.add(method, path, exchange)
    for name, surface in shown.items():
        for kept in surface.kept:
            fetching = KeptExchange(DIALECTS[name], kept, models[kept.model.name], worker)
            routes.add("GET", kept.path, guards.predict(fetching, name, surface, kept))
        for answer in surface.answers:
            answering = AnswerExchange(DIALECTS[name], answer, worker)
            routes.add(answer.method, answer.path, guards.answer(answering, name, surface, answer))
    document = openapi_document(list(models.values()), list(shown.values()), guarded=guards.of_all() is not None)
    for path, page in _pages(document).items():
        routes.add("GET", path, guards.docs(Page(page)))
    return routes


def _pages(document: bytes) -> dict[str, Callable[[Request], Reply]]:
    """The runtime's own."""
    shown = swagger_ui.page("Dragoman", "docs/assets", "openapi.json", try_it_out=True)
    return {
        "/openapi.json": lambda request: Reply(200, document),
        "/docs": lambda request: Reply(200, shown, "text/html; charset=utf-8"),
        "/docs/assets/{name}": swagger_ui.asset,
        "/": lambda request: Reply(307, b"", headers=(("location", "/docs"),)),
    }


class Page:
    """What is no model's and no dialect's."""

    def __init__(self, reply: Callable[[Request], Reply]) -> None:
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        try:
            reply = self._reply(request)
        except CallError as error:
            reply = error_reply(error)
        await send_reply(send, reply, request.request_id)


class Refusal:
    """404 and 405, in the shape of the dialect whose ground the path is on. Where tokens are configured, 401 comes first.

    Else what is here could be told from what is not, without a token; on nobody's ground, too, where routes of certifai and porter are.
    """

    def __init__(self, shown: Mapping[str, Surface], worker: Worker, guards: Guards) -> None:
        self._shown, self._worker, self._of_all = shown, worker, guards.of_all()
        self._checks = {name: guards.of_dialect(name, surface.credentials) for name, surface in shown.items()}

    async def __call__(self, scope: Scope, send: Send, allowed: Sequence[str]) -> None:
        """`allowed`: the methods that there are on the path."""
        request = request_of(scope)
        owner = _owner(self._shown, request.path)
        surface = self._shown[owner] if owner else Surface()
        kept_out = _kept_out(self._checks[owner] if owner else self._of_all, request, self._worker)
        error = kept_out or _error_of(surface, request, allowed)
        show = ((not kept_out and surface.error) or DIALECTS[owner].error) if owner else lambda error, _: error_reply(error)
        try:
            reply = show(error, request)
        except Exception as broken:  # noqa: BLE001  the edge of a request
            reply = error_reply(unexpected(broken, request))
        self._worker.observe("", owner or "", reply.status, request.started, request)
        await send_reply(send, reply, request.request_id)


def _owner(shown: Mapping[str, Surface], path: str) -> str | None:
    """The dialect on whose ground a path is; elsewhere, the only one enabled."""
    grounds = [(prefix, name) for name, surface in shown.items() for prefix in surface.prefixes]
    matching = [(len(prefix), name) for prefix, name in grounds if path == prefix or path.startswith(prefix.rstrip("/") + "/")]
    if matching:
        return max(matching)[1]
    speaking = [name for name, surface in shown.items() if surface.predicts or surface.answers]
    return speaking[0] if len(speaking) == 1 else None


def _error_of(surface: Surface, request: Request, allowed: Sequence[str]) -> CallError:
    if allowed:
        return MethodNotAllowed(f"{request.method} is not allowed on {request.path}", tuple(allowed))
    return surface.not_found(request)


def _kept_out(check: Check | None, request: Request, worker: Worker) -> CallError | None:
    """Why a request without a token is not even told what is not there."""
    try:
        if check is not None:
            check(request)
    except CallError as error:
        worker.note(error, request, entered=False)
        return error
    return None
