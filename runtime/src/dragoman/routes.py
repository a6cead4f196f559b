"""What is asked seldom, as ordinary Starlette: the docs page, the OpenAPI document, kept replies, HEAD, 404 and 405."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dragoman import swagger_ui
from dragoman.asgi import App, Receive, Scope, Send
from dragoman.dialects import DIALECTS
from dragoman.dialects.dialect import Reply, Request, Surface
from dragoman.errors import CallError, MethodNotAllowed
from dragoman.exchange import KeptExchange, Worker, request_of, unexpected
from dragoman.guard import Check, Guards
from dragoman.openapi import openapi_document
from dragoman.registry import Registry


def starlette(table: Mapping[tuple[str, str], App], shown: Mapping[str, Surface], models: Registry, worker: Worker, guards: Guards) -> App:
    """All paths: those of the table, too, whose other methods are a 405, or a HEAD."""
    app = Starlette(
        routes=list(_routes(table, shown, models, worker, guards)), exception_handlers={HTTPException: _refusal(shown, worker, guards)}
    )
    app.router.redirect_slashes = False  # what is not there is a 404, and no URL is made from a client's Host header
    return app


def _routes(
    table: Mapping[tuple[str, str], App], shown: Mapping[str, Surface], models: Registry, worker: Worker, guards: Guards
) -> Iterable[BaseRoute]:
    for (method, path), app in table.items():
        yield Route(path, endpoint=_Endpoint(app), methods=[method])
    for name, surface in shown.items():
        for kept in surface.kept:
            fetching = KeptExchange(DIALECTS[name], kept, models[kept.model.name], worker)
            yield Route(kept.path, endpoint=_Endpoint(guards.predict(fetching, name, surface, kept)), methods=["GET"])
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
    return Reply(error.status, orjson.dumps({"error": error.message}), headers=error.headers)
