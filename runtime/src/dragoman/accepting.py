"""Taking connections off the listening socket that all workers share: each worker its part of them, and no more.

All workers are woken by a connection that waits, and asyncio's own servers then take what they find: of 64 connections that a client opens
at once and keeps, all 64 may end at one worker of two. So each worker says in shared memory how many it has, and leaves to the others what
would be more than its part; what they have not taken a moment later, one that hangs among them, it takes after all.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
import struct
from collections.abc import Callable, Sequence

BACKLOG = 2048
PATIENCE_SECONDS = 0.02  # how long a connection is left to workers that have fewer
_LOOK_SECONDS = 0.001  # pause between looks at what is left to others
_RETRY_SECONDS = 1.0  # before connections are taken again when the process can hold no more
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UNACKED = 24  # Linux, struct tcp_info: where tcpi_unacked is, which of a listening socket is how many connections wait

logger = logging.getLogger("dragoman.http")


class Acceptor:
    """One worker's hand on the listening socket.

    `others` gives how many connections each of the other workers has, `tell` lets them know how many this one has.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        others: Callable[[], Sequence[int]] = lambda: (),
        tell: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._socket, self._protocol, self._others, self._tell = sock, protocol, others, tell
        self._open = 0
        self._beginning: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None  # runs while the loop does not watch the socket
        self._left_since: float | None = None  # loop.time() since when something waits that is left to others
        self._poll = select.poll()

    def start(self) -> None:
        self._socket.listen(BACKLOG)
        self._socket.setblocking(False)
        self._poll.register(self._socket, select.POLLIN)
        self._watch()

    def ended(self) -> None:
        """A connection that was taken here is closed."""
        self._open -= 1
        self._tell(self._open)

    async def close(self) -> None:
        """Listens no more; whoever waits already is still taken, as far as there is room."""
        if self._timer is None:
            asyncio.get_running_loop().remove_reader(self._socket)
        else:
            self._timer.cancel()
        self._take(BACKLOG)
        self._socket.close()
        await asyncio.gather(*self._beginning)

    def _watch(self) -> None:
        self._timer = self._left_since = None
        asyncio.get_running_loop().add_reader(self._socket, self._on_waiting)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        """The socket is not watched for so long."""
        loop = asyncio.get_running_loop()
        if self._timer is None:
            loop.remove_reader(self._socket)
        self._timer = loop.call_later(seconds, then)

    def _on_waiting(self) -> None:
        others = self._others()
        waiting = _waiting(self._socket) if others else BACKLOG
        own = part(self._open, others, waiting)
        if not self._take(own):
            self._pause(_RETRY_SECONDS, self._watch)
        elif own < waiting:  # the socket stays readable until another worker has taken the rest: not to be woken again and again
            self._left_since = asyncio.get_running_loop().time()
            self._pause(_LOOK_SECONDS, self._on_left)

    def _on_left(self) -> None:
        """A look at what was left to others."""
        now = asyncio.get_running_loop().time()
        if not self._poll.poll(0) or self._left_since is None:
            self._watch()
            return
        waiting = _waiting(self._socket)
        own = waiting if now - self._left_since >= PATIENCE_SECONDS else part(self._open, self._others(), waiting)
        if not self._take(own):
            self._pause(_RETRY_SECONDS, self._watch)
        elif own < waiting:
            self._pause(_LOOK_SECONDS, self._on_left)
        else:
            self._watch()

    def _take(self, most: int) -> bool:
        """Takes at most so many. False: this process can hold no more connections."""
        loop = asyncio.get_running_loop()
        for _ in range(most):
            try:
                connection = self._socket.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # accept(2) hands over errors of the network as well, which are the connection's
                logger.warning("no connection can be taken: %s", error)
                if error.errno in _NO_ROOM:
                    return False
                break
            connection.setblocking(False)
            self._open += 1
            self._tell(self._open)
            beginning = loop.create_task(self._begin(connection))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)
        return True

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:  # it is gone already
            connection.close()
            self.ended()


def part(own: int, others: Sequence[int], waiting: int) -> int:
    """How many of those that wait a worker takes that has `own` connections, so that all workers come to have as many."""
    fellows = list(others)
    while True:
        even = -(-(own + sum(fellows) + waiting) // (len(fellows) + 1))
        if all(count <= even for count in fellows):
            return max(0, min(waiting, even - own))
        fellows = [count for count in fellows if count <= even]  # who has more is to get none


def _waiting(sock: socket.socket) -> int:
    """How many connections wait on a listening socket, or 1 where the system does not say."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return 1
    try:
        found: int = struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, option, _UNACKED + 4), _UNACKED)[0]
    except (OSError, struct.error):
        return 1
    return found or 1
