"""What an application says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dragoman.dialects.dialect import Answer, Reply, Request
from dragoman.dialects.porter import reading, replies
from dragoman.porter import __version__
from dragoman.porter.constants import HEALTH_CHECK_VALUES, LIVENESS_ENDPOINT, READINESS_ENDPOINT
from dragoman.porter.description import App, Service


def answers(app: Callable[[], App]) -> Sequence[Answer]:
    """`/-/alive` is always 200; `/-/ready` is 503 without a service, and while one is not ready."""

    def alive(request: Request) -> Reply:
        found = app()
        return replies.written(request, _body(found, request), found.switches)

    def ready(request: Request) -> Reply:
        found = app()
        return replies.written(request, _body(found, request), found.switches, 200 if _is_ready(found) else 503)

    return Answer(LIVENESS_ENDPOINT, alive, guarded=False), Answer(READINESS_ENDPOINT, ready, guarded=False)


def _is_ready(app: App) -> bool:
    return bool(app.services) and all(service.status == HEALTH_CHECK_VALUES.IS_READY for service in app.services)


def _body(app: App, request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {"request_id": reading.identity(request)} if app.switches.return_request_id else {}
    return body | {
        "porter_version": __version__,
        "deployed_on": HEALTH_CHECK_VALUES.DEPLOYED_ON,
        "app_meta": app.app_meta,
        "services": {service.id: _state(service) for service in app.services},
    }


def _state(service: Service) -> dict[str, Any]:
    return {"status": service.status, "endpoint": service.endpoint, "model_context": service.context}
