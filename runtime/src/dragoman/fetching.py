"""Fetching a model for a server: in a child process, again and again while that may help, told in its status."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from dragoman.errors import ServeError
from dragoman.manifest import ModelDeployment
from dragoman.settings import Settings
from dragoman.status import Failure, ModelStatus
from dragoman.storage.child import fetch_in_child
from dragoman.storage.fetch import cached
from dragoman.storage.request import Event, Fetched, Progress, Request

AT_ONCE = 8  # fetches; each is a process of some 20 MB
_PAUSE_SECONDS = (1.0, 60.0)  # the first and the longest pause before another try

logger = logging.getLogger("dragoman")


async def fetch_model(
    model: ModelStatus, manifest: ModelDeployment, settings: Settings, turns: asyncio.Semaphore, *, patient: bool = True
) -> Fetched:
    """The model's bytes, checked, on local disk. Raises a `ServeError`; a transient one only after `loadTimeoutSeconds` of trying,
    or at once where nobody is so `patient`. `turns`: how many fetch at once; who pauses before another try holds none."""
    spec = manifest.spec
    request = Request.of(
        spec.model.uri,
        options=spec.model.storage.options,
        digest=spec.model.digest,
        cache=settings.cache_dir,
        cache_bytes=settings.cache_bytes,
    )
    if patient and (known := cached(request)) is not None:  # at the start, of which a process to look there is a third
        model.step("Fetching")
        return known
    give_up = time.monotonic() + spec.serving.limits.load_timeout_seconds
    pause, longest = _PAUSE_SECONDS
    while True:
        try:
            async with turns:
                model.step("Fetching")
                return await fetch_in_child(request, lambda event: _tell(model, event))
        except ServeError as error:
            if not error.transient or not patient or time.monotonic() + pause > give_up:
                raise
            model.retries += 1
            model.last_error = Failure(error.reason, error.message)
            logger.warning("%s; trying again in %.0f s", error.message, pause, extra={"model": model.name, "reason": error.reason})
            await _pause(model, pause * random.uniform(0.5, 1.0))
            pause = min(longest, pause * 2)


async def _pause(model: ModelStatus, seconds: float) -> None:
    """A pause is not a stalled fetch: it counts as progress."""
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        model.progressed = time.monotonic()
        await asyncio.sleep(min(1.0, max(0.0, due - time.monotonic())))


def _tell(model: ModelStatus, event: Event) -> None:
    model.progressed = time.monotonic()
    if not isinstance(event, Progress):
        logger.warning("%s", event.message, extra={"model": model.name})
        return
    before = _tenths(model.bytes, model.total_bytes)
    model.bytes, model.total_bytes = event.bytes, event.total_bytes
    if _tenths(event.bytes, event.total_bytes) != before:
        logger.info("fetching", extra={"model": model.name, "bytes": event.bytes, "total_bytes": event.total_bytes})


def _tenths(done: int, total: int | None) -> int:
    return done * 10 // total if total else 0
