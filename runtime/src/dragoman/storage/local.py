"""Reads a model from the local disk: a copy is made, so that what is loaded is what was checked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import time
from pathlib import Path

from dragoman.errors import AccessDenied, ModelNotFound, UnsupportedFormat
from dragoman.storage.digest import CHUNK_BYTES, file_digest, files_of, regular
from dragoman.storage.disk import Writer
from dragoman.storage.failures import Changed
from dragoman.storage.request import Bounds
from dragoman.storage.source import Listing, Object, Report, place, settled
from dragoman.storage.uri import Location

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file


class Local:
    def __init__(self, location: Location, bounds: Bounds, report: Report) -> None:
        self._location = location
        self._bounds = bounds
        self._report = report

    def listing(self) -> Listing:
        """Raises `ModelNotFound`, `AccessDenied`, `InvalidSpec` (a pipe, a device), `UnsupportedFormat` (names, too many files)."""
        path, uri = self._location.path, self._location.uri
        try:
            if path.is_dir():
                files = files_of(path)
                if not files:
                    raise ModelNotFound(f"{uri}: the folder is empty; give the one that holds the model's files")
                if len(files) > self._bounds.files:
                    raise UnsupportedFormat(f"{uri}: holds more than {self._bounds.files} files; give the folder of one model")
                return Listing(False, tuple(_object(name, file) for name, file in files))
            if not path.exists():
                raise ModelNotFound(f"{uri}: no such file or folder{_from_here(path)}")
            if self._location.folder:
                raise ModelNotFound(f"{uri}: is a file and not a folder; leave out the '/' at its end")
            return Listing(True, (_object(self._location.name, regular(path)),))
        except PermissionError as error:
            raise AccessDenied(f"{uri}: {error.filename} cannot be read; change its permissions, or the user that serves it") from error

    def copy(self, listing: Listing, into: Path) -> list[tuple[str, str]]:
        self._report.begin(listing.bytes)
        copied = []
        for wanted in listing.objects:
            copied.append((wanted.name, self._copy_one(wanted, place(into, wanted.name, self._location.uri))))
        self._report.flush(final=True)
        return copied

    def _copy_one(self, wanted: Object, target: Path) -> str:
        try:
            source = Path(wanted.key).open("rb", buffering=0)  # noqa: SIM115  its own errors are told apart
        except PermissionError as error:
            raise AccessDenied(f"{wanted.key}: cannot be read; change its permissions, or the user that serves it") from error
        except FileNotFoundError:
            raise Changed from None
        with source, target.open("r+b", buffering=0) as sink:
            before = _version(os.fstat(source.fileno()))
            if _clone(source.fileno(), sink.fileno()):
                digest = file_digest(target)
                self._report.add(wanted.size)
            else:
                digest = self._stream(source.fileno(), sink.fileno())
            written = sink.seek(0, os.SEEK_END)
        if not before == _version_at(Path(wanted.key)) == (wanted.version or before) or written != wanted.size:
            raise Changed
        return digest

    def _stream(self, source: int, sink: int) -> str:
        digest, writer, whole = hashlib.sha256(), Writer(sink), memoryview(bytearray(CHUNK_BYTES))
        while count := os.readv(source, [whole]):
            digest.update(whole[:count])
            writer.write(whole[:count])
            self._report.add(count)
            self._report.flush()
        return digest.hexdigest()


def _object(name: str, path: Path) -> Object:
    found = path.stat()
    changed = max(found.st_mtime, found.st_ctime)
    return Object(name, str(path), found.st_size, _version(found) if settled(changed, time.time()) else None)


def _version(found: os.stat_result) -> str:
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def _version_at(path: Path) -> str | None:
    try:
        return _version(path.stat())
    except OSError:
        return None


def _clone(source: int, sink: int) -> bool:
    """Shares the blocks of the source, where the file system can: no time, no space."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(sink, _FICLONE, source)
    except OSError:
        return False
    return True


def _from_here(path: Path) -> str:
    return "" if path.is_absolute() else f" (looked in {Path.cwd()})"
