"""What answers gRPC in one worker: the dialects' methods, standard health and reflection, on the worker's own event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.body import BodyLimit
from dragoman.dialects.dialect import Rpc
from dragoman.exchange import Worker
from dragoman.guard import Guards
from dragoman.http2.connection import Connection
from dragoman.http2.stream import Receiver, Stream
from dragoman.registry import Registry
from dragoman.rpc import health, reflection
from dragoman.rpc.call import Asked, Call, Method, asked_of
from dragoman.rpc.guard import RpcGuards
from dragoman.rpc.health import Health
from dragoman.rpc.reflection import Reflection
from dragoman.rpc.unary import Answering, Predicting

_CONNECTION_AGE_SECONDS = 300.0  # connections age out, so that clients spread over workers and pods again


class GrpcServer:
    """`rpcs` by their dialect. `serving`: what health says."""

    def __init__(self, rpcs: Mapping[str, Sequence[Rpc]], models: Registry, worker: Worker, *, serving: bool = True) -> None:
        self._worker = worker
        self._connections: set[Connection] = set()
        services = sorted({rpc.method.split("/")[1] for found in rpcs.values() for rpc in found})
        self._health = Health(services, serving=serving)
        self._methods: dict[str, Method] = self._health.methods()
        guards = RpcGuards(Guards(models, worker))
        described = Reflection([*services, health.SERVICE, reflection.SERVICE])
        self._methods[reflection.METHOD] = described.method(before=guards.reflection())
        limits = [model.limits for model in models.values()]
        largest = BodyLimit(max((limit.max_request_bytes for limit in limits), default=0))
        longest = max((limit.timeout_seconds for limit in limits), default=0.0)
        for dialect, found in rpcs.items():
            for rpc in found:
                check = guards.of_message(dialect, rpc)
                if rpc.decode:
                    act: Any = Predicting(dialect, rpc, models, worker, check, self._only_call)
                else:
                    act = Answering(dialect, rpc, worker, check)
                before = guards.before(dialect, rpc)
                self._methods[rpc.method] = Method(act, dialect=dialect, limit=largest, timeout_seconds=longest, before=before)

    def connection(self) -> Connection:
        """One that a client has opened."""
        age = _CONNECTION_AGE_SECONDS * random.uniform(0.9, 1.1)  # those that came together do not leave together
        return Connection(self._understand, self._open, self._connections, age)

    def fall(self) -> None:
        """Health says so at once; calls are still taken."""
        self._health.say(serving=False)

    async def finish(self, timeout_seconds: float) -> None:
        """No new calls are taken, and those in flight finish.

        Streams (a client that watches health) are not waited for: they have no end of their own.
        """
        deadline = time.monotonic() + timeout_seconds
        await asyncio.sleep(0.05)  # what was accepted last has its first bytes by now
        while self._retire_all() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._health.finish()
        for connection in self._connections:
            connection.session.leave()
        while self._connections and time.monotonic() < deadline:  # what was answered last is on its way
            await asyncio.sleep(0.01)

    def _retire_all(self) -> bool:
        """Whether some still may send requests, or wait for the answer of one."""
        for connection in self._connections:
            connection.retire()
        return any(not connection.session.leaving or _is_busy(connection) for connection in self._connections)

    def _understand(self, fields: Mapping[str, str]) -> Asked:
        return asked_of(fields, self._methods)

    def _open(self, stream: Stream, asked: Asked) -> Receiver | None:
        if asked.method is None:
            stream.tail(asked.refused)
            return None
        return Call(stream, asked, asked.method, self._worker)

    def _only_call(self) -> bool:
        """Whether the one client that there is waits for nothing else."""
        return len(self._connections) == 1 and next(iter(self._connections)).session.alone


def _is_busy(connection: Connection) -> bool:
    receivers = (stream.receiver for stream in connection.session.streams.values())
    return any(isinstance(receiver, Call) and not receiver.is_stream for receiver in receivers)
