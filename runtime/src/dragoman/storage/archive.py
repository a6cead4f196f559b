"""Archives: told by their bytes, and unpacked without trusting what they say.

Refused: names that are absolute or hold `..`, links, devices, names that come twice, more files or bytes than is bounded, encryption.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from dragoman.errors import ModelLoadFailed, UnsupportedFormat
from dragoman.storage.digest import CHUNK_BYTES
from dragoman.storage.disk import Writer
from dragoman.storage.names import relative_name
from dragoman.storage.request import Bounds

if TYPE_CHECKING:
    import tarfile
    import zipfile

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_OTHERS = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".7z", ".rar")
_INDEX_BYTES = 64 * 1024 * 1024  # the most that a zip's table of contents may take in memory
_HEADER_BYTES = 4 * 1024 * 1024  # the most that one header of a tar may
_BLOCK = 512  # tar
_SKOPS = "schema.json"  # a zip with this at its root is a skops model, not an archive of one


def kind_of(path: Path, name: str) -> str | None:
    """`tar`, `tar.gz` or `zip`, by content; None for a file that is a model itself. `name` is the URI's last part.

    Raises `UnsupportedFormat` for kinds of archive that are not taken, `ModelLoadFailed` for a file that is only named as an archive.
    """
    kind = _by_content(path)
    lower = name.lower()
    if kind is None and lower.endswith(_OTHERS):
        raise UnsupportedFormat(f"{name}: this kind of archive is not taken; pack the model as .tar.gz or .zip")
    if kind is None and lower.endswith(SUFFIXES):
        raise ModelLoadFailed(f"{name}: named as an archive, but its bytes are not one; it may be damaged: pack and upload it again")
    return kind


def unpack(path: Path, kind: str, into: Path, name: str, bounds: Bounds, moving: Callable[[], None] = lambda: None) -> list[str]:
    """Unpacks into an existing, empty folder; gives the files' names. `moving` is called again and again while it goes on.

    Raises `UnsupportedFormat`, `ModelLoadFailed`, `OSError`.
    """
    unpacker = _Unpacker(into, name, bounds, moving)
    try:
        _READERS[kind](path, unpacker)
    except UnsupportedFormat:
        raise
    except (EOFError, zlib.error, struct.error, ValueError, *_damages()) as error:
        raise ModelLoadFailed(f"{name}: the archive is damaged ({str(error) or 'it ends too soon'}); pack and upload it again") from error
    if not unpacker.names:
        raise UnsupportedFormat(f"{name}: the archive holds no file; pack the model's files into it")
    return sorted(unpacker.names)


class _Unpacker:
    """Writes one file after the other, within bounds."""

    def __init__(self, into: Path, name: str, bounds: Bounds, moving: Callable[[], None]) -> None:
        self.names: set[str] = set()
        self._into = into
        self.archive = name
        self._bounds = bounds
        self._moving = moving
        self._bytes = 0
        self._entries = 0

    def refuse(self, entry: str, why: str) -> UnsupportedFormat:
        return UnsupportedFormat(f"{self.archive}: {entry!r} {why}; pack only the model's own files")

    def add(self, entry: str, size: int, content: IO[bytes]) -> None:
        name = relative_name(entry, self.archive)
        if name.startswith("__MACOSX/"):  # what macOS adds beside the files
            return
        if name in self.names:
            raise self.refuse(entry, "comes twice")
        self.count(size)
        path = self._into / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            target = path.open("xb", buffering=0)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise self.refuse(entry, "is both a file and a folder, or differs from another only in case") from None
        with target:
            writer = Writer(target.fileno())
            while chunk := content.read(CHUNK_BYTES):
                if writer.written + len(chunk) > size:
                    raise self.refuse(entry, "is longer than the archive says")
                writer.write(memoryview(chunk))
                self._moving()
        if writer.written != size:
            raise ModelLoadFailed(f"{self.archive}: {entry!r} ends too soon; pack and upload the archive again")
        self.names.add(name)

    def saw_entry(self) -> None:
        """Files, folders and whatever else: a small archive can name millions."""
        self._entries += 1
        if self._entries > self._bounds.files:
            raise UnsupportedFormat(f"{self.archive}: holds more than {self._bounds.files} files and folders; pack only the model's own")

    def count(self, size: int) -> None:
        self._bytes += size
        if size < 0 or self._bytes > self._bounds.unpacked_bytes:
            raise UnsupportedFormat(
                f"{self.archive}: unpacks to more than {self._bounds.unpacked_bytes} bytes; put the model's folder into storage instead"
            )


def _by_content(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_BLOCK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None if _is_skops(path) else "zip"
    if head.startswith(b"\x1f\x8b"):
        return "tar.gz" if _is_tar(_unzipped_head(path)) else None
    return "tar" if _is_tar(head) else None


def _unzipped_head(path: Path) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        try:
            return stream.decompress(file.read(64 * 1024), _BLOCK)
        except zlib.error:
            return b""


def _is_tar(head: bytes) -> bool:
    """Whether a block is a tar header: its checksum is right (or it is the end mark of an empty archive)."""
    if len(head) < _BLOCK:
        return False
    try:
        said = int(head[148:156].strip(b" \x00") or b"-", 8)
    except ValueError:
        return False
    return said == sum(head) - sum(head[148:156]) + 8 * ord(" ")


def _is_skops(path: Path) -> bool:
    import zipfile

    try:
        with path.open("rb") as file:
            _bound_zip_index(file, path.name)
            with zipfile.ZipFile(file) as archive:
                schemas = [entry for entry in _zipped(archive) if entry.filename == _SKOPS]
                if not schemas:
                    return False
                with archive.open(schemas[-1]) as schema:
                    return b'"_skops_version"' in schema.read(_INDEX_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, struct.error, UnsupportedFormat, ValueError):
        return False  # unpacking it says what is wrong


def _read_tar(path: Path, unpacker: _Unpacker) -> None:
    import tarfile

    with path.open("rb") as file, _tar_stream(path, file) as stream:
        blocks = _Blocks(stream, unpacker.archive)
        archive = tarfile.open(fileobj=cast(IO[bytes], blocks), mode="r:")  # noqa: SIM115  there is nothing to close
        while (member := archive.next()) is not None:
            unpacker.saw_entry()
            if member.issym() or member.islnk():
                raise unpacker.refuse(member.name, f"is a link to {member.linkname!r}")
            if not (member.isreg() or member.isdir()):
                raise unpacker.refuse(member.name, "is a device or a pipe")
            if member.isreg():
                unpacker.add(member.name, member.size, _content(archive, member))
            archive.members.clear()  # type: ignore[attr-defined]  # or it remembers every one
        if blocks.last != bytes(_BLOCK):  # tarfile takes a damaged header, or none, for the end
            raise tarfile.ReadError("it ends too soon, or a header in it is not one")
        while padding := len(stream.read(CHUNK_BYTES)):  # to the end, where gzip's own checksum stands
            unpacker.count(padding)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise ModelLoadFailed(f"{member.name!r} has no content; pack the archive again")
    return content


@contextlib.contextmanager
def _tar_stream(path: Path, file: IO[bytes]) -> Iterator[Any]:
    if _by_content(path) == "tar":
        yield file
        return
    import gzip

    with gzip.GzipFile(fileobj=file) as unzipped:
        yield unzipped


class _Blocks:
    """A stream that refuses to give a huge piece at once: tarfile reads a member's extended header whole, however long it says it is."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.last = b""  # what was read last
        self._name = name
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise UnsupportedFormat(f"{self._name}: the archive has a header of {size} bytes; pack only the model's own files")
        self.last = self._stream.read(size)
        return self.last


def _read_zip(path: Path, unpacker: _Unpacker) -> None:
    import zipfile

    with path.open("rb") as file:
        _bound_zip_index(file, path.name)
        with zipfile.ZipFile(file) as archive:
            for entry in _zipped(archive):
                unpacker.saw_entry()
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if kind == stat.S_IFLNK:
                    raise unpacker.refuse(entry.filename, "is a link")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise unpacker.refuse(entry.filename, "is a device or a pipe")
                if entry.flag_bits & 0x1:
                    raise unpacker.refuse(entry.filename, "is encrypted")
                if not entry.is_dir():
                    _add_zipped(archive, entry, unpacker)


def _zipped(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its entries. Raises `BadZipFile` where one is said to begin before the file does, which zipfile takes for the system's error."""
    import zipfile

    entries = archive.infolist()
    if any(entry.header_offset < 0 for entry in entries):
        raise zipfile.BadZipFile("an entry of its table of contents begins before the file does")
    return entries


def _add_zipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, unpacker: _Unpacker) -> None:
    try:
        content = archive.open(entry)
    except NotImplementedError as error:
        raise unpacker.refuse(entry.filename, f"is compressed in a way that is not known here ({error})") from None
    with content:
        unpacker.add(entry.filename, entry.file_size, content)


def _bound_zip_index(file: IO[bytes], name: str) -> None:
    """Refuses a table of contents that would not fit in memory (APPNOTE.TXT 4.3.14 and 4.3.16: its size stands in the end records)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 66_000))
    tail = file.read()
    at, at64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    sizes = [*struct.unpack("<L", tail[at + 12 : at + 16])] if at >= 0 else []
    sizes += [*struct.unpack("<Q", tail[at64 + 40 : at64 + 48])] if at64 >= 0 else []
    file.seek(0)
    if any(said > _INDEX_BYTES for said in sizes if said != 0xFFFFFFFF or at64 < 0):
        raise UnsupportedFormat(
            f"{name}: the archive's table of contents is larger than {_INDEX_BYTES} bytes; pack only the model's own files"
        )


def _damages() -> tuple[Any, ...]:
    """What the standard library raises for damaged archives."""
    import gzip
    import tarfile
    import zipfile

    return (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError, RuntimeError)


_READERS: dict[str, Callable[[Path, _Unpacker], None]] = {"tar": _read_tar, "tar.gz": _read_tar, "zip": _read_zip}
