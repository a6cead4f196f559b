"""Short-lived children of the loader: forked or fresh, bounded in time, their answer read from a pipe."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import IO, TypeAlias

from dragoman import cgroup, messages
from dragoman.messages import Boot

Out: TypeAlias = IO[bytes]
Leave: TypeAlias = Callable[[], None]  # lets go, in a forked child, of what is its parent's

logger = logging.getLogger("dragoman.loader")


class ChildDied(Exception):
    """It did not come back with an answer: killed, crashed, or too late."""


class Child:
    """One child at work. Whoever waits for `pipe` to be readable calls `read`; the child's status is told by whoever reaps it."""

    def __init__(self, pid: int, pipe: int, limit_seconds: float | None) -> None:
        self.pid, self.pipe, self.started, self.limit_seconds = pid, pipe, time.monotonic(), limit_seconds
        self.late = False
        self._chunks: list[bytes] = []
        self._status: int | None = None
        self._whole = False
        self._oom_kills = cgroup.oom_kills()

    @property
    def remaining(self) -> float | None:
        """Seconds until it takes too long; None where it may take for ever."""
        return None if self.limit_seconds is None or self.late else max(0.0, self.started + self.limit_seconds - time.monotonic())

    @property
    def done(self) -> bool:
        return self._whole and self._status is not None

    def read(self) -> None:
        chunk = os.read(self.pipe, 1 << 16)
        if chunk:
            self._chunks.append(chunk)
        else:
            os.close(self.pipe)
            self._whole = True

    @property
    def reading(self) -> bool:
        return not self._whole

    def ended(self, status: int) -> None:
        """As waitpid gives it."""
        self._status = status

    def expire(self) -> None:
        """It took too long."""
        self.late = True
        self.kill()

    def kill(self) -> None:
        """Whoever reaps it is still to be told of its end."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Until it is done."""
        while self.reading:
            if select.select([self.pipe], [], [], self.remaining)[0]:
                self.read()
            else:
                self.expire()
        self.ended(os.waitpid(self.pid, 0)[1])

    @property
    def said(self) -> bytes:
        """So far."""
        return b"".join(self._chunks)

    def answer(self) -> bytes:
        """Of one that is done. Raises `ChildDied`."""
        assert self._status is not None
        if self._status != 0:
            raise ChildDied(messages.described(self._status))
        return self.said

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a process of this container for memory since it began."""
        return self._oom_kills is not None and (cgroup.oom_kills() or 0) > self._oom_kills


def forked(work: Callable[[Out], None], leave: Leave) -> tuple[int, int]:
    """(pid, pipe) of a child that writes its answer. `leave` lets go, in the child, of what is its parent's."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            leave()
            os.close(read)
            with os.fdopen(write, "wb") as out:
                work(out)
            code = 0
        except BrokenPipeError:  # its parent is gone: another one asks again
            code = 1
        except BaseException:
            logger.exception("a child of the loader failed")
        finally:
            os._exit(code)
    os.close(write)
    return pid, read


def fresh(boot: Boot) -> tuple[int, int]:
    """(pid, pipe) of a child that starts in the role that `boot` names, and writes its answer to its standard output."""
    from dragoman.fresh import start

    child = start(boot, capture=True)
    assert child.stdout is not None
    read = os.dup(child.stdout.fileno())
    child.stdout.close()
    return child.pid, read


def leave_parent(*sockets: socket.socket) -> None:
    """In a forked child: the parent's signal handling and private sockets are not the child's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for sock in sockets:
        sock.close()
