"""The management port: `/livez`, `/readyz`, `/metrics`, `/status`. Answered by the supervisor, whatever the workers are doing.

Five paths without parameters: a table does, and the supervisor, whose memory every server pays for, is spared a web framework.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from dragoman import metrics
from dragoman.asgi import App, Receive, Scope, Send
from dragoman.heartbeat import Heartbeats
from dragoman.status import ServerStatus

STALLED_SECONDS = 300.0  # a fetch that has not brought a byte for so long is not alive


class Answer(msgspec.Struct, frozen=True):
    body: bytes
    status: int = 200
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[bytes, bytes], ...] = ()


def management_app(status: ServerStatus, heartbeats: Heartbeats, metrics_folder: Path) -> App:
    def livez() -> Answer:
        fetching = [] if status.was_ready else [m for m in status.models if m.state == "Fetching"]  # later, the others are served meanwhile
        stalled = [m.name for m in fetching if time.monotonic() - m.progressed > STALLED_SECONDS]
        return Answer(f"fetching {', '.join(stalled)} makes no progress\n".encode(), 503) if stalled else Answer(b"ok\n")

    def readyz() -> Answer:
        if status.ready:
            return Answer(b"ok\n")
        return Answer(f"{'draining' if status.draining else status.phase}\n".encode(), 503)

    def scrape() -> Answer:
        metrics.metrics().requests_in_flight.set(heartbeats.in_flight())
        body, media_type = metrics.render(metrics_folder)
        return Answer(body, media_type=media_type)

    def report() -> Answer:
        return Answer(json.dumps(status.report(), indent=2).encode() + b"\n", media_type="application/json")

    def index() -> Answer:
        return Answer(json.dumps({"paths": list(pages)}).encode(), media_type="application/json")

    pages = {"/livez": livez, "/readyz": readyz, "/metrics": scrape, "/status": report, "/": index}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = _answer(pages, scope["method"], scope["path"])
        length = str(len(answer.body)).encode()
        headers = [(b"content-type", answer.media_type.encode()), (b"content-length", length), *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    return app


def _answer(pages: Mapping[str, Callable[[], Answer]], method: str, path: str) -> Answer:
    page = pages.get(path)
    if page is None:
        return Answer(f"{path} is not here: {' '.join(pages)}\n".encode(), 404)
    if method not in ("GET", "HEAD"):
        return Answer(f"{method} is not allowed on {path}\n".encode(), 405, headers=((b"allow", b"GET, HEAD"),))
    return page()
