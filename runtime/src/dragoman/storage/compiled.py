"""Compiled models, kept in the model cache's folder beside the models: what was made once is not made again.

    compiled/<key>/         one: model/ (what was made; empty where there is a reason why not), entry.json, .lock (held, shared, while used)
    compiled/.draft-…/      one that is being made, or thrown away; .lock is held by who does it
    compiled/.attempts/     how often making one of some bytes ended its process, by the bytes' digest

They take at most a tenth of the cache's bound, least recently used out, and count towards it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dragoman.compiled import Compiled
from dragoman.errors import ServeError
from dragoman.storage.digest import PREFIX, digest_of
from dragoman.storage.lock import Lock, take

FOLDER = "compiled"
_SHARE = 10  # of the cache's bound, one in so many bytes
_ATTEMPTS = 2  # that ended their process, after which there is no other
_FORGET_SECONDS = 24 * 3600.0  # after which an attempt is forgotten


class _Entry(msgspec.Struct, frozen=True):
    compiled: Compiled
    digest: str  # of model/
    bytes: int


class CompiledModels:
    """`scratch`: where they go when the cache cannot be written; it ends with the server."""

    def __init__(self, cache: Path, cache_bytes: int, scratch: Path) -> None:
        self._roots = (cache.absolute() / FOLDER, scratch.absolute() / FOLDER)
        self._limit_bytes = cache_bytes // _SHARE

    def find(self, key: str) -> tuple[Path, Compiled] | None:
        """The folder, and what it came to; None where there is none, or one that is not whole: that is thrown away."""
        for root in self._roots:
            path = root / key
            try:
                entry = _told(path)
                whole = digest_of(path / "model") == entry.digest
            except FileNotFoundError:
                whole = not path.exists()
                if whole:
                    continue
            except (OSError, ServeError, msgspec.MsgspecError):
                whole = False
            if not whole:
                _discard(path, broken=True)
                continue
            with contextlib.suppress(OSError):
                os.utime(path / "entry.json")
            return path / "model", entry.compiled
        return None

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty folder to make one in; what is left of it at the end is thrown away. Raises `OSError` where no place is to be had."""
        path, lock = self._drafted()
        try:
            (path / "model").mkdir()
            yield path / "model"
        finally:
            shutil.rmtree(path, ignore_errors=True)
            lock.release()

    def publish(self, draft: Path, key: str, compiled: Compiled) -> Path:
        """The draft becomes the entry of this key, by one rename; the least recently used go. Gives the folder."""
        path = draft.parent
        if compiled.reason:
            shutil.rmtree(draft)
            draft.mkdir()
        size = _bytes_of(draft)
        (path / "entry.json").write_bytes(msgspec.json.encode(_Entry(compiled, digest_of(draft), size)))
        target = path.parent / key
        try:
            path.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if self.find(key) is None:  # not whole, and gone now; otherwise another process was faster
                path.rename(target)
        self._make_room(target)
        return target / "model"

    def hold(self, folder: Path) -> Lock | None:
        """What `find` or `publish` gave stays until the lock is released; None where it cannot be locked, or is gone."""
        try:
            return take(folder.parent / ".lock", shared=True, wait=False)
        except (OSError, ServeError):
            return None

    def attempt(self, digest: str) -> bool:
        """Whether making one of these bytes may be attempted: not where that has ended its process, or the container, again and again.

        It counts as such an attempt until `attempted` is called.
        """
        file = self._attempts(digest)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for old in file.parent.iterdir():
                if time.time() - old.stat().st_mtime > _FORGET_SECONDS:
                    old.unlink(missing_ok=True)
            before = len(file.read_bytes()) if file.exists() else 0
            if before >= _ATTEMPTS:
                return False
            with file.open("ab") as out:
                out.write(b".")
        except OSError:  # a cache that cannot be written cannot tell
            return True
        return True

    def attempted(self, digest: str) -> None:
        """The attempt has ended by itself, or was ended on purpose."""
        with contextlib.suppress(OSError):
            self._attempts(digest).unlink(missing_ok=True)

    def _attempts(self, digest: str) -> Path:
        return self._roots[0] / ".attempts" / digest.removeprefix(PREFIX)

    def _drafted(self) -> tuple[Path, Lock]:
        problem: OSError | ServeError | None = None
        for root in self._roots:
            path = root / f".draft-{os.getpid()}-{time.monotonic_ns()}"
            try:
                root.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sweep(root)
                path.mkdir()
                lock = take(path / ".lock", shared=True)
            except (OSError, ServeError) as error:
                problem = error
                continue
            assert lock is not None
            return path, lock
        assert problem is not None
        raise problem

    def _make_room(self, new: Path) -> None:
        """Evicts what was least recently used and nobody holds, until the rest keeps the bound; the new one stays."""
        entries = []
        for path in new.parent.iterdir():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                if not path.name.startswith("."):
                    entries.append(((path / "entry.json").stat().st_mtime, _told(path).bytes, path))
        stored = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if stored <= self._limit_bytes:
                break
            if path != new and _discard(path):
                stored -= size


def stored_bytes(cache: Path) -> int:
    """Of all compiled models in a cache's folder."""
    total = 0
    with contextlib.suppress(OSError):
        for path in (cache / FOLDER).iterdir():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                total += _told(path).bytes
    return total


def _told(path: Path) -> _Entry:
    return msgspec.json.decode((path / "entry.json").read_bytes(), type=_Entry)


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sweep(root: Path) -> None:
    """Removes drafts whose process has ended."""
    for path in root.glob(".draft-*"):
        with contextlib.suppress(OSError, ServeError):
            lock = take(path / ".lock", wait=False)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                lock.release()


def _discard(path: Path, *, broken: bool = False) -> bool:
    """Takes an entry away, by one rename, unless it is held; a broken one, of no use to who holds it, even then."""
    with contextlib.suppress(OSError, ServeError):
        lock = None if broken else take(path / ".lock", wait=False)
        if lock is not None or broken:
            aside = path.rename(path.parent / f".draft-{path.name[:16]}-{time.monotonic_ns()}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.unlink(missing_ok=True) if aside.is_file() else None
            if lock is not None:
                lock.release()
            return True
    return False
