"""Predicts whose client was answered at once: they go on, and their replies are kept for whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from dragoman.dialects.dialect import Deferred, Reply
from dragoman.errors import CallError, StoreUnavailable
from dragoman.kept import Store

logger = logging.getLogger("dragoman.deferred")
Fail = Callable[[CallError], Reply]  # an error in the shape that its client knows


class Deferrals:
    """Those of one worker. Each holds its place among the requests in flight until its reply is kept."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], str] = {}  # to the keys
        self._ending: deque[float] = deque()  # until when (time.monotonic()) replies would be there that end with this server

    def begin(
        self, key: str, deferred: Deferred, store: Store, reply: Coroutine[Any, Any, Reply], *, fail: Fail, finished: Callable[[], None]
    ) -> None:
        """Awaits the reply (which does not raise) and keeps it; then calls `finished`, whatever became of it."""
        task = asyncio.get_running_loop().create_task(self._keep(key, deferred, store, reply, fail))
        self._running[task] = key

        def done(task: asyncio.Task[None]) -> None:
            del self._running[task]
            finished()

        task.add_done_callback(done)

    async def _keep(self, key: str, deferred: Deferred, store: Store, coming: Coroutine[Any, Any, Reply], fail: Fail) -> None:
        reply = await coming
        try:
            await store.put(key, reply, deferred.keep_seconds)
        except (OSError, CallError) as error:
            logger.error("the reply of a deferred predict is lost: it could not be kept: %s", error, extra={"predict": key})  # noqa: TRY400
            with contextlib.suppress(OSError, CallError):  # a reply that was too large for the store: who asks is told so
                await store.put(key, fail(StoreUnavailable(f"the reply could not be kept: {error}")), deferred.keep_seconds)
            return
        if not store.shared:
            now = time.monotonic()
            while self._ending and self._ending[0] <= now:
                self._ending.popleft()
            self._ending.append(now + deferred.keep_seconds)

    async def finish(self, seconds: float) -> None:
        """Waits for those that run, and says what is lost: what has not ended in time, and replies that end with this server."""
        if self._running:
            logger.info("waiting for %d deferred predicts", len(self._running))
            await asyncio.wait(self._running, timeout=seconds)
        for task, key in self._running.items():
            logger.error("a deferred predict has not ended in time, and its reply is lost", extra={"predict": key})
            task.cancel()
        lost = sum(until > time.monotonic() for until in self._ending)
        if lost:
            logger.warning("%d replies of deferred predicts end with this server before they expire; memcached would keep them", lost)
