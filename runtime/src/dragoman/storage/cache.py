"""The cache: models by the digest of their bytes, shared by every process that uses the same folder.

    entries/<hex>/   one model: files/, entry.json, .lock (held, shared, by each process that uses it)
    drafts/<name>/   one that is being made, or thrown away; .lock is held by who does it
    refs/<hex>.json  what a URI named when it was last fetched
    turns/<hex>      who is fetching what: two processes do not fetch the same thing at once
    compiled/        what was made of models (`storage.compiled`)
    lock             held for moments: to make a draft, to publish, to take, to evict

An entry appears by one rename of a finished draft, and goes by one rename back. A draft or entry whose lock can be had has nobody.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dragoman.errors import DiskFull, InvalidSpec
from dragoman.storage.digest import PREFIX
from dragoman.storage.lock import Lock, take

_FULL = {errno.ENOSPC: "is full", errno.EDQUOT: "is over its quota", errno.EFBIG: "takes no larger file"}
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


class Entry(NamedTuple):
    """What entry.json says of a model in the cache."""

    kind: str  # "file", "folder", or "archive", unpacked
    bytes: int  # of what the digest is of
    stored_bytes: int  # of files/
    root: str  # what is the model, below files/: "" for files/ itself


class Held(NamedTuple):
    """An entry that cannot be evicted until its lock is released."""

    path: Path
    digest: str
    entry: Entry
    lock: Lock


class Draft(NamedTuple):
    """A folder of one's own; `files` is what becomes the entry's."""

    path: Path
    lock: Lock

    @property
    def files(self) -> Path:
        return self.path / "files"


class Cache:
    """Raises `DiskFull`, and `InvalidSpec` when the folder cannot be used."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root = root.absolute()
        self._limit_bytes = limit_bytes
        with self.writing(also=(errno.ENOENT,)):  # /proc, and file systems like it, so refuse a folder
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in ("entries", "drafts", "refs", "turns"):
                (self._root / part).mkdir(exist_ok=True)

    @contextlib.contextmanager
    def writing(self, also: tuple[int, ...] = ()) -> Iterator[None]:
        """Says what is wrong when a write into the cache fails; `also` are codes that here mean that it cannot be written."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                full = f"the disk of the model cache {_FULL[error.errno]}"
                raise DiskFull(f"{self._root}: {full}; free some space, or set DRAGOMAN_CACHE_DIR to a larger one") from error
            if error.errno in _CLOSED + also:
                raise InvalidSpec(
                    f"{self._root}: the model cache cannot be written ({error.strerror}); "
                    "set DRAGOMAN_CACHE_DIR or --cache-dir to a folder that can"
                ) from error
            raise

    def take(self, digest: str, name: str) -> Held | None:
        """The entry of a digest (`sha256:…`), held; None when there is none. `name` is what a single file is to be called."""
        with self.writing(), self._alone():
            return self._take(digest, name)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """A folder to make an entry in; what is left of it at the end is thrown away."""
        self.sweep()
        path = self._root / "drafts" / f"{os.getpid()}-{time.monotonic_ns()}"
        with self.writing():
            with self._alone():
                path.mkdir()
                lock = _sure(take(path / ".lock"))
            (path / "files").mkdir()
        try:
            yield Draft(path, lock)
        except BaseException:
            lock.release()
            raise
        finally:
            if path.exists():
                _remove(path)

    def publish(self, draft: Draft, digest: str, name: str, entry: Entry) -> Held:
        """Turns a finished draft into the entry of its digest, held; evicts what has to go for it."""
        _seal(draft.files, keep_open=entry.kind == "file")
        _write_synced(draft.path / "entry.json", json.dumps(entry._asdict()))
        with self._alone():
            held = self._take(digest, name)  # another process may have been faster
            if held is not None:
                draft.lock.release()
                return held
            target = self._entry_path(digest)
            if target.exists():
                self._set_aside(target)
            draft.path.rename(target)
            draft.lock.share()
            _sync_folder(target.parent)
        self.make_room(0)
        return Held(_model_path(target, entry, name), digest, entry, draft.lock)

    def make_room(self, incoming_bytes: int) -> None:
        """Evicts what was least recently used, until `incoming_bytes` more keep the bound and fit on the disk.

        What a live process holds stays, even past the bound.
        """
        victims: list[tuple[Path, Lock]] = []
        with self.writing(), self._alone():
            entries = sorted(self._entries(), key=lambda found: found[2])
            stored = sum(size for _, size, _ in entries) + _compiled_bytes(self._root)
            freed = 0
            for path, size, _ in entries:
                fits = stored - freed + incoming_bytes <= self._limit_bytes
                if fits and self._free_bytes() + freed >= incoming_bytes:
                    break
                lock = take(path / ".lock", wait=False)
                if lock is not None:
                    victims.append((self._set_aside(path), lock))
                    freed += size
            if victims:
                self._forget_refs()
        for path, lock in victims:
            _remove(path)
            lock.release()

    def require_disk(self, incoming_bytes: int) -> None:
        """Raises `DiskFull` before hours are spent on filling the disk."""
        free = self._free_bytes()
        if incoming_bytes > free:
            raise DiskFull(
                f"{self._root}: the model needs {incoming_bytes} bytes, and the disk of the model cache has {free} left; "
                "free some space, or set DRAGOMAN_CACHE_DIR to a larger one"
            )

    def sweep(self) -> None:
        """Removes drafts whose process has ended."""
        stale: list[tuple[Path, Lock]] = []
        with self.writing(), self._alone():
            for path in (self._root / "drafts").iterdir():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    lock = take(path / ".lock", wait=False)
                    if lock is not None:
                        stale.append((path, lock))
        for path, lock in stale:
            _remove(path)
            lock.release()

    def ref(self, key: str) -> tuple[str, str] | None:
        """(version, digest) of what a URI named when it was last fetched."""
        known = _read_json(self._root / "refs" / f"{key}.json")
        return (known["version"], known["digest"]) if known and {"version", "digest"} <= known.keys() else None

    def remember(self, key: str, version: str, digest: str) -> None:
        with self.writing():
            path = self._root / "refs" / f"{key}.json"
            draft = path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}")
            draft.write_text(json.dumps({"version": version, "digest": digest}))
            draft.replace(path)

    @contextlib.contextmanager
    def turn(self, key: str, waiting: Callable[[str], None]) -> Iterator[Lock]:
        """One process at a time for one key. Whoever waits is told what the other writes into the lock."""
        path = self._root / "turns" / key
        pause, told = 0.02, ""
        with self.writing():
            lock = _current(path)
        while lock is None:
            said = _read_text(path)
            if said and said != told:
                told = said
                waiting(said)
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
            with self.writing():
                lock = _current(path)
        try:
            yield lock
        finally:
            path.unlink(missing_ok=True)
            lock.release()

    def _take(self, digest: str, name: str) -> Held | None:
        path = self._entry_path(digest)
        known = _read_json(path / "entry.json")
        if known is None or known.keys() != Entry.__annotations__.keys():
            return None
        entry = Entry(**known)
        if _stored_bytes(path / "files") != entry.stored_bytes:  # somebody was at it: out of the way, and fetched again
            self._set_aside(path)
            return None
        lock = _sure(take(path / ".lock", shared=True))
        with contextlib.suppress(OSError):
            os.utime(path / "entry.json")
        return Held(_model_path(path, entry, name), digest, entry, lock)

    def _set_aside(self, path: Path) -> Path:
        """An entry among the drafts, where it is nobody's or soon to be: swept."""
        return path.rename(self._root / "drafts" / f"{path.name[:16]}-{time.monotonic_ns()}")

    def _entry_path(self, digest: str) -> Path:
        return self._root / "entries" / digest.removeprefix(PREFIX)

    def _entries(self) -> Iterator[tuple[Path, int, float]]:
        """Each entry's folder, bytes, and when it was last used."""
        for path in (self._root / "entries").iterdir():
            known = _read_json(path / "entry.json") or {}
            with contextlib.suppress(OSError):
                yield path, int(known.get("stored_bytes", 0)), (path / "entry.json").stat().st_mtime

    def _forget_refs(self) -> None:
        for path in (self._root / "refs").glob("*.json"):
            known = _read_json(path)
            if not known or not self._entry_path(str(known.get("digest"))).exists():
                path.unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        lock = _sure(take(self._root / "lock"))
        try:
            yield
        finally:
            lock.release()


def _compiled_bytes(root: Path) -> int:
    if not (root / "compiled").is_dir():
        return 0
    from dragoman.storage import compiled  # what it reads with is heavy for a process that only fetches

    return compiled.stored_bytes(root)


def _sure(lock: Lock | None) -> Lock:
    if lock is None:
        raise AssertionError("a lock that is waited for is had")
    return lock


def _current(path: Path) -> Lock | None:
    """The lock on a file that whoever had it removes: had in vain when the path no longer names it."""
    lock = take(path, wait=False)
    if lock is not None and not lock.names(path):
        lock.release()
        return None
    return lock


def _model_path(entry_path: Path, entry: Entry, name: str) -> Path:
    files = entry_path / "files"
    if entry.kind != "file":
        return files / entry.root if entry.root else files
    wanted = files / name
    if wanted.exists():
        return wanted
    there = next(files.iterdir(), wanted)
    try:
        os.link(there, wanted)
    except OSError:  # a file system without links: the name is only a help
        return there
    return wanted


def _seal(files: Path, *, keep_open: bool) -> None:
    """Makes everything read-only and puts it on the disk, so that an entry is whole even after a power cut."""
    for folder, _, names in os.walk(files, topdown=False):
        for name in names:
            path = Path(folder, name)
            path.chmod(0o444)
            _sync(path, os.O_RDONLY)
        _sync_folder(Path(folder))
        if not (keep_open and folder == str(files)):  # a single file may get a second name later
            Path(folder).chmod(0o555)


def _stored_bytes(files: Path) -> int:
    """Bytes of all files, each once, whatever its names."""
    found = {(s.st_dev, s.st_ino): s.st_size for folder, _, names in os.walk(files) for s in (Path(folder, name).stat() for name in names)}
    return sum(found.values())


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(_read_text(path))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _write_synced(path: Path, text: str) -> None:
    path.write_text(text)
    _sync(path, os.O_RDONLY)


def _sync_folder(path: Path) -> None:
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    """Removes a folder, read-only parts and all; what another process removes at the same time is no matter."""
    import shutil

    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
