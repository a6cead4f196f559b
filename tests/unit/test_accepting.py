"""Connections of one listening socket, spread over the workers that share it."""

from __future__ import annotations

import asyncio
import errno
import functools
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dragoman.accepting import Acceptor, part


@pytest.mark.parametrize(
    ("own", "others", "waiting", "taken"),
    [
        (0, [0], 64, 32),
        (0, [0, 0, 0], 64, 16),
        (0, [0], 1, 1),  # somebody has to
        (1, [0], 1, 0),
        (1, [1], 1, 1),
        (32, [0], 32, 0),
        (0, [32], 32, 32),
        (0, [5], 2, 2),
        (2, [100, 0], 2, 0),  # the one that has a hundred gets none, and does not count
        (0, [100, 0], 2, 1),
        (3, [], 7, 7),
    ],
)
def test_a_worker_takes_what_makes_all_even(own: int, others: Sequence[int], waiting: int, taken: int) -> None:
    assert part(own, others, waiting) == taken


def test_together_workers_take_all_that_wait() -> None:
    counts, waiting = [0, 3, 9], 30
    for one in range(3):
        taken = part(counts[one], counts[:one] + counts[one + 1 :], waiting)
        counts[one], waiting = counts[one] + taken, waiting - taken
    assert (counts, waiting) == ([14, 14, 14], 0)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class Sharing:
    """Workers that listen on one socket, in one loop."""

    def __init__(self, workers: int, hung: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.counts = [0] * (workers + hung)  # those that hang have none, and take none
        self.acceptors = [self._acceptor(index) for index in range(workers)]

    def _acceptor(self, index: int) -> Acceptor:
        def tell(count: int) -> None:
            self.counts[index] = count

        def others() -> list[int]:
            return self.counts[:index] + self.counts[index + 1 :]

        class Ended(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                acceptor.ended()

        acceptor = Acceptor(self.listener.dup(), Ended, others, tell)
        return acceptor

    def connect(self, count: int) -> list[socket.socket]:
        return [socket.create_connection(self.address) for _ in range(count)]

    async def settled(self, total: int) -> list[int]:
        while sum(self.counts) != total:
            await asyncio.sleep(0.001)
        return self.counts

    async def close(self) -> None:
        for acceptor in self.acceptors:
            await acceptor.close()
        self.listener.close()


@in_a_loop
async def test_connections_that_come_at_once_are_spread_evenly() -> None:
    sharing = Sharing(4)
    clients = sharing.connect(64)
    for acceptor in sharing.acceptors:
        acceptor.start()
    async with asyncio.timeout(10):
        assert await sharing.settled(64) == [16] * 4
    await _leave(sharing, clients)


@in_a_loop
async def test_connections_that_come_one_by_one_are_spread_evenly() -> None:
    sharing = Sharing(3)
    for acceptor in sharing.acceptors:
        acceptor.start()
    clients = []
    async with asyncio.timeout(10):
        for count in range(1, 8):
            clients += sharing.connect(1)
            await sharing.settled(count)
    assert sorted(sharing.counts) == [2, 2, 3]
    await _leave(sharing, clients)


@in_a_loop
async def test_a_worker_whose_connections_have_ended_gets_the_next_ones() -> None:
    sharing = Sharing(1, hung=1)
    sharing.counts[1] = 4  # as if of a client that came before
    sharing.acceptors[0].start()
    clients = sharing.connect(4)
    async with asyncio.timeout(10):
        assert await sharing.settled(8) == [4, 4]
        for client in clients[:3]:
            client.close()
        assert await sharing.settled(5) == [1, 4]
        clients = [*clients[3:], *sharing.connect(3)]
        assert await sharing.settled(8) == [4, 4]
        sharing.counts[1] = 0
    await _leave(sharing, clients)


@in_a_loop
async def test_what_a_worker_that_hangs_does_not_take_is_taken_by_another() -> None:
    sharing = Sharing(1, hung=1)
    sharing.acceptors[0].start()
    clients = sharing.connect(20)
    async with asyncio.timeout(10):
        assert await sharing.settled(20) == [20, 0]
        clients += sharing.connect(1)  # and it listens on
        assert await sharing.settled(21) == [21, 0]
    await _leave(sharing, clients)


@in_a_loop
async def test_who_waits_when_the_socket_closes_is_still_taken() -> None:
    sharing = Sharing(1, hung=1)
    sharing.acceptors[0].start()
    clients = sharing.connect(20)
    await sharing.close()
    assert sharing.counts == [20, 0]
    await _end(sharing, clients)


@in_a_loop
async def test_a_process_that_can_hold_no_more_connections_takes_the_rest_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.accepting._RETRY_SECONDS", 0.01)
    sharing = Sharing(1)
    clients = sharing.connect(5)
    sharing.acceptors[0].start()
    async with asyncio.timeout(10):
        with _full():
            await asyncio.sleep(0.05)
            assert sharing.counts == [0]
        assert await sharing.settled(5) == [5]
    await _leave(sharing, clients)


@contextmanager
def _full() -> Iterator[None]:
    """No file can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _leave(sharing: Sharing, clients: Sequence[socket.socket]) -> None:
    await _end(sharing, clients)
    await sharing.close()


async def _end(sharing: Sharing, clients: Sequence[socket.socket]) -> None:
    for client in clients:
        client.close()
    async with asyncio.timeout(10):
        await sharing.settled(0)


@in_a_loop
async def test_an_error_of_the_network_that_accept_hands_over_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    sharing = Sharing(1, hung=1)  # the other is left its part, so that the rest is taken when the timer ends
    refused = [OSError(errno.EPROTO, "Protocol error"), OSError(errno.EPERM, "Operation not permitted")]

    class Failing:
        def __init__(self, sock: socket.socket) -> None:
            self._socket = sock

        def accept(self) -> tuple[socket.socket, Any]:
            if refused:
                raise refused.pop()
            return self._socket.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._socket, name)

    acceptor = sharing.acceptors[0]
    monkeypatch.setattr(acceptor, "_socket", Failing(acceptor._socket))
    acceptor.start()
    clients = sharing.connect(4)
    for _ in range(500):
        if sharing.counts[0] == 4:
            break
        await asyncio.sleep(0.01)
    assert not refused
    assert sharing.counts[0] == 4
    await _leave(sharing, clients)
