"""Fetching from the local disk: what is loaded is what was checked."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dragoman.errors import AccessDenied, DigestMismatch, InvalidSpec, ModelNotFound, StorageUnavailable, UnsupportedFormat
from dragoman.storage.digest import digest_of
from dragoman.storage.fetch import cached, fetch
from dragoman.storage.request import Bounds, Event, Fetched, Progress, Request
from dragoman.storage.source import Report


@pytest.fixture
def got(tmp_path: Path) -> Callable[..., Fetched]:
    """Fetches, within a cache of this test's own."""

    def fetched(target: Path | str, digest: str | None = None, on_event: Callable[[Event], None] = lambda event: None) -> Fetched:
        return fetch(Request.of(str(target), digest=digest, cache=tmp_path / "cache"), on_event)

    return fetched


Got = Callable[..., Fetched]


def test_a_file_is_copied_and_the_copy_is_what_is_given(tmp_path: Path, got: Got) -> None:
    model = tmp_path / "model.joblib"
    model.write_bytes(b"one")
    fetched = got(model)
    model.write_bytes(b"two")
    assert (fetched.name, fetched.bytes, fetched.digest) == ("model.joblib", 3, digest_of(fetched.path))
    assert (fetched.path.name, fetched.path.read_bytes()) == ("model.joblib", b"one")
    assert got(f"file://{model}").path.read_bytes() == b"two"


def test_a_folder_is_copied_with_its_digest(tmp_path: Path, got: Got) -> None:
    folder = tmp_path / "iris"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "model").write_bytes(b"1")
    (folder / "model.json").write_bytes(b"{}")
    fetched = got(f"{folder}/")
    assert (fetched.name, fetched.bytes, fetched.digest) == ("iris", 3, digest_of(folder))
    assert sorted(p.relative_to(fetched.path).as_posix() for p in fetched.path.rglob("*")) == ["model.json", "sub", "sub/model"]


def test_an_archive_gives_the_folder_in_it_and_its_own_digest(tmp_path: Path, got: Got) -> None:
    packed = tmp_path / "iris.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in ("iris/model", "iris/model.json"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"1"))
    fetched = got(packed, digest_of(packed))
    assert (fetched.name, fetched.bytes, fetched.digest) == ("iris.tar.gz", packed.stat().st_size, digest_of(packed))
    assert sorted(p.name for p in fetched.path.iterdir()) == ["model", "model.json"]
    packed.unlink()
    assert got(packed, fetched.digest).path == fetched.path


def test_an_unsafe_archive_never_becomes_an_entry(tmp_path: Path, got: Got) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(UnsupportedFormat):
        got(tmp_path / "evil.tar")
    assert [*(tmp_path / "cache" / "entries").iterdir(), *(tmp_path / "cache" / "drafts").iterdir()] == []


def test_the_right_pin_is_taken_and_a_wrong_one_names_both(tmp_path: Path, got: Got) -> None:
    (tmp_path / "model").write_bytes(b"1")
    right = digest_of(tmp_path / "model")
    assert got(tmp_path / "model", right).digest == right
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DigestMismatch) as refused:
        got(tmp_path / "model", wrong)
    assert right in refused.value.message
    assert wrong in refused.value.message
    with pytest.raises(InvalidSpec, match="sha256: and 64 hex digits"):
        got(tmp_path / "model", "md5:1")


def test_a_pin_that_is_in_the_cache_needs_no_source(tmp_path: Path, got: Got) -> None:
    (tmp_path / "model").write_bytes(b"1")
    pin = got(tmp_path / "model").digest
    (tmp_path / "model").unlink()
    assert got(tmp_path / "model", pin).path.read_bytes() == b"1"
    with pytest.raises(ModelNotFound):
        got(tmp_path / "model")


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, got: Got, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.storage.local.time.time", lambda: 4e9)  # long after
    (tmp_path / "model").write_bytes(b"1")
    first = got(tmp_path / "model")
    told: list[Event] = []
    assert got(tmp_path / "model", on_event=told.append).path == first.path
    assert sum(event.bytes for event in told if isinstance(event, Progress)) == 0
    (tmp_path / "model").write_bytes(b"2")
    assert got(tmp_path / "model").path.read_bytes() == b"2"


def test_a_file_changed_just_now_is_read_again_even_when_it_looks_the_same(tmp_path: Path, got: Got) -> None:
    (tmp_path / "model").write_bytes(b"1")
    before = (tmp_path / "model").stat()
    got(tmp_path / "model")
    with (tmp_path / "model").open("r+b") as file:
        file.write(b"2")
    os.utime(tmp_path / "model", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert got(tmp_path / "model").path.read_bytes() == b"2"


def test_a_file_that_keeps_changing_while_it_is_read_is_not_given(tmp_path: Path, got: Got, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.storage.source._INTERVAL_SECONDS", 0.0)
    model = tmp_path / "model"
    model.write_bytes(bytes(3_000_000))

    def change(event: Event) -> None:
        with model.open("r+b") as file:
            file.write(os.urandom(1))

    with pytest.raises(StorageUnavailable, match="not the same from one answer to the next, 3 times"):
        got(model, on_event=change)


@pytest.mark.parametrize(
    ("target", "error", "why"),
    [
        ("none", ModelNotFound, "no such file or folder"),
        ("model/", ModelNotFound, "is a file and not a folder"),
        ("empty", ModelNotFound, "the folder is empty"),
        ("many", UnsupportedFormat, "more than 10000 files"),
        ("pipe", InvalidSpec, "neither a file nor a folder"),
    ],
)
def test_what_is_no_model_is_told(tmp_path: Path, got: Got, target: str, error: type[Exception], why: str) -> None:
    (tmp_path / "model").write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    if target == "many":
        (tmp_path / "many").mkdir()
        for number in range(Bounds().files + 1):
            (tmp_path / "many" / str(number)).symlink_to(tmp_path / "model")
    with pytest.raises(error, match=why):
        got(f"{tmp_path}/{target}")


@contextmanager
def nobody_in_particular(folder: Path) -> Iterator[None]:
    """Root may read everything: a test that is root is somebody else for a while, who owns this folder."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("target", ["model", "folder", "folder/model"])
def test_what_may_not_be_read_is_access_denied(target: str) -> None:
    with TemporaryDirectory() as made, nobody_in_particular(Path(made)):
        closed = Path(made) / target
        closed.parent.mkdir(exist_ok=True)
        closed.mkdir() if target == "folder" else closed.write_bytes(b"1")
        closed.chmod(0)
        for wanted in {closed, closed.parent} - {Path(made)}:
            with pytest.raises(AccessDenied, match="cannot be read; change its permissions"):
                fetch(Request.of(str(wanted), cache=Path(made) / "cache"))
        closed.chmod(0o700)


def test_a_relative_path_is_said_to_be_looked_for_here(tmp_path: Path, got: Got, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFound, match=f"^./none: no such file or folder .looked in {tmp_path}.$"):
        got("./none")


def test_a_request_survives_its_way_to_another_process(tmp_path: Path) -> None:
    request = Request.of("s3://a/b", options={"k": "v"}, digest="sha256:" + "1" * 64, cache=tmp_path, cache_bytes=5)
    assert Request.from_json(request.to_json()) == request
    assert "'v'" not in repr(request)


def test_progress_is_told_now_and_then_and_in_the_end() -> None:
    now = 0.0
    told: list[Event] = []
    report = Report(told.append, clock=lambda: now)
    report.begin(10)
    for count in (1, 1, 1):
        report.add(count)
        report.flush()
    report.warn("busy")
    report.warn("busy")
    now = 1.0
    report.flush()
    report.flush(final=True)
    now = 7.0
    report.flush()  # work goes on, though no byte comes
    report.flush_news()
    assert [repr(event) for event in told] == [
        "Progress(bytes=1, total_bytes=10)",
        "Warned(message='busy')",
        "Progress(bytes=3, total_bytes=10)",
        "Progress(bytes=3, total_bytes=10)",
    ]


def test_a_cache_removed_between_two_fetches_is_made_again(tmp_path: Path, got: Got) -> None:
    (tmp_path / "model").write_bytes(b"1")
    got(tmp_path / "model").lease.release()
    shutil.rmtree(tmp_path / "cache")
    assert got(tmp_path / "model").path.read_bytes() == b"1"


def test_what_is_in_the_cache_already_is_told_without_reading(tmp_path: Path) -> None:
    model = tmp_path / "model.joblib"
    model.write_bytes(b"one")
    os.utime(model, (1e9, 1e9))
    unpinned, pin = Request.of(str(model), cache=tmp_path / "cache"), digest_of(model)
    pinned = Request.of(str(model), digest=pin, cache=tmp_path / "cache")
    assert (cached(unpinned), cached(pinned)) == (None, None)
    fetched = fetch(pinned)
    again = cached(pinned)
    assert again is not None
    assert (again.path, again.name, again.digest, again.bytes) == (fetched.path, fetched.name, pin, 3)
    assert cached(Request.of(str(tmp_path / "gone"), cache=tmp_path / "cache")) is None
    assert cached(Request.of("s3://models/iris/", cache=tmp_path / "cache")) is None


def test_a_local_model_that_changed_is_not_the_one_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.storage.local.settled", lambda changed, now: True)  # time
    model = tmp_path / "model.joblib"
    model.write_bytes(b"one")
    request = Request.of(str(model), cache=tmp_path / "cache")
    fetch(request)
    same = cached(request)
    assert same is not None
    assert same.digest == digest_of(model)
    model.write_bytes(b"another")
    assert cached(request) is None
