"""The management port: `/livez`, `/readyz`, `/metrics`, `/status`. Answered by the supervisor, whatever the workers are doing."""

from __future__ import annotations

import json
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dragoman import metrics
from dragoman.heartbeat import Heartbeats
from dragoman.status import ServerStatus

STALLED_SECONDS = 300.0  # a fetch that has not brought a byte for so long is not alive


def management_app(status: ServerStatus, heartbeats: Heartbeats, metrics_folder: Path) -> Starlette:
    async def livez(request: Request) -> Response:
        fetching = [] if status.was_ready else [m for m in status.models if m.state == "Fetching"]  # later, the others are served meanwhile
        stalled = [m.name for m in fetching if time.monotonic() - m.progressed > STALLED_SECONDS]
        if stalled:
            return PlainTextResponse(f"fetching {', '.join(stalled)} makes no progress\n", 503)
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        if status.ready:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"{'draining' if status.draining else status.phase}\n", 503)

    async def scrape(request: Request) -> Response:
        metrics.metrics().requests_in_flight.set(heartbeats.in_flight())
        body, media_type = metrics.render(metrics_folder)
        return Response(body, headers={"content-type": media_type})

    async def report(request: Request) -> Response:
        return Response(json.dumps(status.report(), indent=2) + "\n", media_type="application/json")

    async def index(request: Request) -> Response:
        return JSONResponse({"paths": [r.path for r in routes]})

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", scrape)]
    routes += [Route("/status", report), Route("/", index)]
    return Starlette(routes=routes)
