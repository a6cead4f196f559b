"""A worker's gRPC port. What answers there is imported, and made, when the first client comes: most servers see none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dragoman.accepting import Acceptor
from dragoman.dialects.dialect import Rpc
from dragoman.exchange import Worker
from dragoman.registry import Registry
from dragoman.sockets import bind

if TYPE_CHECKING:
    from dragoman.http2.connection import Connection
    from dragoman.rpc.server import GrpcServer


class GrpcPort:
    """Listens with SO_REUSEPORT on the port that the supervisor holds: long connections are spread over the workers by the kernel.

    `rpcs` by their dialect: each gives its methods.
    """

    def __init__(self, rpcs: Mapping[str, Callable[[], Sequence[Rpc]]], models: Registry, worker: Worker, address: str) -> None:
        self._rpcs, self._models, self._worker, self._address = rpcs, models, worker, address
        self._server: GrpcServer | None = None
        self._draining = False

    async def start(self) -> None:
        host, _, port = self._address.rpartition(":")
        sock = bind(host.strip("[]"), int(port), "--grpc-port", reuse_port=True)
        self._acceptor = Acceptor(sock, self._connection)
        self._acceptor.start()

    async def drain(self, grace_seconds: float, timeout_seconds: float) -> None:
        """Health falls at once; after the grace no new connections are taken, and calls in flight finish."""
        self._draining = True
        if self._server is not None:
            self._server.fall()
        await asyncio.sleep(grace_seconds)
        await self._acceptor.close()
        if self._server is not None:
            await self._server.finish(timeout_seconds)

    def _connection(self) -> Connection:
        if self._server is None:
            from dragoman.rpc.server import GrpcServer

            rpcs = {dialect: made() for dialect, made in self._rpcs.items()}
            self._server = GrpcServer(rpcs, self._models, self._worker, serving=not self._draining)
        return self._server.connection()
