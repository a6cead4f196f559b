"""The loader as the supervisor sees it: a child process and the channel to it. Sending never blocks: one that loads does not read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

import msgspec

from dragoman import messages
from dragoman.heartbeat import Heartbeats
from dragoman.messages import Boot, FromLoader, LineChannel, Message, encode

_REAP_SECONDS = 0.02  # between looks at a child that is to end

logger = logging.getLogger("dragoman")


class LoaderProcess:
    """Started once by a fork, before the supervisor's event loop; replaced by fresh processes."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        channel.setblocking(False)
        self._channel = LineChannel(channel)
        self._unsent: deque[tuple[bytes, int | None]] = deque()  # lines, and what descriptor goes with each
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
        if self._channel.socket.fileno() >= 0:
            self._unsent.append((encode(message) + b"\n", None if descriptor is None else os.dup(descriptor)))
            if len(self._unsent) == 1:
                self._flush()

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
            self._hang_up()
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

    def _flush(self) -> None:
        """What the socket takes now; the rest when it takes more."""
        sock, loop = self._channel.socket, asyncio.get_running_loop()
        try:
            with contextlib.suppress(BlockingIOError):
                while self._unsent:
                    line, descriptor = self._unsent[0]
                    sent = sock.send(line) if descriptor is None else socket.send_fds(sock, [line], [descriptor])
                    self._sent(sent)
        except OSError:  # it has ended: `on_end` will say so
            self._forget_unsent()
        if self._unsent:
            loop.add_writer(sock, self._flush)
        else:
            loop.remove_writer(sock)

    def _sent(self, count: int) -> None:
        """So many bytes of the first line are gone, and its descriptor with the first of them."""
        line, descriptor = self._unsent.popleft()
        if descriptor is not None:
            os.close(descriptor)
        if count < len(line):
            self._unsent.appendleft((line[count:], None))

    def _forget_unsent(self) -> None:
        while self._unsent:
            self._sent(len(self._unsent[0][0]))

    def _hang_up(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel.socket)
        loop.remove_writer(self._channel.socket)
        self._channel.socket.close()
        self._forget_unsent()

    def _read(self, on_message: Callable[[FromLoader], None], on_end: Callable[[int], None]) -> None:
        try:
            for line in self._channel.receive():
                on_message(messages.from_loader.decode(line))
        except BlockingIOError:
            pass
        except (EOFError, ConnectionResetError):
            on_end(self._end())

    def _end(self) -> int:
        """Its status, once it has ended; ended twice is ended."""
        if self._ended is None:
            if self._channel.socket.fileno() >= 0:  # else `stop` closed it
                self._hang_up()
            _, self._ended = os.waitpid(self.pid, 0)
        return self._ended
