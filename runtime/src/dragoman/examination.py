"""Examining a model in a process of its own, which loads it, predicts with it, tells what it saw, and ends.

What such a child does to itself (threads that OpenMP starts, memory that it takes, a crash) is gone with it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from dragoman import cgroup, messages
from dragoman.errors import LoadTimeout, ModelLoadFailed, OutOfMemory, ServeError
from dragoman.examined import Examined
from dragoman.manifest import ModelDeployment
from dragoman.messages import Boot, Load

CANARY_SECONDS = 60.0  # a forked child must have predicted one row by then

_SHARED = frozenset(["numpy", "scipy", "pandas", "joblib", "sklearn", "xgboost", "lightgbm", "cloudpickle"])  # may be forked once imported

logger = logging.getLogger("dragoman.loader")


class CanaryDied(Exception):
    """The child that was to predict did not come back: killed, crashed, or hung."""


class Examination:
    """One child at work. Whoever waits for `pipe` to be readable calls `read`; the child's status is told by whoever reaps it."""

    def __init__(self, pid: int, pipe: int, limit_seconds: float | None) -> None:
        self.pid, self.pipe, self.started, self._limit = pid, pipe, time.monotonic(), limit_seconds
        self._chunks: list[bytes] = []
        self._status: int | None = None
        self._whole = False
        self._late = False
        self._oom_kills = cgroup.oom_kills()

    @classmethod
    def fork(cls, work: Callable[[], Examined], limit_seconds: float | None, leave: Callable[[], None]) -> Examination:
        """`leave` lets go, in the child, of what is its parent's."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                leave()
                os.close(read)
                with os.fdopen(write, "wb") as out:
                    out.write(msgspec.json.encode(examine_safely(work)))
                code = 0
            except BrokenPipeError:  # its parent is gone: another one asks again
                code = 1
            except BaseException:
                logger.exception("examining the model failed")
            finally:
                os._exit(code)
        os.close(write)
        return cls(pid, read, limit_seconds)

    @classmethod
    def fresh(cls, boot: Boot, load: Load, limit_seconds: float | None) -> Examination:
        from dragoman.fresh import start

        child = start(msgspec.structs.replace(boot, role="examine", channel_fd=-1, loads=[load]), capture=True)
        assert child.stdout is not None
        read = os.dup(child.stdout.fileno())
        child.stdout.close()
        return cls(child.pid, read, limit_seconds)

    @property
    def remaining(self) -> float | None:
        """Seconds until it takes too long; None where it may take for ever."""
        return None if self._limit is None or self._late else max(0.0, self.started + self._limit - time.monotonic())

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
        self._late = True
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Examined:
        """Until it is done. Raises `CanaryDied`."""
        while self.reading:
            if select.select([self.pipe], [], [], self.remaining)[0]:
                self.read()
            else:
                self.expire()
        self.ended(os.waitpid(self.pid, 0)[1])
        return self.result()

    def result(self) -> Examined:
        """Of one that is done. Raises `CanaryDied`."""
        assert self._status is not None
        if self._late:
            raise CanaryDied(f"a predict in a forked process did not end within {self._limit:g} s")
        if self._status != 0:
            raise CanaryDied(messages.described(self._status))
        return msgspec.json.decode(b"".join(self._chunks), type=Examined)

    def verdict(self, name: str) -> Examined:
        """As `result`, and with the reason why there is none. `name`: of the model's file, for messages."""
        try:
            return self.result()
        except CanaryDied as died:
            error: ServeError = ModelLoadFailed(f"{name}: the process that loaded it ended: {died}")
            now = cgroup.oom_kills()
            if self._late:
                error = LoadTimeout(f"{name} was not loaded within {self._limit:g} s (serving.limits.loadTimeoutSeconds)")
            elif self._oom_kills is not None and (now or 0) > self._oom_kills:
                error = OutOfMemory(f"the kernel ended the process that loaded {name}: give the pod more memory")
            return Examined(reason=error.reason, message=error.message)


def begin(boot: Boot, load: Load, manifest: ModelDeployment, limit_seconds: float | None, leave: Callable[[], None]) -> Examination:
    """Load, and predict, in a child: forked, or fresh where processes are not to be forked."""
    if not boot.settings.fork:
        return Examination.fresh(boot, load, limit_seconds)
    return Examination.fork(lambda: loaded_and_examined(load, manifest, boot), limit_seconds, leave)


def loaded_and_examined(load: Load, manifest: ModelDeployment, boot: Boot) -> Examined:
    from dragoman import loading

    before = set(sys.modules)
    examined = loading.examine(load, manifest, loading.load_model(load, manifest, boot.settings))
    libraries = [name for name in sys.modules if name not in before and name.partition(".")[0] in _SHARED]
    return msgspec.structs.replace(examined, libraries=libraries)


def examine_safely(work: Callable[[], Examined]) -> Examined:
    """The child's result, or its `ServeError` as a value."""
    try:
        return work()
    except ServeError as error:
        return Examined(reason=error.reason, message=error.message)


def leave_parent(*sockets: socket.socket) -> None:
    """In a forked child: the parent's signal handling and private sockets are not the child's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for sock in sockets:
        sock.close()
