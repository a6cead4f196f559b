"""Asks starting pods for their /status, beside the reconciles, and remembers the answers by container id.

A pod is asked every few seconds until it is ready, and once more when it is, for the digest of what it loaded. A failed poll means
that nothing is known: never a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from dragoman_operator.names import MANAGEMENT_PORT
from dragoman_operator.objects import Key, Object, meta
from dragoman_operator.pods import container_id, is_leaving, is_ready
from dragoman_operator.report import Report, parse

_TIMEOUT_SECONDS = 2.0
_AT_A_TIME = 32
_TRIES_WHEN_READY = 5
_LARGEST = 1024 * 1024  # bytes of an answer


@dataclass
class _Target:
    key: Key
    address: str
    ready: bool
    task: asyncio.Task[None] | None = None
    became_ready: asyncio.Event = field(default_factory=asyncio.Event)


class Prober:
    def __init__(self, on_news: Callable[[Key], None], seconds: float, port: int = MANAGEMENT_PORT) -> None:
        self._on_news, self._seconds, self._port = on_news, seconds, port
        self._reports: dict[str, Report] = {}  # by container id
        self._targets: dict[str, _Target] = {}
        self._of: dict[Key, set[str]] = {}
        self._gate = asyncio.Semaphore(_AT_A_TIME)
        self._session: aiohttp.ClientSession | None = None

    def watch(self, key: Key, pods: Sequence[Object]) -> None:
        """These are a model's pods now: whoever is not among them is asked, and remembered, no more."""
        running = {one: pod for pod in pods if (one := container_id(pod)) and not is_leaving(pod) and pod["status"].get("podIP")}
        for gone in self._of.get(key, set()) - running.keys():
            self._drop(gone)
        for one, pod in running.items():
            target = self._targets.setdefault(one, _Target(key, pod["status"]["podIP"], is_ready(pod)))
            target.ready = is_ready(pod)
            if target.ready:
                target.became_ready.set()
            if target.task is None and not self._knows_enough(one, target):
                target.task = asyncio.create_task(self._ask_until_known(one, target))
        if running:
            self._of[key] = set(running)
        else:
            self._of.pop(key, None)

    def reports(self, pods: Sequence[Object]) -> Mapping[str, Report]:
        """What is known of pods, by their name."""
        known = {meta(pod)["name"]: self._reports.get(container_id(pod)) for pod in pods}
        return {name: report for name, report in known.items() if report is not None}

    async def close(self) -> None:
        for one in list(self._targets):
            self._drop(one)
        if self._session is not None:
            await self._session.close()

    def _drop(self, one: str) -> None:
        target = self._targets.pop(one)
        if target.task is not None:
            target.task.cancel()
        self._reports.pop(one, None)

    def _knows_enough(self, one: str, target: _Target) -> bool:
        report = self._reports.get(one)
        return target.ready and report is not None and report.model.state == "Loaded"

    async def _ask_until_known(self, one: str, target: _Target) -> None:
        tries = 0
        while not self._knows_enough(one, target) and tries < _TRIES_WHEN_READY:
            report = await self._ask(target.address)
            tries = tries + 1 if target.ready and report is None else 0
            if report is not None and _shape(report) != _shape(self._reports.get(one)):
                self._reports[one] = report
                self._on_news(target.key)
            if not self._knows_enough(one, target):
                await self._pause(target, self._seconds * random.uniform(1.0, 1.3) * (1 + tries))
        target.task = None

    async def _pause(self, target: _Target, seconds: float) -> None:
        """Until the next poll, which is due at once when the pod becomes ready: then there is a digest to be told."""
        if target.ready:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(target.became_ready.wait(), seconds)

    async def _ask(self, address: str) -> Report | None:
        host = f"[{address}]" if ":" in address else address
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS), trust_env=False)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._gate, self._session.get(f"http://{host}:{self._port}/status", allow_redirects=False) as answer:
                if answer.status == 200:
                    return parse(await answer.content.read(_LARGEST))
        return None


def _shape(report: Report | None) -> object:
    """What makes two reports differ: bytes only by tenths of the whole."""
    if report is None:
        return None
    model = report.model
    tenth = model.bytes * 10 // model.total_bytes if model.total_bytes else 0
    ends = [worker.last_exit for worker in report.workers]
    return report.phase, report.ready, model.state, model.digest, model.format, model.failure, model.last_error, tenth, ends
