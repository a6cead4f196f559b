"""Reads a model from an object store or a web server: streams to disk, in parallel parts, each going on where it broke off.

Nothing is mixed: every answer must be of the same version (ETag, else time of change and size), and a storage that tells no version
is read in one go, from the start again when that breaks. Memory: a few chunks a stream, whatever the model's size.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import obstore

from dragoman.errors import InvalidSpec, ModelNotFound, StorageUnavailable, UnsupportedFormat
from dragoman.storage.digest import CHUNK_BYTES
from dragoman.storage.failures import Broken, Changed, RangesIgnored, failure
from dragoman.storage.names import relative_name
from dragoman.storage.request import Bounds
from dragoman.storage.source import Listing, Object, Report, place, settled
from dragoman.storage.store import Opened
from dragoman.storage.uri import Location

PART_BYTES = 16 * 1024 * 1024
STREAMS = 4
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 10.0
_WAIT_SECONDS = 0.1

T = TypeVar("T")


@dataclass(eq=False)
class _Part:
    """A piece of an object, for one stream."""

    of: Object
    path: Path
    start: int
    end: int
    done: bool = False


@dataclass(eq=False)
class _Work:
    """What the streams of one copy share."""

    waiting: deque[_Part]
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def stop(self, error: BaseException | None = None) -> None:
        with self.changed:
            self.error = self.error or error
            self.stopped.set()
            self.changed.notify_all()


class Remote:
    def __init__(
        self,
        location: Location,
        opened: Opened,
        bounds: Bounds,
        report: Report,
        *,
        ranges: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._location = location
        self._store, self._path = opened.store, opened.path
        self._bounds = bounds
        self._report = report
        self._ranges = ranges
        self._jitter = jitter
        self._first: Any = None  # the answer that told what there is, whose body is not read yet

    def listing(self) -> Listing:
        """Asks for the object itself; where there is none, for what is below it."""
        if not self._location.folder:
            try:
                self._first = self._retried(lambda: self._get(self._path, {}))
            except ModelNotFound:
                if self._location.scheme in ("http", "https"):
                    raise
            else:
                self._require_file(self._first)
                return Listing(True, (_object(self._location.name, self._path, self._first.meta),))
        elif self._location.scheme in ("http", "https"):
            raise InvalidSpec(
                f"{self._location.uri}: a folder cannot be listed over {self._location.scheme}; pack the model as .tar.gz or .zip"
            )
        objects = self._retried(self._list)
        if not objects:
            raise ModelNotFound(f"{self._location.uri}: not found: neither an object nor any below it; check the URI")
        return Listing(False, objects)

    def _require_file(self, answer: Any) -> None:
        """A page to sign in, a listing, the page around a file: the web answers with one where a model was meant."""
        if self._location.scheme in ("http", "https") and str(answer.attributes.get("Content-Type", "")).startswith("text/html"):
            raise InvalidSpec(f"{self._location.uri}: answers with a web page (text/html), not a model; give the URL of the file itself")

    def copy(self, listing: Listing, into: Path) -> list[tuple[str, str]]:
        self._report.begin(listing.bytes)
        parts = [self._parts(wanted, place(into, wanted.name, self._location.uri)) for wanted in listing.objects]
        work = _Work(deque(part for some in parts for part in some))
        for _ in range(min(STREAMS, len(work.waiting))):
            threading.Thread(target=self._stream, args=(work,), daemon=True).start()
        try:
            return [(wanted.name, self._digest(some, work)) for wanted, some in zip(listing.objects, parts, strict=True)]
        finally:
            work.stop()
            self._report.flush(final=True)

    def _parts(self, wanted: Object, path: Path) -> list[_Part]:
        size = PART_BYTES if self._ranges and wanted.version else max(wanted.size, 1)
        return [_Part(wanted, path, start, min(start + size, wanted.size)) for start in range(0, wanted.size, size)]

    def _digest(self, parts: list[_Part], work: _Work) -> str:
        """Follows behind the streams, in order; what was just written is still in the page cache."""
        digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
        for part in parts:
            with work.changed:
                while not part.done and work.error is None:
                    work.changed.wait(_WAIT_SECONDS)
                    self._report.flush_news()
                if work.error is not None:
                    raise work.error
            with part.path.open("rb", buffering=0) as file:
                file.seek(part.start)
                left = part.end - part.start
                while left and (count := file.readinto(buffer[:left])):
                    digest.update(buffer[:count])
                    left -= count
                    self._report.flush()
        return digest.hexdigest()

    def _stream(self, work: _Work) -> None:
        """One thread: takes one part after the other."""
        try:
            while not work.stopped.is_set():
                with work.changed:
                    if not work.waiting:
                        return
                    part = work.waiting.popleft()
                self._receive(part, work)
                with work.changed:
                    part.done = True
                    work.changed.notify_all()
        except BaseException as error:  # noqa: BLE001  the edge of a thread; raised again where its work is waited for
            work.stop(error)

    def _receive(self, part: _Part, work: _Work) -> None:
        """Writes a part to its place, going on where it broke off (or from its start, where the storage gives no ranges)."""
        at = furthest = part.start
        failed = 0
        sink = os.open(part.path, os.O_WRONLY)
        try:
            while at < part.end:
                try:
                    for chunk in self._chunks(part, at):
                        if work.stopped.is_set():
                            return
                        while chunk:
                            count = os.pwrite(sink, chunk, at)
                            at, chunk = at + count, chunk[count:]
                            self._report.add(count)
                    _require_whole(at, part)
                except Broken as cause:
                    failed = 1 if at > furthest else failed + 1
                    furthest = max(at, furthest)
                    if not self._resumes(part):
                        self._report.add(part.start - at)
                        at = part.start
                    work.stopped.wait(self._pause(failed, cause))
            _to_disk(sink, part.end - part.start)
        finally:
            os.close(sink)

    def _resumes(self, part: _Part) -> bool:
        return self._ranges and part.of.version is not None

    def _chunks(self, part: _Part, at: int) -> Iterator[memoryview]:
        """The bytes of a part from `at` on, never more than was asked for."""
        result = self._take_first() if at == 0 else None
        whole = result is not None or (at == 0 and part.end == part.of.size)
        if result is None:
            result = self._get(part.of.key, {} if whole else {"range": (at, part.end)}, part.of)
        stream, left = iter(result.stream(min_chunk_size=1)), part.end - at  # as it comes: what waits to be more is lost when that breaks
        while True:
            chunk = _asked(lambda: next(stream, None), self._location)
            if chunk is None:
                return
            if len(chunk) > left and not whole:
                raise RangesIgnored
            yield memoryview(chunk)[:left]
            left -= min(len(chunk), left)
            if not left:
                return

    def _take_first(self) -> Any:
        """The answer that came with the listing, once: only the stream of an object's first part asks."""
        first, self._first = self._first, None
        return first

    def _get(self, key: str, options: dict[str, Any], known: Object | None = None) -> Any:
        if known is not None and known.etag is not None:
            options = {**options, "if_match": known.etag}
        try:
            result: Any = _asked(lambda: obstore.get(self._store, key, options=options or None), self._location)  # type: ignore[arg-type]
        except ModelNotFound:
            if known is None:
                raise
            raise Changed from None  # it was there a moment ago
        if known is not None and not _same(_object(known.name, key, result.meta), known):
            raise Changed
        return result

    def _list(self) -> tuple[Object, ...]:
        prefix = f"{self._path}/" if self._path else ""
        found: list[Any] = []
        pages = iter(obstore.list(self._store, prefix or None, chunk_size=1000))
        while page := _asked(lambda: next(pages, None), self._location):
            found += page
            if len(found) > self._bounds.files:
                raise UnsupportedFormat(f"{self._location.uri}: holds more than {self._bounds.files} objects; give the folder of one model")
        folders = {parent for meta in found for parent in _parents(meta["path"])}
        files = [meta for meta in found if meta["path"].startswith(prefix) and not (meta["size"] == 0 and meta["path"] in folders)]
        named = [_object(relative_name(meta["path"][len(prefix) :], self._location.uri), meta["path"], meta) for meta in files]
        return tuple(sorted(named, key=lambda o: o.name.encode()))

    def _retried(self, attempt: Callable[[], T]) -> T:
        failed = 0
        while True:
            try:
                return attempt()
            except Broken as cause:
                failed += 1
                pause = self._pause(failed, cause)
                self._report.flush()
                time.sleep(pause)
            except (Changed, RangesIgnored):
                raise StorageUnavailable(f"{self._location.uri}: the storage answers a plain request with a partial answer") from None

    def _pause(self, failed: int, cause: Broken) -> float:
        """Seconds until the next try: exponential, with full jitter, so that many pods do not come back at once."""
        if failed >= self._bounds.attempts:
            raise StorageUnavailable(
                f"{self._location.uri}: {cause}, {failed} times in a row; try again when the storage is well"
            ) from cause
        self._report.warn(f"{self._location.uri}: {cause}; trying again ({failed} of {self._bounds.attempts - 1})")
        pause: float = self._jitter() * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**failed)
        return pause


def _asked(ask: Callable[[], T], location: Location) -> T:
    """What obstore gives; its errors as they are meant here. It panics with a BaseException of its own."""
    try:
        return ask()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise failure(error, location) from error


def _to_disk(sink: int, count: int) -> None:
    """Writes out what a large part left in the page cache, so that publishing need not wait, nor a container's memory fill with it."""
    if count >= CHUNK_BYTES:
        os.fsync(sink)


def _require_whole(at: int, part: _Part) -> None:
    if at < part.end:
        raise Broken("the answer was shorter than it said")


def _object(name: str, key: str, meta: Any) -> Object:
    """From obstore's ObjectMeta. Stores write ETags with and without quotes; a weak one ("W/") tells versions apart, but never matches."""
    tag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    changed = meta["last_modified"]
    version = tag or (changed.isoformat() if settled(changed.timestamp(), time.time()) else None)
    strong = tag and not str(meta["e_tag"]).startswith("W/")
    return Object(name, key, meta["size"], version, f'"{tag}"' if strong else None)


def _same(found: Object, known: Object) -> bool:
    return found.size == known.size and (known.version is None or found.version == known.version)


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
