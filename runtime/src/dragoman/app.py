"""The REST surface: the paths of the enabled dialects, the docs page, the OpenAPI document.

Predict paths are dispatched from a table before Starlette's router; everything else is ordinary Starlette.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dragoman import swagger_ui
from dragoman.asgi import App, Direct, Receive, Scope, Send
from dragoman.dialects import DIALECTS, OPTIONS
from dragoman.dialects.dialect import Predict, Reply, Request, Surface
from dragoman.direct_exchange import DirectExchange
from dragoman.errors import CallError, InvalidSpec, MethodNotAllowed
from dragoman.exchange import AnswerExchange, KeptExchange, PredictExchange, Worker, request_of, unexpected
from dragoman.guard import Check, Guards
from dragoman.openapi import openapi_document
from dragoman.registry import Registry

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
        routes = list(_routes(shown, self._models, self._worker, predicts, guards))
        starlette = Starlette(routes=routes, exception_handlers={HTTPException: _refusal(shown, self._worker, guards)})
        starlette.router.redirect_slashes = False  # what is not there is a 404, and no URL is made from a client's Host header
        self._predicts, self._starlette = predicts, starlette
        plain = {key: app for key, app in predicts.items() if isinstance(app, PredictExchange) and _PLAIN_PATH.fullmatch(key[1])}
        self._directs = {(method.encode(), path.encode()): DirectExchange(app) for (method, path), app in plain.items()}

    def direct(self, method: bytes, url: bytes) -> Direct | None:
        """What answers a request with this very URL without a task, where something does."""
        return self._directs.get((method, url))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = self._predicts.get((scope["method"], scope["path"]))
            if exchange is not None:
                await exchange(scope, receive, send)
                return
        await self._starlette(scope, receive, send)

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
) -> Iterable[BaseRoute]:
    for (method, path), exchange in predicts.items():  # so that another method on the path is a 405
        yield Route(path, endpoint=_Endpoint(exchange), methods=[method])
    for name, surface in shown.items():
        for kept in surface.kept:
            fetching = KeptExchange(DIALECTS[name], kept, models[kept.model.name], worker)
            yield Route(kept.path, endpoint=_Endpoint(guards.predict(fetching, name, surface, kept)), methods=["GET"])
        for answer in surface.answers:
            answering = AnswerExchange(DIALECTS[name], answer, worker)
            yield Route(answer.path, endpoint=_Endpoint(guards.answer(answering, name, surface, answer)), methods=[answer.method])
    yield from _own_routes(shown, models, guards)


class _Endpoint:
    """An ASGI application as Starlette wants it for a route: an object, not a function."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _own_routes(shown: Mapping[str, Surface], models: Registry, guards: Guards) -> Iterable[BaseRoute]:
    document = openapi_document(list(models.values()), list(shown.values()), guarded=guards.of_all() is not None)
    pages: dict[str, App] = {
        "/openapi.json": Response(document, media_type="application/json"),
        "/docs": HTMLResponse(swagger_ui.page("Dragoman", "docs/assets", "openapi.json", try_it_out=True)),
        "/": RedirectResponse("/docs"),
    }
    for path, page in pages.items():
        yield Route(path, endpoint=_Endpoint(guards.docs(page)), methods=["GET"])
    yield Mount("/docs/assets", guards.docs(StaticFiles(directory=swagger_ui.folder())))


def _refusal(shown: Mapping[str, Surface], worker: Worker, guards: Guards) -> Any:
    """404 and 405, in the shape of the dialect whose ground the path is on. Where tokens are configured, 401 comes first.

    Else what is here could be told from what is not, without a token; on nobody's ground, too, where routes of certifai and porter are.
    """
    checks = {name: guards.of_dialect(name, surface.credentials) for name, surface in shown.items()}

    async def refuse(request: StarletteRequest, refused: Exception) -> Response:
        assert isinstance(refused, HTTPException)
        started = time.monotonic()
        seen = request_of(request.scope)
        owner = _owner(shown, seen.path)
        kept_out = _kept_out(checks[owner] if owner else guards.of_all(), seen, worker)
        error = kept_out or _error_of(refused, list(shown.values()), shown[owner] if owner else None, seen)
        try:
            show = ((not kept_out and shown[owner].error) or DIALECTS[owner].error) if owner else None
            reply = show(error, seen) if show else _plain(error)
        except Exception as broken:  # noqa: BLE001  the edge of a request
            reply = _plain(unexpected(broken, seen))
        worker.observe("", owner or "", reply.status, started, seen)
        headers = dict(reply.headers) | {"x-request-id": seen.request_id}
        return Response(reply.body, reply.status, headers, reply.media_type)

    return refuse


def _owner(shown: Mapping[str, Surface], path: str) -> str | None:
    """The dialect on whose ground a path is; elsewhere, the only one enabled."""
    grounds = [(prefix, name) for name, surface in shown.items() for prefix in surface.prefixes]
    matching = [(len(prefix), name) for prefix, name in grounds if path == prefix or path.startswith(prefix.rstrip("/") + "/")]
    if matching:
        return max(matching)[1]
    speaking = [name for name, surface in shown.items() if surface.predicts or surface.answers]
    return speaking[0] if len(speaking) == 1 else None


def _error_of(refused: HTTPException, shown: Sequence[Surface], own: Surface | None, request: Request) -> CallError:
    if refused.status_code == 405:
        routed = {part.strip() for part in (refused.headers or {}).get("Allow", "").split(",")}  # of the first route on the path
        predicts = {p.method for surface in shown for p in surface.predicts if p.path == request.path}
        answers = {a.method for surface in shown for a in surface.answers if a.path == request.path}
        return MethodNotAllowed(f"{request.method} is not allowed on {request.path}", tuple(sorted(routed | predicts | answers)))
    return (own or Surface()).not_found(request)


def _kept_out(check: Check | None, request: Request, worker: Worker) -> CallError | None:
    """Why a request without a token is not even told what is not there."""
    try:
        if check is not None:
            check(request)
    except CallError as error:
        worker.note(error, request, entered=False)
        return error
    return None


def _plain(error: CallError) -> Reply:
    import orjson

    return Reply(error.status, orjson.dumps({"error": error.message}), headers=error.headers)
