"""The HTTP/2 under gRPC against h2spec: what RFC 9113 and RFC 7541 ask of a server, at its strictest."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

import grpc.aio
import pytest

from dragoman.http2 import connection, frames
from dragoman.http2.connection import Connection
from dragoman.http2.fields import block_of
from dragoman.http2.frames import MAX_WINDOW, PREFACE
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

    def made() -> Connection:
        return Connection(lambda fields: fields, lambda stream, fields: Echo(stream), left, 300.0)

    async with await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        given = [argument.format(port=port) for argument in arguments]
        process = await asyncio.create_subprocess_exec(command, *given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        await gone(left)
    return said.decode(), left


async def gone(connections: set[Connection]) -> None:
    """Until the connections have closed, or 20 seconds have passed."""
    until = asyncio.get_running_loop().time() + 20
    while connections and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.01)


def test_h2spec_finds_nothing_wrong() -> None:
    assert H2SPEC.exists(), "h2spec is missing: `make tools` builds it"
    said, left = asyncio.run(conversed(str(H2SPEC), "--strict", "--host", "127.0.0.1", "--port", "{port}", "--timeout", "3"))
    assert "146 tests, 146 passed, 0 skipped, 0 failed" in said, said[said.find("Failures:") :]
    assert not left


def test_connections_that_age_out_fail_no_call_of_a_client_that_goes_on_asking() -> None:
    async def asked() -> tuple[int, int]:
        loop, left, connections = asyncio.get_running_loop(), set[Connection](), []

        def made() -> Connection:
            connections.append(Connection(lambda fields: fields, lambda stream, fields: Echo(stream), left, 0.15))
            return connections[-1]

        answers = 0
        async with await loop.create_server(made, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call, until = channel.unary_unary("/an/echo"), loop.time() + 1.0
                while loop.time() < until:
                    sent = [str(answers + i).encode() for i in range(8)]
                    assert await asyncio.gather(*(call(message, timeout=20) for message in sent)) == sent
                    answers += 8
            await gone(left)
        assert not left
        return answers, len(connections)

    answers, connections = asyncio.run(asked())
    assert answers > connections > 2


@pytest.mark.parametrize("window", [MAX_WINDOW, 0], ids=["of all it may get", "of nothing"])
def test_a_client_that_does_not_take_its_replies_leaves(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(connection, "_STALLED_SECONDS", 0.3)
    asked: list[int] = []

    class Large:
        def __init__(self, stream: Stream) -> None:
            asked.append(stream.id)
            stream.whole(b"\x88", bytes(4_000_000), block_of(("grpc-status", "0")))

        def data(self, part: bytes, ended: bool) -> None: ...

        def left(self) -> None: ...

    async def served() -> None:
        loop, left, connections = asyncio.get_running_loop(), set[Connection](), []

        def made() -> Connection:
            connections.append(Connection(lambda fields: fields, lambda stream, fields: Large(stream), left, 300.0))
            return connections[-1]

        async with await loop.create_server(made, "127.0.0.1", 0) as server:
            fields = block_of((":method", "POST"), (":scheme", "http"), (":path", "/"))
            opening = PREFACE + frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: window}) + frames.window_update(0, MAX_WINDOW - 65_535)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.sendall(opening)
                for stream in range(1, 401, 2):
                    client.sendall(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, fields))
                    await asyncio.sleep(0)
                await gone(left)
        assert connections
        assert not left

    asyncio.run(served())
    assert 1 <= len(asked) < 50
