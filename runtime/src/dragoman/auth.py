"""Tokens: who may ask. They are read from a file, or from the folder that Kubernetes mounts a Secret as, and followed when it changes.

What is kept in memory are digests; no token is ever logged, nor named in a message.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from dragoman.errors import InvalidSpec
from dragoman.manifest import ModelDeployment, TokenSource

_LOOK_SECONDS = 1.0  # a file that was looked at is not looked at again for so long
_SETTLED_SECONDS = 2.0  # a file that was written so lately may be written again without its size and time telling
_MOST_BYTES = 1024 * 1024  # as much as a Secret may hold

logger = logging.getLogger("dragoman.auth")
_Stamp = tuple[tuple[str, int, int, int], ...]


class Tokens:
    """The tokens of a file or a folder; several at once, so that they can be rotated.

    A file has one a line; blank lines and those that start with # are skipped. In a folder each file (key of a Secret) is such a file.
    What cannot be read any more, or is empty, changes nothing: the last good tokens stay, and the log says so.
    """

    def __init__(self, path: Path, *, required: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `InvalidSpec` where there is no token. Not `required`: nothing is accepted until there is one."""
        self.path = path
        self._clock = clock
        self._digests: tuple[bytes, ...] = ()
        self._stamp: _Stamp | None = None  # of what was read last; None: to be read again
        self._trouble = ""  # why it could not be read, told once
        self._due = clock() + _LOOK_SECONDS
        if required:
            self._read()
        else:
            self._follow()

    def accepts(self, token: str) -> bool:
        """Whether it is one of the tokens. It takes as long for any token, and looks at the file at most once a second."""
        now = self._clock()
        if now >= self._due:
            self._due = now + _LOOK_SECONDS
            self._follow()
        given = _digest(token)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(given, known)
        return found

    def _follow(self) -> None:
        before = self._digests
        try:
            self._read()
        except InvalidSpec as problem:
            if self._trouble != problem.message:
                self._trouble = problem.message
                kept = "the tokens read before stay" if self._digests else "no token is accepted"
                logger.error("%s; %s", problem.message, kept)  # noqa: TRY400  the message says all
            return
        if (before and before != self._digests) or self._trouble:
            logger.info("tokens were read again", extra={"path": str(self.path), "tokens": len(self._digests)})
        self._trouble = ""

    def _read(self) -> None:
        """Read what has changed since it was read last. Raises `InvalidSpec`."""
        try:
            stamp = _stamp(self.path)
            if stamp != self._stamp or self._trouble:
                self._digests = tuple(dict.fromkeys(map(_digest, tokens_in(self.path))))
                settled = max((written for _, _, written, _ in stamp), default=0) < (time.time() - _SETTLED_SECONDS) * 1e9
                self._stamp = stamp if settled else None
        except FileNotFoundError:
            raise InvalidSpec(f"{self.path}: no such file; write the tokens into it, one a line") from None
        except OSError as error:
            raise InvalidSpec(f"{self.path}: the tokens cannot be read: {error.strerror}; let this process read it") from None


def tokens_in(path: Path) -> list[str]:
    """The tokens of a file or a folder. Raises `InvalidSpec` where there is none, or what is there is none; `OSError`."""
    found = [token for file in _files(path) for token in _of_file(file)]
    if not found:
        where = "the folder holds no token: a key of the Secret needs" if path.is_dir() else "the file holds no token: write"
        raise InvalidSpec(f"{path}: {where} one a line")
    return found


def check(manifests: Iterable[ModelDeployment]) -> None:
    """Whether every token that is configured can be read, before anything is served. Raises `InvalidSpec` with its path."""
    for manifest in manifests:
        auth = manifest.spec.serving.auth
        for name, source in (("tokens", auth.tokens), ("adminTokens", auth.admin_tokens)):
            where = f"{manifest.name}: spec.serving.auth.{name}"
            if source is not None and source.file is None:
                raise InvalidSpec(
                    f"{where}.secretName: a Secret is read on a cluster; here, name a file with one token a line: {{file: tokens}}"
                )
            if source is not None and source.file is not None:
                try:
                    Tokens(Path(source.file))
                except InvalidSpec as error:
                    raise InvalidSpec(f"{where}: {error.message}") from None


def tokens_of(manifest: ModelDeployment) -> Tokens | None:
    """Who may ask this model; None where anybody may."""
    return _of(manifest.spec.serving.auth.tokens)


def admin_tokens_of(manifest: ModelDeployment) -> Tokens | None:
    """Who may load and unload it; None where nobody may."""
    return _of(manifest.spec.serving.auth.admin_tokens)


def _of(source: TokenSource | None) -> Tokens | None:
    return None if source is None else _shared(source.file or "")


@cache
def _shared(path: str) -> Tokens:
    """One for all models that name the same file. A worker that is replaced while the file is gone starts, and accepts nothing."""
    return Tokens(Path(path), required=False)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # ..data and the folders that it points to are how Kubernetes changes all keys of a Secret at once
    return sorted(file for file in path.iterdir() if not file.name.startswith("..") and file.is_file())


def _of_file(file: Path) -> Iterable[str]:
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InvalidSpec(f"{file}: a file of tokens has at most {_MOST_BYTES} bytes")
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if any(not 0x21 <= byte <= 0x7E for byte in token):
            raise InvalidSpec(f"{file}: line {number} is no token: it must be of printable ASCII characters, without spaces")
        yield token.decode("ascii")


def _stamp(path: Path) -> _Stamp:
    """What tells whether files have changed: name, inode, time in nanoseconds, size. Links are followed."""
    seen = [(file.name, file.stat()) for file in _files(path)]
    return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in seen)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
