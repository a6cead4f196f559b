"""What is asked of a fetch, what it tells on its way, and what it gives."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dragoman.errors import InvalidSpec
from dragoman.storage.lock import Lock
from dragoman.storage.uri import redacted

GIB = 1024**3
CACHE_BYTES = 20 * GIB


class Bounds(NamedTuple):
    """What a fetch may take before it is given up."""

    attempts: int = 8  # in a row without a new byte; then the storage counts as unavailable
    stall_seconds: float = 30  # without a byte, after which a connection counts as broken
    files: int = 10_000  # of a folder or an archive
    unpacked_bytes: int = 64 * GIB  # of an archive


class Request(NamedTuple):
    """One model to fetch. `options` may hold credentials, and are not repeated."""

    uri: str
    cache: Path
    cache_bytes: int = CACHE_BYTES
    options: Mapping[str, str] = MappingProxyType({})  # spec.model.storage.options
    digest: str | None = None  # the pin: sha256: and 64 hex digits
    bounds: Bounds = Bounds()

    def __repr__(self) -> str:
        return f"Request({redacted(self.uri)!r})"

    @classmethod
    def of(
        cls,
        uri: str,
        *,
        options: Mapping[str, str] | None = None,
        digest: str | None = None,
        cache: str | Path | None = None,
        cache_bytes: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Request:
        """A request whose cache is the environment's where it is not given: `DRAGOMAN_CACHE_DIR`, `DRAGOMAN_CACHE_BYTES`."""
        if digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise InvalidSpec(f"digest {digest!r}: must be sha256: and 64 hex digits; `dragoman digest` prints it")
        return cls(
            uri=uri,
            cache=Path(cache) if cache else cache_dir(environ),
            cache_bytes=_cache_bytes(environ) if cache_bytes is None else cache_bytes,
            options=dict(options or {}),
            digest=digest,
        )

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "cache": str(self.cache), "options": dict(self.options), "bounds": self.bounds._asdict()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Request:
        return cls(**{**fields, "cache": Path(fields["cache"]), "bounds": Bounds(**fields.get("bounds", {}))})


class Progress(NamedTuple):
    """Bytes that have come, of how many: `total_bytes` is None until the storage has said so. Starting again sets it back."""

    bytes: int
    total_bytes: int | None


class Warned(NamedTuple):
    """Something that a person may want to know: a retry, a wait for another process."""

    message: str


Event = Progress | Warned
OnEvent = Callable[[Event], None]


class Fetched(NamedTuple):
    """A model in the cache, checked and read-only. It stays there until `lease` is released or this process ends."""

    path: Path  # the file, or the folder; of an archive the folder that was in it
    name: str  # the URI's last part, by which formats are told: "model.joblib"
    digest: str  # "sha256:…"
    bytes: int  # of the file, the archive, or all files of the folder
    lease: Lock


def cache_dir(environ: Mapping[str, str]) -> Path:
    """`DRAGOMAN_CACHE_DIR`, else `dragoman` in the user's cache folder (XDG Base Directory Specification)."""
    if environ.get("DRAGOMAN_CACHE_DIR"):
        return Path(environ["DRAGOMAN_CACHE_DIR"])
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path(environ.get("HOME") or os.path.expanduser("~")) / ".cache") / "dragoman"  # noqa: PTH111


def _cache_bytes(environ: Mapping[str, str]) -> int:
    text = environ.get("DRAGOMAN_CACHE_BYTES") or str(CACHE_BYTES)
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidSpec(f"DRAGOMAN_CACHE_BYTES={text}: must be a number of bytes, such as {CACHE_BYTES}")
    return int(text)
