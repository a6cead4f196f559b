"""Writes large files: whole pieces, put on the disk as they grow."""

from __future__ import annotations

import os

FLUSH_BYTES = 64 * 1024 * 1024


class Writer:
    """Writes to a descriptor from its start. Every 64 MiB go to the disk before more is taken, so that publishing the file need not
    wait for all of it at once, nor a container's memory fill with what is not written yet."""

    def __init__(self, fd: int) -> None:
        self.written = 0
        self._fd = fd
        self._unflushed = 0

    def write(self, piece: memoryview) -> None:
        self._unflushed += len(piece)
        self.written += len(piece)
        while piece:
            piece = piece[os.write(self._fd, piece) :]
        if self._unflushed >= FLUSH_BYTES:
            os.fsync(self._fd)
            self._unflushed = 0
