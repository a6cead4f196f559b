"""The HTTP/2 under gRPC against h2spec: what RFC 9113 and RFC 7541 ask of a server, at its strictest."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import grpc.aio

from dragoman.http2.connection import Connection
from dragoman.http2.fields import block_of
from dragoman.http2.stream import Stream

H2SPEC = Path(__file__).parents[2] / ".cache/tools/bin/h2spec"


class Echo:
    def __init__(self, stream: Stream) -> None:
        self._stream, self._body = stream, b""

    def data(self, part: bytes, ended: bool) -> None:
        self._body += part
        if ended:
            head = b"\x88" + block_of(("content-type", "application/grpc"))
            self._stream.whole(head, self._body or b"hello", block_of(("grpc-status", "0")))

    def left(self) -> None:
        pass


async def conversed(command: str, *arguments: str) -> tuple[str, set[Connection]]:
    """What a client said of a server that echoes, and the connections that are left; `{port}` is the server's."""
    left: set[Connection] = set()

    def connection() -> Connection:
        made = Connection(lambda fields: fields, lambda stream, fields: Echo(stream), left.discard, 300.0)
        left.add(made)
        return made

    async with await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        given = [argument.format(port=port) for argument in arguments]
        process = await asyncio.create_subprocess_exec(command, *given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        await asyncio.sleep(0.05)
    return said.decode(), left


def test_h2spec_finds_nothing_wrong() -> None:
    assert H2SPEC.exists(), "h2spec is missing: `make tools` builds it"
    said, left = asyncio.run(conversed(str(H2SPEC), "--strict", "--host", "127.0.0.1", "--port", "{port}", "--timeout", "3"))
    assert "146 tests, 146 passed, 0 skipped, 0 failed" in said, said[said.find("Failures:") :]
    assert not left


def test_connections_that_age_out_fail_no_call_of_a_client_that_goes_on_asking() -> None:
    async def asked() -> tuple[int, int]:
        loop, made = asyncio.get_running_loop(), []

        def connection() -> Connection:
            made.append(Connection(lambda fields: fields, lambda stream, fields: Echo(stream), lambda one: None, 0.15))
            return made[-1]

        answers = 0
        async with await loop.create_server(connection, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call, until = channel.unary_unary("/an/echo"), loop.time() + 1.0
                while loop.time() < until:
                    sent = [str(answers + i).encode() for i in range(8)]
                    assert await asyncio.gather(*(call(message, timeout=20) for message in sent)) == sent
                    answers += 8
        return answers, len(made)

    answers, connections = asyncio.run(asked())
    assert answers > connections > 2
