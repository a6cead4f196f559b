"""`dragoman-operator`: wait to be the active one, then watch and reconcile until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Coroutine

import kopf

from dragoman_operator import __version__, logs, settings
from dragoman_operator.engine import Engine
from dragoman_operator.errors import InvalidSettings, LeadershipLost, OperatorError
from dragoman_operator.handlers import registry_of
from dragoman_operator.health import Health
from dragoman_operator.kube import Kube
from dragoman_operator.leader import Leader
from dragoman_operator.metrics import Metrics
from dragoman_operator.settings import Settings

_M_ARENA_MAX = -8  # of mallopt(3)

logger = logging.getLogger("dragoman_operator")


def main() -> None:
    try:
        chosen = settings.read(os.environ)
    except InvalidSettings as error:
        sys.exit(f"InvalidSettings: {error}")
    logs.configure(chosen.log_level)
    _share_arenas()
    logger.info("dragoman-operator %s", __version__)
    try:
        asyncio.run(operate(chosen))
    except OperatorError as error:
        logger.critical("%s", error)
        sys.exit(1)


def _share_arenas() -> None:
    """glibc gives each thread an arena of its own and keeps what it once held: 3 to 6 MB of the peak. Elsewhere there is nothing to do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


async def operate(chosen: Settings) -> None:
    """Until SIGTERM or SIGINT. Ends the process when another operator may be acting."""
    metrics = Metrics()
    kube = Kube.connect(chosen.connections, metrics)
    health = Health(metrics)
    leader = Leader(kube, chosen.operator_namespace, chosen.identity, chosen.lease_seconds)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with health.serving(chosen.health_port):
        if await _before(stop, leader.acquire()):
            metrics.leader.set(1)
            try:
                await _lead(kube, leader, health, chosen, metrics, stop)
            finally:
                await leader.release()
    kube.close()


async def _lead(kube: Kube, leader: Leader, health: Health, chosen: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    engine = Engine(kube, chosen, metrics)
    health.fault, health.measure = engine.fault, engine.measure
    watching = kopf.operator(
        registry=registry_of(engine),
        clusterwide=not chosen.namespaces,
        namespaces=chosen.namespaces,
        stop_flag=stop,
        standalone=True,
    )
    others = [asyncio.create_task(engine.run()), asyncio.create_task(_hold(leader))]
    for task in others:
        task.add_done_callback(lambda _: stop.set())
    try:
        await watching  # until the stop flag, or a signal: kopf takes those over
    finally:
        for task in others:
            task.cancel()
        await asyncio.wait(others)
    for task in others:
        if not task.cancelled():
            task.result()


async def _hold(leader: Leader) -> None:
    """On loss, end at once: not even requests that are on their way in threads are waited for."""
    try:
        await leader.hold()
    except LeadershipLost as error:
        logger.critical("%s", error)
        logging.shutdown()
        os._exit(1)


async def _before(stop: asyncio.Event, waiting: Coroutine[None, None, None]) -> bool:
    """Whether something came to its end before the operator was told to stop."""
    tasks = [asyncio.create_task(waiting), asyncio.create_task(stop.wait())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*done)
    return tasks[0] in done


if __name__ == "__main__":
    main()
