"""One active operator: a Lease of our own. On loss the process ends at once, so that two never write.

The clocks of two machines are never compared: a lease has run out when it has not changed for its duration on our own clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime

from dragoman_operator.errors import Conflict, KubeError, LeadershipLost, NotFound
from dragoman_operator.kinds import LEASE
from dragoman_operator.kube import Kube
from dragoman_operator.objects import Object

NAME = "dragoman-operator"

logger = logging.getLogger(__name__)


class Leader:
    def __init__(self, kube: Kube, namespace: str, identity: str, seconds: float) -> None:
        self._kube, self._namespace, self._identity, self._seconds = kube, namespace, identity, seconds
        self._lease: Object = {}
        self._changed = 0.0  # on our clock: when the lease was last seen to change
        self._renewed = 0.0  # on our clock: when it was last renewed by us

    async def acquire(self) -> None:
        """Wait until this operator is the active one."""
        while not await self._try():
            await asyncio.sleep(self._seconds / 8 * random.uniform(0.8, 1.2))
        logger.info("this operator is active now", extra={"identity": self._identity})

    async def hold(self) -> None:
        """Renew the lease. Raises `LeadershipLost` when it is another's, or could not be renewed in time."""
        while True:
            await asyncio.sleep(self._seconds / 5)
            if await self._try():
                continue
            silent = asyncio.get_running_loop().time() - self._renewed
            if self._holder() not in ("", self._identity) or silent > self._seconds * 2 / 3:
                raise LeadershipLost(f"the lease was not renewed for {silent:.0f} s; its holder is {self._holder() or 'nobody'}")

    async def release(self) -> None:
        """Let another take over without waiting."""
        if self._holder() == self._identity:
            self._lease["spec"]["holderIdentity"] = ""
            try:
                await asyncio.wait_for(self._kube.replace(LEASE, self._lease, urgent=True), 2)
            except (KubeError, TimeoutError) as error:
                logger.warning("the lease could not be released: %s", error)

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is ours now."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            return await asyncio.wait_for(self._take(started), self._seconds / 3)
        except (Conflict, TimeoutError):
            self._lease = {}  # look again before the next try
        except KubeError as error:
            logger.warning("the lease could not be taken or renewed: %s", error)
        return False

    async def _take(self, started: float) -> bool:
        if self._holder() != self._identity:
            await self._look(started)
        held_by_another = self._holder() not in ("", self._identity)
        if held_by_another and started - self._changed < self._duration():
            return False
        changed = self._holder() != self._identity
        spec = dict(self._lease.get("spec") or {})
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": int(self._seconds), "renewTime": _micro_time()}
        if changed:
            spec |= {"acquireTime": _micro_time(), "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        body = {**self._lease, "spec": spec}
        if self._lease:
            self._lease = await self._kube.replace(LEASE, body, urgent=True)
        else:
            body |= {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": {"name": NAME, "namespace": self._namespace}}
            self._lease = await self._kube.create(LEASE, body, urgent=True)
        self._renewed = started
        return True

    async def _look(self, started: float) -> None:
        before = self._lease.get("metadata", {}).get("resourceVersion")
        try:
            self._lease = await self._kube.get(LEASE, self._namespace, NAME, urgent=True)
        except NotFound:
            self._lease = {}
        if self._lease.get("metadata", {}).get("resourceVersion") != before:
            self._changed = started

    def _holder(self) -> str:
        return str((self._lease.get("spec") or {}).get("holderIdentity") or "")

    def _duration(self) -> float:
        return float((self._lease.get("spec") or {}).get("leaseDurationSeconds") or self._seconds)


def _micro_time() -> str:
    """The time, as Kubernetes writes a Lease's. For people: nothing is computed with it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
