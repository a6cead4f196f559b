"""Fetches a model into the cache, in this process: for short-lived commands, and for the fetch process itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dragoman.errors import DigestMismatch, ServeError, StorageUnavailable
from dragoman.storage.cache import Cache, Draft, Entry, Held
from dragoman.storage.digest import PREFIX, folder_digest
from dragoman.storage.failures import Changed, RangesIgnored
from dragoman.storage.names import disk_name
from dragoman.storage.request import Event, Fetched, OnEvent, Progress, Request
from dragoman.storage.source import Listing, Report, Source
from dragoman.storage.uri import Location, parse

_CHANGES = 3  # how often a model may change while it is read


def fetch(request: Request, on_event: OnEvent = lambda event: None) -> Fetched:
    """The model of a URI, in the cache, checked against its pin.

    A pinned digest that is in the cache is used without asking the storage; an unpinned URI is asked for its version, and read
    again only when that changed. Raises `ServeError`: `InvalidSpec`, `ModelNotFound`, `AccessDenied`, `DigestMismatch`,
    `UnsupportedFormat`, `ModelLoadFailed` (a damaged archive), `MissingLibrary` (boto3), `DiskFull`, `StorageUnavailable`.
    """
    location = parse(request.uri)
    name = disk_name(location.name)
    cache = Cache(request.cache, request.cache_bytes)
    held = cache.take(request.digest, name) if request.digest else None
    if held is None:
        key = _key(location, request)
        with cache.turn((request.digest or key).removeprefix(PREFIX), lambda said: _relay(said, on_event)) as turn:
            held = cache.take(request.digest, name) if request.digest else None  # another process may just have fetched it

            def tell(event: Event) -> None:
                if isinstance(event, Progress):
                    turn.write(json.dumps([event.bytes, event.total_bytes]))
                on_event(event)

            held = held or _fetched(request, location, name, key, cache, tell)
    return Fetched(held.path, location.name, held.digest, held.entry.bytes, held.lock)


def cached(request: Request) -> Fetched | None:
    """The model as `fetch` gives it, where that reads no model: a pinned digest's entry, or a local model that has not changed since.

    Quick enough for an event loop. None where there is more to do, or something is wrong: `fetch` tells.
    """
    location = parse(request.uri)
    if request.digest is None and not location.local:
        return None
    name = disk_name(location.name)
    try:
        cache = Cache(request.cache, request.cache_bytes)
        if request.digest is not None:
            held = cache.take(request.digest, name)
        else:
            listing = _open(location, request, Report(lambda event: None), ranges=True).listing()
            held = _unchanged(cache, _key(location, request), listing, name)
    except (ServeError, OSError):
        return None
    return None if held is None else Fetched(held.path, location.name, held.digest, held.entry.bytes, held.lock)


def _fetched(request: Request, location: Location, name: str, key: str, cache: Cache, on_event: OnEvent) -> Held:
    report = Report(on_event)
    ranges = True
    changes = 0
    while changes < _CHANGES:
        source = _open(location, request, report, ranges=ranges)
        try:
            listing = source.listing()
            held = _unchanged(cache, key, listing, name) if request.digest is None else None
            if held is None:
                held = _read(request, location, name, cache, source, listing, report)
                if listing.version is not None:
                    cache.remember(key, listing.version, held.digest)
        except Changed:
            changes += 1
        except RangesIgnored:
            report.warn(
                f"{location.uri}: the server gives no parts of a file; reading it in one go, and from the start again if that breaks"
            )
            ranges = False
        else:
            report.flush(final=True)
            return held
    raise StorageUnavailable(
        f"{location.uri}: was not the same from one answer to the next, {changes} times; try again when its upload is finished"
    )


def _read(request: Request, location: Location, name: str, cache: Cache, source: Source, listing: Listing, report: Report) -> Held:
    """Reads everything, checks it, unpacks what is an archive, and publishes it."""
    cache.make_room(listing.bytes)
    if not location.local:  # a local copy may share its blocks with the original
        cache.require_disk(listing.bytes)
    with cache.draft() as draft:
        with cache.writing():
            target = listing if not listing.single else _called(listing, name)
            files = source.copy(target, draft.files)
        digest = PREFIX + files[0][1] if listing.single else folder_digest(files)
        if request.digest not in (None, digest):
            raise DigestMismatch(
                f"{location.uri}: its digest is {digest}, but {request.digest} is pinned; "
                "check that the right model was uploaded, or pin the one that `dragoman digest` prints for the file you trust"
            )
        with cache.writing():
            entry = _unpacked(draft, location, name, listing, request, report) if listing.single else _folder_entry(listing)
            return cache.publish(draft, digest, name, entry)


def _unpacked(draft: Draft, location: Location, name: str, listing: Listing, request: Request, report: Report) -> Entry:
    """The entry of a single file; where that is an archive, its content takes its place."""
    from dragoman.storage.archive import kind_of, unpack

    file = draft.files / name
    kind = kind_of(file, location.name)
    if kind is None:
        return Entry("file", listing.bytes, listing.bytes, "")
    packed = file.rename(draft.path / "packed")
    names = unpack(packed, kind, draft.files, location.uri, request.bounds, report.flush)
    packed.unlink()
    return Entry("archive", listing.bytes, sum((draft.files / n).stat().st_size for n in names), _only_folder(names))


def _folder_entry(listing: Listing) -> Entry:
    return Entry("folder", listing.bytes, listing.bytes, "")


def _only_folder(names: list[str]) -> str:
    """The folder that holds all of an archive's files, "" where there is none: `iris` for iris/model.joblib and iris/model.json."""
    first = names[0].partition("/")[0]
    return first if all(n.startswith(f"{first}/") for n in names) else ""


def _called(listing: Listing, name: str) -> Listing:
    """A single file under the name it has on disk."""
    file = listing.objects[0]._replace(name=name)
    return listing._replace(objects=(file,))


def _open(location: Location, request: Request, report: Report, *, ranges: bool) -> Source:
    """obstore is imported only here, and only for what is remote."""
    if location.local:
        from dragoman.storage.local import Local

        return Local(location, request.bounds, report)
    from dragoman.storage.remote import Remote
    from dragoman.storage.store import open_store

    return Remote(location, open_store(location, request.options, request.bounds.stall_seconds), request.bounds, report, ranges=ranges)


def _unchanged(cache: Cache, key: str, listing: Listing, name: str) -> Held | None:
    """The entry that was read from the same version of the same place."""
    known = cache.ref(key)
    return cache.take(known[1], name) if known is not None and known[0] == listing.version else None


def _key(location: Location, request: Request) -> str:
    """A place's name in the cache: URI and endpoint, without credentials."""
    place = str(Path(location.key).absolute()) if location.local else location.uri
    options = {
        k.lower(): v for k, v in request.options.items() if any(word in k.lower() for word in ("endpoint", "url", "account_name", "region"))
    }
    return hashlib.sha256(json.dumps([place, location.folder, options], sort_keys=True).encode()).hexdigest()


def _relay(said: str, on_event: OnEvent) -> None:
    """Another process is fetching the same thing: its progress is ours."""
    try:
        done, total = json.loads(said)
    except ValueError:
        return
    on_event(Progress(done, total))
