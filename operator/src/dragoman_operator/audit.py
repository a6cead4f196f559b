"""Compares the caches with the API server, so that a watch that died silently delays a change but does not lose it.

Watches can hang without an error, for ever. Every half minute the names and versions of all watched objects are listed (without their
content); what the watches missed is fetched. A kind that is behind again and again has a dead watch: liveness then fails.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable

from dragoman_operator.cache import Cache
from dragoman_operator.errors import KubeError, NotFound, Unavailable
from dragoman_operator.kinds import MODEL_DEPLOYMENT, WATCHED, Kind
from dragoman_operator.kube import Kube
from dragoman_operator.metrics import Metrics
from dragoman_operator.names import MANAGED_BY
from dragoman_operator.objects import Key

_GRACE_SECONDS = 3.0  # an event may be on its way
_WAIT_SECONDS = 2.0  # while an API server or a CRD is not there
_HOPELESS = 4  # audits in a row in which a kind was behind

logger = logging.getLogger(__name__)


class Audit:
    def __init__(
        self, kube: Kube, cache: Cache, namespaces: tuple[str, ...], on_news: Callable[[Key], None], metrics: Metrics, seconds: float
    ) -> None:
        self._kube, self._cache, self._on_news, self._metrics = kube, cache, on_news, metrics
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._seconds = seconds
        self._behind: Counter[Kind] = Counter()
        self._finished = asyncio.get_running_loop().time()

    async def prime(self) -> None:
        """Fill the caches: list every kind once. Waits for an API server that does not answer, and for a CRD that is not there yet."""
        for kind in WATCHED:
            for namespace in self._namespaces:
                while not await self._listed(kind, namespace):
                    await asyncio.sleep(_WAIT_SECONDS)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds * random.uniform(0.9, 1.1))
            for kind in WATCHED:
                try:
                    await self._compare(kind)
                except KubeError as error:
                    logger.warning("the caches could not be compared: %s", error)
                except Exception:  # liveness would tell only after minutes that nobody compares any more
                    logger.exception("the caches could not be compared")
            self._finished = asyncio.get_running_loop().time()

    def fault(self) -> str | None:
        """Why the watches cannot be trusted any more, for liveness; None while they can."""
        dead = [kind.plural for kind, count in self._behind.items() if count >= _HOPELESS]
        if dead:
            return f"the watch of {', '.join(dead)} is dead: {_HOPELESS} audits in a row found what it had missed"
        silent = asyncio.get_running_loop().time() - self._finished
        return f"no audit has finished for {silent:.0f} s" if silent > 10 * self._seconds + 120 else None

    async def _listed(self, kind: Kind, namespace: str | None) -> bool:
        try:
            async for obj in self._kube.list(kind, namespace, selector_of(kind)):
                self._cache.put(kind, obj)
        except (NotFound, Unavailable) as error:
            logger.warning("waiting for %s: %s", kind.plural, error)
            return False
        return True

    async def _compare(self, kind: Kind) -> None:
        missed = await self._missed(kind)
        if missed:
            await asyncio.sleep(_GRACE_SECONDS)
            versions = self._cache.versions(kind)
            missed = {key: seen for key, seen in missed.items() if _behind(versions.get(key), seen)}
        self._behind[kind] = self._behind[kind] + 1 if missed else 0
        for key in missed:
            self._metrics.stale.labels(kind.name).inc()
            await self._fetch(kind, key)

    async def _missed(self, kind: Kind) -> dict[Key, tuple[str, int] | None]:
        """Objects of which the cache lacks what the API server has; None for those that are gone there."""
        held = self._cache.versions(kind)
        missed: dict[Key, tuple[str, int] | None] = {}
        for namespace in self._namespaces:
            async for where, name, uid, version in self._kube.versions(kind, namespace, selector_of(kind)):
                there = held.pop(Key(where, name), None)
                if _behind(there, (uid, version)):
                    missed[Key(where, name)] = (uid, version)
        return missed | dict.fromkeys(held)

    async def _fetch(self, kind: Kind, key: Key) -> None:
        uid = self._cache.versions(kind).get(key, ("", 0))[0]
        try:
            obj = await self._kube.get(kind, *key)
        except NotFound:
            owner = self._cache.drop(kind, key, uid)
        else:
            if uid and obj["metadata"]["uid"] != uid:
                self._cache.drop(kind, key, uid)
            owner = self._cache.put(kind, obj)
        if owner is not None:
            self._on_news(owner)


def selector_of(kind: Kind) -> dict[str, str]:
    """Which objects of a kind are watched: of the children, ours."""
    return {} if kind is MODEL_DEPLOYMENT else MANAGED_BY


def _behind(held: tuple[str, int] | None, there: tuple[str, int] | None) -> bool:
    """Whether what is held, (uid, version), is older than what is there; None: nothing."""
    if held is None or there is None:
        return held is not there
    return held[0] != there[0] or held[1] < there[1]
