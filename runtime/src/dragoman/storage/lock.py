"""Locks between processes: `flock`, which ends with the process that holds it, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from dragoman.errors import InvalidSpec

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class Lock:
    """A lock that is held until it is released. A process that is forked meanwhile holds it too."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def share(self) -> None:
        """From exclusive to shared: not in one step, so only where nobody else can be trying."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def names(self, path: Path) -> bool:
        """Whether the file that is locked is the one that has this path now."""
        try:
            there = path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._fd) if self._fd is not None else None
        return here is not None and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def write(self, text: str) -> None:
        """Says something to those who wait: replaces the lock file's content."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)


def take(path: Path, *, shared: bool = False, wait: bool = True) -> Lock | None:
    """The lock on a file, made when missing; None when it is held elsewhere and `wait` is off. Raises `OSError`, `InvalidSpec`."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        if error.errno in _UNSUPPORTED:
            raise InvalidSpec(
                f"{path.parent}: its file system has no locks ({error.strerror}); set DRAGOMAN_CACHE_DIR to a folder on another"
            ) from error
        raise
    return Lock(fd)
