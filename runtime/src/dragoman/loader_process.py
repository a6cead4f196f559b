"""The loader as the supervisor sees it: a child process and the channel to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from dragoman import messages
from dragoman.heartbeat import Heartbeats
from dragoman.messages import Boot, FromLoader, LineChannel, Message

_REAP_SECONDS = 0.02  # between looks at a child that is to end

logger = logging.getLogger("dragoman")


class LoaderProcess:
    """Started once by a fork, before the supervisor's event loop; replaced by fresh processes."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = LineChannel(channel)
        self._ended: int | None = None
        self.loading: str | None = None  # the model it is at
        self.loading_since = 0.0  # time.monotonic()

    @classmethod
    def fork(
        cls, boot: Boot, listener: socket.socket, reports: socket.socket, heartbeats: Heartbeats, leave: Callable[[], None]
    ) -> LoaderProcess:
        """A copy of this process becomes the loader. `leave` lets go, in the child, of what is the supervisor's alone."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ours.close()
                leave()
                from dragoman import loader
                from dragoman.sockets import Sockets

                loader.run(boot, theirs, Sockets(listener, reports, boot.lifeline_fd, boot.grpc_address), heartbeats)
                code = 0
            except BaseException:
                logger.exception("the loader failed")
            finally:
                os._exit(code)
        theirs.close()
        return cls(pid, ours)

    @classmethod
    def fresh(cls, boot: Boot) -> LoaderProcess:
        from dragoman.fresh import start

        ours, theirs = socket.socketpair()
        with theirs:
            pid = start(msgspec.structs.replace(boot, role="loader", channel_fd=theirs.fileno())).pid
        return cls(pid, ours)

    def listen(self, on_message: Callable[[FromLoader], None], on_end: Callable[[int], None]) -> None:
        """Hand each message over as it comes, on the running event loop; at the end, the status as waitpid gives it."""
        asyncio.get_running_loop().add_reader(self._channel.socket, self._read, on_message, on_end)

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """With a descriptor, it is given one of its own of the same file."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, OSError):  # it has ended: `on_end` will say so
            self._channel.send(message, descriptor)

    def kill(self) -> None:
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the channel, which tells it to end, and wait for it: for one that has ended or was killed."""
        self._end()

    async def stop(self, grace_seconds: float) -> None:
        """Tell it to end, by closing the channel. One that is at a model does not hear that: it is killed after so long."""
        if self._ended is not None:
            return
        if self._channel.socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel.socket)
            self._channel.socket.close()
        due = time.monotonic() + grace_seconds
        while not self._has_ended():
            if time.monotonic() > due:
                self.kill()
            await asyncio.sleep(_REAP_SECONDS)

    def _has_ended(self) -> bool:
        if self._ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = status
        return self._ended is not None

    def _read(self, on_message: Callable[[FromLoader], None], on_end: Callable[[int], None]) -> None:
        try:
            for line in self._channel.receive():
                on_message(messages.from_loader.decode(line))
        except (EOFError, ConnectionResetError):
            on_end(self._end())

    def _end(self) -> int:
        """Its status, once it has ended; ended twice is ended."""
        if self._ended is None:
            if self._channel.socket.fileno() >= 0:  # else `stop` closed it
                asyncio.get_running_loop().remove_reader(self._channel.socket)
                self._channel.socket.close()
            _, self._ended = os.waitpid(self.pid, 0)
        return self._ended
