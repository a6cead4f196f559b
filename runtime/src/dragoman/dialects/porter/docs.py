"""The docs of an application: a page, its assets, and the OpenAPI document; and what stands at the root."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator

from dragoman import json, swagger_ui
from dragoman.dialects.dialect import Answer, Reply, Request
from dragoman.dialects.porter.replies import HTML
from dragoman.errors import NotFound
from dragoman.porter.constants import LIVENESS_ENDPOINT, READINESS_ENDPOINT
from dragoman.porter.description import App
from dragoman.porter.schemas.common import health_check
from dragoman.porter.schemas.openapi import ResponseSchema, document, path_item
from dragoman.porter.schemas.vocabulary import Definition

_ASSETS = "/assets/swagger-ui"
_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "favicon-16x16.png")


def answers(app: Callable[[], App]) -> Iterator[Answer]:
    """The root: to the docs where they are exposed, else a hint. And the docs, where they are."""
    shown = app()
    yield Answer("/", lambda request: _root(app()), browsed=True)
    if not shown.expose_docs:
        return
    shown_as = swagger_ui.page(shown.name or "porter", shown.docs_prefix + _ASSETS, shown.docs_json_url, try_it_out=False)
    page = Reply(200, shown_as, HTML)
    yield Answer(shown.docs_url, lambda request: page, browsed=True)
    yield Answer(shown.docs_json_url, lambda request: Reply(200, json.encode(openapi(app()))), browsed=True)
    for name in _FILES:
        yield Answer(f"{shown.docs_prefix}{_ASSETS}/{name}", _asset, browsed=True)


def openapi(app: App) -> Definition:
    """The services and the health checks, as OpenAPI 3.0."""
    paths: dict[str, Definition] = {service.endpoint: service.operations for service in app.services}
    schemas: dict[str, Definition] = {name: one for service in app.services for name, one in service.definitions.items()}
    for path, statuses in ((LIVENESS_ENDPOINT, (200,)), (READINESS_ENDPOINT, (200, 503))):
        paths[path], found = path_item({}, {"GET": [ResponseSchema(health_check, status) for status in statuses]}, ["Health Check"])
        schemas |= found
    return document(app.name or "porter", app.html, app.version or "", paths, schemas)


def _root(app: App) -> Reply:
    if app.expose_docs:
        return Reply(302, b"", HTML, (("location", app.docs_url),))
    return Reply(200, b"Send POST requests to a service's endpoint: /-/alive lists them.", "text/plain; charset=utf-8")


def _asset(request: Request) -> Reply:
    name = request.path.rpartition("/")[2]
    path = swagger_ui.folder() / name
    if name not in _FILES or not path.is_file():
        raise NotFound(f"there is no {request.path}")
    return Reply(200, path.read_bytes(), mimetypes.guess_type(name)[0] or "application/octet-stream", (("cache-control", "max-age=3600"),))
