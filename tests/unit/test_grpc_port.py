"""A port whose server is made with its first client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from dragoman.admission import Admission
from dragoman.dialects.dialect import Rpc
from dragoman.exchange import Worker
from dragoman.grpc_port import GrpcPort
from dragoman.heartbeat import Heartbeats
from dragoman.kept import Stores
from dragoman.metrics import Metrics


def test_what_answers_is_made_with_the_first_client_who_is_told_of_a_drain_that_has_begun(tmp_path: Path) -> None:
    made: list[str] = []

    def rpcs() -> Sequence[Rpc]:
        made.append("rpcs")
        return ()

    async def health(address: str) -> int:
        async with grpc.aio.insecure_channel(address) as channel:
            reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
            return int(reply.status)

    async def scene(*, draining: bool) -> int:
        heartbeats = Heartbeats.create(1)
        slot = heartbeats.slot(0)
        worker = Worker(Admission(8, 1 << 20, heartbeats, slot), Metrics(CollectorRegistry()), Stores(tmp_path))
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as held:  # as the supervisor holds it
            address = f"127.0.0.1:{held.getsockname()[1]}"
            port = GrpcPort({"v2_grpc": rpcs}, {}, worker, address)
            await port.start()
        if not draining:
            said = await health(address)
            await port.drain(0, 5)
            return said
        drain = asyncio.create_task(port.drain(2, 5))
        await asyncio.sleep(0)
        assert not made
        said = await health(address)
        await drain
        return said

    assert asyncio.run(scene(draining=True)) == health_pb2.HealthCheckResponse.NOT_SERVING
    made.clear()
    assert asyncio.run(scene(draining=False)) == health_pb2.HealthCheckResponse.SERVING
    assert made == ["rpcs"]
