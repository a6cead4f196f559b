"""The channel from the supervisor to its loader: a loader that is busy with a model does not stop the supervisor."""

from __future__ import annotations

import asyncio
import os
import socket

from dragoman import messages
from dragoman.loader_process import LoaderProcess
from dragoman.messages import LineChannel, Load, Spawn

MANY = 3000  # lines: several times what a socket holds


def test_a_loader_that_does_not_read_holds_up_nobody() -> None:
    received = asyncio.run(_sent_while_nobody_reads())
    assert [m.model for m in received if isinstance(m, Load)] == [f"m{i}" for i in range(MANY)]
    assert [m.index for m in received if isinstance(m, Spawn)] == [7]


async def _sent_while_nobody_reads() -> list[messages.ToLoader]:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as descriptor:
        loader = LoaderProcess(os.getpid(), ours)
        for i in range(MANY):
            loader.send(Load(model=f"m{i}", path="/models/m.joblib", name="m.joblib", digest="sha256:" + "0" * 64))
        loader.send(Spawn(index=7), descriptor.fileno())
        channel = LineChannel(theirs)
        received: list[messages.ToLoader] = []
        while len(received) <= MANY:
            lines = await asyncio.to_thread(lambda: list(channel.receive()))
            received += [messages.to_loader.decode(line) for line in lines]
    assert len(channel.descriptors) == 1
    os.close(channel.descriptors.popleft())
    return received
