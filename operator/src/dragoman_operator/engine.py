"""What turns events into reconciles: caches, queue, prober, audit, and the one consumer of the queue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from dragoman_operator.audit import Audit
from dragoman_operator.cache import Cache
from dragoman_operator.errors import KubeError
from dragoman_operator.kinds import MODEL_DEPLOYMENT, Kind
from dragoman_operator.kube import Kube
from dragoman_operator.metrics import Metrics
from dragoman_operator.objects import Key, Object, asked_of, meta
from dragoman_operator.probe import Prober
from dragoman_operator.reconcile import Reconciler
from dragoman_operator.settings import Settings
from dragoman_operator.workqueue import Urgency, WorkQueue

_GATHER_SECONDS = 0.1  # children's events come in bursts
_ECHO_SECONDS = 2.0  # a change of status alone is most likely our own, told before the answer to its write has come
_SOON_SECONDS = 1.0  # what is to be looked at again within that time is in the middle of a change
_STUCK_SECONDS = 300.0  # a reconcile's requests have limits of their own, far below

logger = logging.getLogger(__name__)


class Engine:
    def __init__(self, kube: Kube, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._queue = WorkQueue(asyncio.get_running_loop().time)
        self._cache = Cache()
        self._prober = Prober(self._gathered, settings.probe_seconds)
        self._audit = Audit(kube, self._cache, settings.namespaces, self._gathered, metrics, settings.audit_seconds)
        self._reconciler = Reconciler(kube, self._cache, self._prober, settings, now_text)
        self._primed = asyncio.Event()
        self._places = asyncio.Semaphore(settings.workers)
        self._running: set[asyncio.Task[None]] = set()

    async def prime(self) -> None:
        """Every kind has been listed once before anything is reconciled: so a restart over a settled cluster writes nothing."""
        started = time.monotonic()
        await self._audit.prime()
        for key in self._cache.keys(MODEL_DEPLOYMENT):
            self._queue.add(key, Urgency.RESYNC)
        self._primed.set()
        logger.info("%d objects are known after %.1f s", len(self._cache), time.monotonic() - started)

    def seen(self, kind: Kind, change: str | None, obj: Object) -> None:
        """An event of a watch: `change` is ADDED, MODIFIED or DELETED, or None for what was there when the watch began."""
        key = Key(meta(obj)["namespace"], meta(obj)["name"])
        before = self._cache.get(kind, key) if kind is MODEL_DEPLOYMENT and change == "MODIFIED" else None
        owner = self._cache.drop(kind, key, meta(obj)["uid"]) if change == "DELETED" else self._cache.put(kind, obj)
        if owner is None:
            return  # known already
        if before is not None and asked_of(before) == asked_of(obj):
            self._queue.add(owner, Urgency.RESYNC, after=_ECHO_SECONDS)
        else:
            self._queue.add(owner, Urgency.CHANGE, after=0.0 if kind is MODEL_DEPLOYMENT else _GATHER_SECONDS)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._primed.wait()
        audit = asyncio.create_task(self._audit.run())
        try:
            while True:
                await self._places.acquire()
                key = await self._queue.take()
                task = asyncio.create_task(self._work(key))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        finally:
            audit.cancel()
            for task in self._running:
                task.cancel()
            await self._prober.close()

    def fault(self) -> str | None:
        """Why this operator should be restarted, for liveness; None while all is well."""
        if self._queue.working_seconds() > _STUCK_SECONDS:
            return f"a reconcile has been running for {self._queue.working_seconds():.0f} s"
        return self._audit.fault() if self._primed.is_set() else None

    def measure(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.queue.set(len(self._queue))
        readiness = Counter(_readiness(self._cache.get(MODEL_DEPLOYMENT, key) or {}) for key in self._cache.keys(MODEL_DEPLOYMENT))
        for value in ("True", "False"):
            self._metrics.models.labels(value).set(readiness[value])

    def _gathered(self, key: Key) -> None:
        self._queue.add(key, Urgency.CHANGE, after=_GATHER_SECONDS)

    async def _work(self, key: Key) -> None:
        started = time.perf_counter()
        result = "done"
        try:
            again = await self._reconciler.reconcile(key)
            if again is None:
                self._queue.forget(key)
            else:
                self._queue.succeeded(key)
                self._queue.add(key, Urgency.CHANGE if again < _SOON_SECONDS else Urgency.RESYNC, after=again)
        except KubeError as error:
            result = "error"
            logger.warning("trying again in %.1f s: %s", self._queue.retry(key), error, extra={"key": str(key)})
        except Exception:
            result = "error"
            logger.exception("trying again in %.1f s", self._queue.retry(key), extra={"key": str(key)})
        finally:
            self._queue.done(key)
            self._places.release()
            self._metrics.reconciles.labels(result).inc()
            self._metrics.reconcile_seconds.observe(time.perf_counter() - started)


def now_text() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _readiness(obj: dict[str, Any]) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((one["status"] for one in conditions if one["type"] == "Ready"), "False")
