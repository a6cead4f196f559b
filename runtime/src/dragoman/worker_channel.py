"""The supervisor's end of the channel to one worker. Sending never blocks: a worker that unpickles does not read for seconds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from dragoman import messages
from dragoman.messages import FromFollower, LineChannel, Message, encode


class WorkerChannel:
    """One for each process. `on_message` hears the worker; `on_end` is called once, when it or its last descriptor is gone."""

    def __init__(self, on_message: Callable[[WorkerChannel, FromFollower], None], on_end: Callable[[WorkerChannel], None]) -> None:
        self._socket, self.theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._lines = LineChannel(self._socket)
        self._pending = bytearray()
        self._on_message, self._on_end = on_message, on_end
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def send(self, message: Message) -> None:
        if self._socket.fileno() < 0:
            return
        idle = not self._pending
        self._pending += encode(message) + b"\n"
        if idle:
            self._flush()

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        self._on_end(self)

    def _flush(self) -> None:
        try:
            with contextlib.suppress(BlockingIOError):
                del self._pending[: self._socket.send(self._pending)]
        except OSError:  # it has ended: reading says so
            self._pending.clear()
        loop = asyncio.get_running_loop()
        if self._pending:
            loop.add_writer(self._socket, self._flush)
        else:
            loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            for line in self._lines.receive():
                self._on_message(self, messages.from_follower.decode(line))
        except BlockingIOError:
            pass
        except (EOFError, ConnectionResetError):
            self.close()
