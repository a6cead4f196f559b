"""Archives: told by content, and unpacked without trusting them."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import struct
import subprocess
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.errors import ModelLoadFailed, ServeError, UnsupportedFormat
from dragoman.storage.archive import kind_of, unpack
from dragoman.storage.request import Bounds

FILES = {"model.joblib": b"model", "sub/columns.json": b"[]" * 1000, "sub/empty": b""}
AMPLE = Bounds()
KINDS = ["tar", "tar.gz", "zip"]


def tar(members: Mapping[str, bytes | tarfile.TarInfo], *, compress: bool = False) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz" if compress else "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(members: Mapping[str, bytes], *, mode: int = 0) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def special(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


PACKERS = {"tar": tar, "tar.gz": lambda files: tar(files, compress=True), "zip": zipped}


def unpacked(tmp_path: Path, content: bytes, bounds: Bounds = AMPLE) -> dict[str, bytes]:
    path, into = tmp_path / "packed", tmp_path / "into"
    path.write_bytes(content)
    into.mkdir()
    kind = kind_of(path, "model")
    assert kind is not None
    names = unpack(path, kind, into, "s3://models/model", bounds)
    found = {str(file.relative_to(into)): file.read_bytes() for file in into.rglob("*") if file.is_file()}
    assert names == sorted(found)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_told_by_its_content_and_unpacked(tmp_path: Path, kind: str) -> None:
    (tmp_path / "packed").write_bytes(PACKERS[kind](FILES))
    assert kind_of(tmp_path / "packed", "no suffix") == kind
    assert unpacked(tmp_path, PACKERS[kind](FILES)) == FILES


def test_what_tar_makes_of_a_folder_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model").write_bytes(b"1")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tmp_path / "iris", ".")
    assert unpacked(tmp_path, packed.getvalue()) == {"model": b"1"}


def test_a_sparse_file_is_unpacked_whole(tmp_path: Path) -> None:
    sparse = tmp_path / "model"
    with sparse.open("wb") as file:
        file.truncate(1_000_000)
        file.write(b"1")
    subprocess.run(["tar", "--sparse", "-C", tmp_path, "-cf", tmp_path / "sparse.tar", "model"], check=True)
    assert unpacked(tmp_path, (tmp_path / "sparse.tar").read_bytes()) == {"model": sparse.read_bytes()}


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zipped({"iris/model": b"1", "__MACOSX/iris/._model": b"2"})) == {"iris/model": b"1"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.joblib", b"\x80\x04model"),
        ("model.joblib", b"\x78\x9czlib"),
        ("model.joblib.gz", gzip.compress(b"a compressed pickle, not a tar" * 100, mtime=0)),
        ("model.skops", zipped({"schema.json": b'{"protocol": 0, "_skops_version": "0.16.0"}', "1.npy": b"1"})),
        ("model.json", b'{"learner": {}}'),
        ("empty", b""),
        ("zeros", bytes(2048)),
    ],
)
def test_a_model_that_is_one_file_is_no_archive(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file", name) is None


def test_a_model_that_skops_saved_is_no_archive(tmp_path: Path) -> None:
    import skops.io
    from sklearn.linear_model import LinearRegression

    skops.io.dump(LinearRegression(), tmp_path / "model")
    assert kind_of(tmp_path / "model", "model") is None


@pytest.mark.parametrize(("name", "error"), [("m.tar.gz", ModelLoadFailed), ("m.ZIP", ModelLoadFailed), ("m.tar.xz", UnsupportedFormat)])
def test_a_file_named_as_an_archive_that_is_none_is_refused(tmp_path: Path, name: str, error: type[ServeError]) -> None:
    (tmp_path / "file").write_bytes(b"nonsense")
    with pytest.raises(error, match=f"^{name}: "):
        kind_of(tmp_path / "file", name)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tar({"../evil": b"1"}), "leads out of the model"),
        (tar({"/evil": b"1"}), "is absolute"),
        (tar({"a/../../evil": b"1"}), "leads out of the model"),
        (tar({"a": special("link", tarfile.SYMTYPE, "/etc/passwd")}), "is a link to '/etc/passwd'"),
        (tar({"model": b"1", "b": special("link", tarfile.LNKTYPE, "model")}), "is a link to 'model'"),
        (tar({"a": special("null", tarfile.CHRTYPE)}), "is a device or a pipe"),
        (tar({"a": special("disk", tarfile.BLKTYPE)}), "is a device or a pipe"),
        (tar({"a": special("pipe", tarfile.FIFOTYPE)}), "is a device or a pipe"),
        (tar({"a": b"1", "./a": b"2"}), "comes twice"),
        (tar({"a": b"1", "a/b": b"2"}), "both a file and a folder"),
        (tar({"a/b": b"1", "a": b"2"}), "both a file and a folder"),
        (tar({"d": special("d", tarfile.DIRTYPE)}), "holds no file"),
        (tar({str(n): b"" for n in range(6)}), "more than 5 files"),
        (tar({str(n): special(str(n), tarfile.DIRTYPE) for n in range(6)}), "more than 5 files"),
        (tar({"a": bytes(60_000), "b": bytes(60_000)}), "more than 100000 bytes"),
        (tar({"a": bytes(200_000)}, compress=True), "more than 100000 bytes"),
        (zipped({"../evil": b"1"}), "leads out of the model"),
        (zipped({"/evil": b"1"}), "is absolute"),
        (zipped({"a\\..\\evil": b"1"}), "backslash"),
        (zipped({"link": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777), "is a link"),
        (zipped({"pipe": b""}, mode=stat.S_IFIFO), "is a device or a pipe"),
        (zipped({"null": b""}, mode=stat.S_IFCHR), "is a device or a pipe"),
        (zipped({}), "holds no file"),
        (zipped({"d/": b""}), "holds no file"),
        (zipped({str(n): b"" for n in range(6)}), "more than 5 files"),
        (zipped({"a": bytes(200_000)}), "more than 100000 bytes"),
    ],
)
def test_what_is_dangerous_is_refused_and_nothing_leaves_the_folder(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(UnsupportedFormat, match=r"^s3://models/model: ") as refused:
        unpacked(tmp_path, content, Bounds(files=5, unpacked_bytes=100_000))
    assert why in refused.value.message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["into", "packed"]


def test_a_name_that_comes_twice_in_a_zip_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(UnsupportedFormat, match="comes twice"):
        unpacked(tmp_path, packed.getvalue())


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1"}))
    content[6] |= 1  # the general purpose flag of the local header …
    content[content.index(b"PK\x01\x02") + 8] |= 1  # … and of the table of contents
    with pytest.raises(UnsupportedFormat, match="is encrypted"):
        unpacked(tmp_path, bytes(content))


def test_a_zip_that_says_less_than_it_holds_gives_no_more_than_it_said(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": bytes(1_000_000)}))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<L", 10)  # uncompressed size
    with pytest.raises(ModelLoadFailed, match="damaged"):
        unpacked(tmp_path, bytes(content))


def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(UnsupportedFormat, match="header of 1099511627776 bytes"):
        unpacked(tmp_path, header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_a_huge_table_of_contents_is_refused_before_it_is_read(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1"}))
    content[-10:-6] = struct.pack("<L", 1 << 30)
    with pytest.raises(UnsupportedFormat, match="table of contents"):
        unpacked(tmp_path, bytes(content))


@pytest.mark.parametrize("name", ["model", "schema.json"])  # a skops file has the latter, and is looked for first
def test_an_entry_that_begins_before_its_archive_is_damage(tmp_path: Path, name: str) -> None:
    content = bytearray(zipped({name: b"1" * 100}))
    end = content.rfind(b"PK\x05\x06")
    content[end + 16 : end + 20] = struct.pack("<L", struct.unpack("<L", content[end + 16 : end + 20])[0] + 50)  # where the table is
    with pytest.raises(ModelLoadFailed, match="damaged"):
        unpacked(tmp_path, bytes(content))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_told_as_damaged(tmp_path: Path, kind: str, damage: str) -> None:
    content = bytearray(PACKERS[kind]({"model": os.urandom(5000)}))
    if damage == "cut":
        content = content[:3000]
    elif kind == "tar":
        content[148] ^= 1  # the header's checksum: a tar has none of its content
        content = bytearray(tar({"first": b"1"})[:1024]) + content
    else:
        content[2500] ^= 0xFF
    with pytest.raises(ModelLoadFailed, match=r"damaged|ends too soon"):
        unpacked(tmp_path, bytes(content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    kind=st.sampled_from(KINDS), changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8), keep=st.floats(0.3, 1)
)
def test_no_damage_gives_anything_but_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[float, int]], keep: float
) -> None:
    content = bytearray(PACKERS[kind](FILES))
    content = content[: int(len(content) * keep)]
    for at, value in changes:
        content[int(len(content) * at)] = value
    tmp_path = tmp_path_factory.mktemp("damaged")
    (tmp_path / "packed").write_bytes(content)
    (tmp_path / "into").mkdir()
    with contextlib.suppress(ModelLoadFailed, UnsupportedFormat):
        found = kind_of(tmp_path / "packed", "model")
        if found:
            unpack(tmp_path / "packed", found, tmp_path / "into", "model", Bounds(files=10, unpacked_bytes=100_000))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["into", "packed"]
