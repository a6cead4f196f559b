"""The channel between the supervisor and a worker: nothing blocks, nothing is lost, the end is told once."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dragoman import messages
from dragoman.messages import Ask, Dropped, Follow, FromFollower, Known, LineChannel, Spawn
from dragoman.worker_channel import WorkerChannel


def follow(ticket: int) -> Follow:
    return Follow(known=Known(model="iris", state="Loaded", signature=b"x" * 100_000), ticket=ticket)


async def until(condition: list[object], length: int) -> None:
    while len(condition) < length:
        await asyncio.sleep(0)


def test_sending_never_waits_and_keeps_the_order() -> None:
    async def scene() -> None:
        heard: list[FromFollower] = []
        channel = WorkerChannel(lambda _, message: heard.append(message), lambda _: None)
        for ticket in range(100):  # 10 MB, which nobody reads yet
            channel.send(follow(ticket))
        worker = LineChannel(channel.theirs)
        tickets: list[int] = []
        while len(tickets) < 100:
            try:
                tickets += [messages.to_follower.decode(line).ticket for line in worker.receive(wait=False)]
            except BlockingIOError:
                await asyncio.sleep(0)
        assert tickets == list(range(100))
        channel.theirs.close()
        channel.close()

    asyncio.run(scene())


def test_a_worker_is_heard_and_its_end_is_told_once() -> None:
    async def scene() -> None:
        heard: list[object] = []
        ends: list[object] = []
        channel = WorkerChannel(lambda _, message: heard.append(message), ends.append)
        worker = LineChannel(channel.theirs)
        worker.send(Ask(verb="bring", model="iris"))
        worker.send(Dropped(model="wine", ticket=3))
        await until(heard, 2)
        assert heard == [Ask(verb="bring", model="iris"), Dropped(model="wine", ticket=3)]
        channel.theirs.close()
        await until(ends, 1)
        channel.close()
        channel.send(follow(1))  # to nobody
        assert ends == [channel]

    asyncio.run(scene())


def test_a_message_brings_its_descriptor() -> None:
    supervisor, loader = socket.socketpair()
    ours, theirs = socket.socketpair()
    with supervisor, loader, ours:
        LineChannel(supervisor).send(Spawn(index=3), theirs.fileno())
        theirs.close()
        channel = LineChannel(loader)
        (line,) = channel.receive()
        assert messages.to_loader.decode(line) == Spawn(index=3)
        with socket.socket(fileno=channel.descriptors.popleft()) as brought:
            brought.sendall(b"here")
        assert ours.recv(16) == b"here"


def test_a_read_that_is_not_to_wait_does_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(BlockingIOError):
        list(LineChannel(ours).receive(wait=False))
