"""One worker: the enabled dialects over HTTP and gRPC, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from dragoman import metrics as metrics_module
from dragoman.admission import Admission
from dragoman.app import Application, surfaces
from dragoman.errors import ServeError, WorkerFailed
from dragoman.exchange import Worker
from dragoman.following import Follower, warm_up
from dragoman.grpc_port import GrpcPort
from dragoman.heartbeat import Heartbeats
from dragoman.kept import Stores
from dragoman.messages import Boot, Load, Message, Ready, WorkerEnded, encode
from dragoman.metrics import Metrics, Tally, metrics
from dragoman.registry import Outcome, ServedModel
from dragoman.server import HttpServer
from dragoman.sockets import Sockets

_TICK_SECONDS = 0.25
_BODY_BUDGET = 4  # request bodies of several chunks held at once, in multiples of maxRequestBytes

logger = logging.getLogger("dragoman.worker")


def run(
    index: int,
    boot: Boot,
    sockets: Sockets,
    heartbeats: Heartbeats,
    outcomes: Mapping[str, Outcome],
    own: Mapping[str, Load],
    orders: socket.socket,
) -> None:
    """The whole life of a worker process; returns when it has drained.

    `own`: models that it has to load for itself; `orders`: the channel by which the supervisor says what holds for a model from now on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal: the supervisor decides
    metrics_module.identify(f"worker-{index}")
    slot = heartbeats.slot(index)
    failure: ServeError | None = None
    try:
        _load_own(boot, outcomes, own)
        slot.begin()  # from here on it is judged by its pulse
        asyncio.run(_serve(index, boot, sockets, heartbeats, outcomes, orders))
    except ServeError as error:
        failure = error
    except Exception as error:
        logger.exception("worker failed")
        failure = WorkerFailed(f"{type(error).__name__}: {error}")
    finally:
        slot.clear()
    if failure is not None:
        _report(sockets, WorkerEnded(index=index, pid=os.getpid(), reason=failure.reason, message=failure.message[:1000]))


def _load_own(boot: Boot, outcomes: Mapping[str, Outcome], own: Mapping[str, Load]) -> None:
    from dragoman import loading

    for name, load in own.items():
        if outcomes[name].state != "Failed":
            before = loading.private_bytes()
            outcomes[name].predictor = loading.load_model(load, outcomes[name].manifest, boot.settings).predictor
            outcomes[name].taken_bytes = loading.private_bytes() - before


async def _serve(
    index: int, boot: Boot, sockets: Sockets, heartbeats: Heartbeats, outcomes: Mapping[str, Outcome], orders: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    slot = heartbeats.slot(index)
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, lambda: os._exit(1) if stopping.is_set() else stopping.set())
    loop.add_reader(sockets.lifeline, os._exit, 1)
    ticking = asyncio.create_task(_tick(slot.tick))

    own = metrics()
    models: dict[str, ServedModel] = {}
    for name, outcome in outcomes.items():
        models[name] = ServedModel(outcome, slot, _observer(own, name), boot.settings.revision)
    limits = [m.limits for m in models.values()]
    admission = Admission(
        max(limit.max_concurrency for limit in limits), _BODY_BUDGET * max(limit.max_request_bytes for limit in limits), heartbeats, slot
    )
    worker = Worker(admission, own, Stores(Path(boot.kept_dir)), boot.settings.access_log)
    settings = boot.settings
    app = Application(models, worker)
    follower = worker.orders = Follower(models, boot, orders, slot, own, app.rebuild)
    keep_alive = max(settings.keep_alive_seconds, *(surface.keep_alive_seconds for surface in surfaces(models).values()), 0.0)
    others = partial(heartbeats.connections_of_others, index)
    http = HttpServer(app, sockets.listener, settings.head_seconds, keep_alive, others, slot.connections)
    worker.only_client = http.only_client
    servers: list[HttpServer | GrpcPort] = [http, *_grpc(models, worker, sockets)]
    for name, outcome in outcomes.items():
        if outcome.predictor is not None:
            warm_up(outcome.predictor, outcome.signature, name)
    gc.freeze()  # what serving needs for ever; the collector looks only at what requests make
    gc.enable()
    follower.start()
    for server in servers:
        await server.start()
    slot.ready(True)
    _report(sockets, Ready(index=index, pid=os.getpid()))

    await stopping.wait()
    slot.ready(False)
    timeout = max(limit.timeout_seconds for limit in limits)
    worker.hurry()
    due = time.monotonic() + boot.settings.drain_seconds + timeout + 1  # what came last has reached its own deadline by then
    await asyncio.gather(*(server.drain(boot.settings.drain_seconds, timeout) for server in servers))
    await worker.deferrals.finish(due - time.monotonic())
    follower.close()
    for model in models.values():
        model.close()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking


def _observer(own: Metrics, model: str) -> Callable[[float, int], None]:
    duration, rows = Tally(own.predict_duration.labels(model)), Tally(own.batch_rows.labels(model))

    def observe(seconds: float, batch_rows: int) -> None:
        duration.add(seconds)
        rows.add(batch_rows)

    return observe


def _grpc(models: Mapping[str, ServedModel], worker: Worker, sockets: Sockets) -> list[GrpcPort]:
    """Where an enabled dialect has methods for it."""
    rpcs = {name: surface.rpcs for name, surface in surfaces(models).items() if surface.rpcs}
    return [GrpcPort(rpcs, models, worker, sockets.grpc_address)] if rpcs else []


async def _tick(tick: Callable[[], None]) -> None:
    while True:
        tick()
        await asyncio.sleep(_TICK_SECONDS)


def _report(sockets: Sockets, message: Message) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone: the lifeline ends this process
        sockets.reports.send(encode(message))
