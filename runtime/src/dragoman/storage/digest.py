"""Digests: what a pin pins. The rule stands in docs/storage.md, with a shell line that gives the same.

A file's digest is the SHA-256 of its bytes; an archive is a file. A folder's is the SHA-256 of one line a file, as
`sha256sum` writes them: 64 hex digits, two spaces, the name relative to the folder, a newline; sorted by the names' UTF-8 bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from dragoman.errors import InvalidSpec, ModelNotFound, UnsupportedFormat
from dragoman.storage.names import relative_name

PREFIX = "sha256:"
CHUNK_BYTES = 1024 * 1024


def digest_of(path: Path) -> str:
    """The digest of a local file or folder, as `spec.model.digest` takes it: `sha256:…`.

    Raises `ModelNotFound`, `InvalidSpec` (neither file nor folder), `UnsupportedFormat` (a name that cannot be).
    """
    if path.is_dir():
        return folder_digest((name, file_digest(file)) for name, file in files_of(path))
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file or folder")
    return PREFIX + file_digest(regular(path))


def folder_digest(files: Iterable[tuple[str, str]]) -> str:
    """The digest of a folder, from its files' names and the hex digests of their bytes."""
    lines = sorted((name.encode(), digest.encode()) for name, digest in files)
    return PREFIX + hashlib.sha256(b"".join(digest + b"  " + name + b"\n" for name, digest in lines)).hexdigest()


def file_digest(path: Path) -> str:
    """64 hex digits: the SHA-256 of a file's bytes."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> list[tuple[str, Path]]:
    """Every file of a local folder by its name relative to it, sorted: a link is what it points to.

    Names that begin with `..` are left out: Kubernetes keeps a mounted ConfigMap's own files under them.
    """
    return sorted(_walk(folder, "", ()), key=lambda found: found[0].encode())


def regular(path: Path) -> Path:
    """The path, where a regular file is there: reading a pipe or a device would never end. Raises `InvalidSpec`."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InvalidSpec(f"{path}: neither a file nor a folder; a model is one or the other")
    return path


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Path]]:
    here = folder.stat()
    if (here.st_dev, here.st_ino) in above:
        raise UnsupportedFormat(f"{folder}: a link leads back to a folder above it; remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".."):
                continue
            name, path = prefix + entry.name, folder / entry.name
            if entry.is_dir():
                yield from _walk(path, f"{name}/", (*above, (here.st_dev, here.st_ino)))
            elif path.exists():
                yield relative_name(name, str(folder)), regular(path)
            else:
                raise ModelNotFound(f"{path}: a link to {path.readlink()}, which is not there; mend or remove the link")
