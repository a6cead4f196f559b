"""The operator's own port: /livez, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from dragoman_operator.metrics import Metrics


class Health:
    """An answer at all says that the event loop turns; `fault` says what else could be wrong, None for nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.fault: Callable[[], str | None] = lambda: None
        self.measure: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        app = web.Application()
        app.add_routes([web.get("/livez", self._livez), web.get("/readyz", self._livez), web.get("/metrics", self._scrape)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=port).start()
            yield
        finally:
            await runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        fault = self.fault()
        return web.Response(text=f"{fault or 'ok'}\n", status=503 if fault else 200)

    async def _scrape(self, request: web.Request) -> web.Response:
        self.measure()
        return web.Response(body=self._metrics.render(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})
