"""Where answers are written: a file that is there whole or not at all, or a stream."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from dragoman.errors import DiskFull, InvalidSpec


def refuse_overwriting(output: Path, sources: Sequence[Path]) -> None:
    """`InvalidSpec` where the output is one of the sources, by whatever name, or could not be made."""
    if output.is_dir():
        raise InvalidSpec(f"--output {output}: is a folder; give a file's name")
    if not output.parent.is_dir():
        raise InvalidSpec(f"--output {output}: there is no folder {output.parent}")
    for source in sources:
        if output.exists() and source.exists() and output.samefile(source):
            raise InvalidSpec(f"--output {output}: is what is read ({source}); give another name")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path`, which takes its place when the block ends well, and is gone otherwise.

    What is no regular file (a pipe, a device) is written to as it is. Raises `DiskFull`, and `InvalidSpec` where it may not be written.
    """
    target = path.resolve()
    try:
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as file:
                yield file
            return
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, PermissionError) and str(error.filename).startswith(str(target.parent)):
            raise InvalidSpec(f"--output {path}: may not be written: {error.strerror}") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"--output {path}: no space left on the disk; nothing was written") from error
        raise
