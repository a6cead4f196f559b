"""The cache: whole entries only, bounded, never taken from under a process that uses them."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dragoman.errors import DiskFull, InvalidSpec
from dragoman.storage.cache import Cache, Entry, Held
from dragoman.storage.lock import take
from dragoman.storage.request import CACHE_BYTES, Request, cache_dir

AMPLE = 1_000_000


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def put(cache: Cache, content: bytes, name: str = "model") -> Held:
    with cache.draft() as draft:
        (draft.files / name).write_bytes(content)
        return cache.publish(draft, digest(content), name, Entry("file", len(content), len(content), ""))


def put_unused(cache: Cache, content: bytes, used: int) -> str:
    """An entry that nobody holds, last used at `used` (seconds since the epoch)."""
    held = put(cache, content)
    os.utime(held.path.parent.parent / "entry.json", (used, used))
    held.lock.release()
    return held.digest


def has(cache: Cache, wanted: str) -> bool:
    held = cache.take(wanted, "model")
    if held is not None:
        held.lock.release()
    return held is not None


@contextmanager
def another_process(root: Path, source: str) -> Iterator[subprocess.Popen[str]]:
    """Runs `source`, with `cache` at hand, until it has said "ready"; it ends when its input does."""
    code = "import sys\nfrom pathlib import Path\nfrom dragoman.storage.cache import Cache\n"
    code += f"cache = Cache(Path({str(root)!r}), {AMPLE})\n{source}\nprint('ready', flush=True)\nsys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_was_put_is_found_again_and_is_read_only(tmp_path: Path) -> None:
    put(Cache(tmp_path, AMPLE), b"model").lock.release()
    held = Cache(tmp_path, AMPLE).take(digest(b"model"), "model")
    assert held is not None
    assert held.path.read_bytes() == b"model"
    assert stat.S_IMODE(held.path.stat().st_mode) == 0o444
    assert has(Cache(tmp_path, AMPLE), digest(b"other")) is False


def test_one_content_has_every_name_it_was_fetched_under(tmp_path: Path) -> None:
    cache = Cache(tmp_path, AMPLE)
    first = put(cache, b"{}", "model.json")
    second = cache.take(first.digest, "model.ubj")
    assert second is not None
    assert (first.path.name, second.path.name) == ("model.json", "model.ubj")
    assert second.path.samefile(first.path)
    third = cache.take(first.digest, "model.json")  # a second name takes no room, and is no damage
    assert third is not None
    assert third.path == first.path


def test_a_folder_cannot_be_written_to(tmp_path: Path) -> None:
    cache = Cache(tmp_path, AMPLE)
    with cache.draft() as draft:
        (draft.files / "sub").mkdir()
        (draft.files / "sub" / "model").write_bytes(b"1")
        held = cache.publish(draft, digest(b"x"), "iris", Entry("folder", 1, 1, "sub"))
    assert held.path == tmp_path / "entries" / held.digest[7:] / "files" / "sub"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (held.path.parent, held.path, held.path / "model")] == [0o555, 0o555, 0o444]


def test_the_least_recently_used_goes_when_the_bound_is_passed(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 250)
    old, older = put_unused(cache, b"a" * 100, 2), put_unused(cache, b"b" * 100, 1)
    new = put(cache, b"c" * 100)
    assert [has(cache, d) for d in (older, old, new.digest)] == [False, True, True]


def test_being_used_again_counts(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 250)
    first, second = put_unused(cache, b"a" * 100, 1), put_unused(cache, b"b" * 100, 2)
    assert has(cache, first)
    put(cache, b"c" * 100)
    assert [has(cache, d) for d in (first, second)] == [True, False]


def test_what_another_process_uses_is_not_evicted_until_it_ends(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 150)
    used = put_unused(cache, b"a" * 100, 1)
    with another_process(tmp_path, f"held = cache.take({used!r}, 'model')"):
        put(cache, b"b" * 100).lock.release()
        assert has(cache, used)
        os.utime(tmp_path / "entries" / used[7:] / "entry.json", (1, 1))
    put(cache, b"c" * 100)
    assert not has(cache, used)


def test_one_entry_larger_than_the_bound_is_kept_while_it_is_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10)
    held = put(cache, b"a" * 100)
    cache.make_room(0)
    assert has(cache, held.digest)
    held.lock.release()
    cache.make_room(0)
    assert not has(cache, held.digest)


def test_room_is_made_before_it_is_needed(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 250)
    old = put_unused(cache, b"a" * 100, 1)
    cache.make_room(150)
    assert has(cache, old)
    cache.make_room(151)
    assert not has(cache, old)


def test_more_than_the_disk_has_left_is_refused_at_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path, AMPLE)
    with pytest.raises(DiskFull, match=f"{tmp_path}.* needs {1 << 60} bytes.*DRAGOMAN_CACHE_DIR"):
        cache.require_disk(1 << 60)


def test_what_a_uri_named_is_forgotten_with_its_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 150)
    gone = put_unused(cache, b"a" * 100, 1)
    cache.remember("one", "v1", gone)
    kept = put(cache, b"b" * 100)
    cache.remember("other", "v1", kept.digest)
    cache.make_room(0)
    assert (cache.ref("one"), cache.ref("other")) == (None, ("v1", kept.digest))


def test_a_draft_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, AMPLE)
    with pytest.raises(ZeroDivisionError), cache.draft() as draft:
        (draft.files / "model").write_bytes(b"half")
        raise ZeroDivisionError
    assert [*(tmp_path / "drafts").iterdir(), *(tmp_path / "entries").iterdir()] == []


def test_the_draft_of_a_process_that_was_killed_is_removed_and_a_live_one_is_not(tmp_path: Path) -> None:
    source = "made = cache.draft()\ndraft = made.__enter__()\n(draft.files / 'model').write_bytes(b'half')"
    cache = Cache(tmp_path, AMPLE)
    with another_process(tmp_path, source):
        cache.sweep()
        assert len(list((tmp_path / "drafts").iterdir())) == 1
    cache.sweep()
    assert list((tmp_path / "drafts").iterdir()) == []


@pytest.mark.parametrize("damage", ["shorter", "gone", "no entry.json", "broken entry.json", "another's entry.json"])
def test_an_entry_that_somebody_was_at_is_not_used_and_is_replaced(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path, AMPLE)
    held = put(cache, b"model")
    held.lock.release()
    entry = held.path.parent.parent / "entry.json"
    match damage:
        case "shorter":
            held.path.chmod(0o644)
            held.path.write_bytes(b"mod")
        case "gone":
            held.path.unlink()
        case "no entry.json":
            entry.unlink()
        case "broken entry.json":
            entry.write_text("{")
        case _:
            entry.write_text('{"later": 2}')
    assert not has(cache, held.digest)
    assert put(cache, b"model").path.read_bytes() == b"model"
    assert has(cache, held.digest)


def test_two_processes_that_make_the_same_entry_share_one(tmp_path: Path) -> None:
    cache, other = Cache(tmp_path, AMPLE), Cache(tmp_path, AMPLE)
    with cache.draft() as draft:
        (draft.files / "model").write_bytes(b"1")
        first = put(other, b"1")
        second = cache.publish(draft, digest(b"1"), "model", Entry("file", 1, 1, ""))
    assert first.path == second.path
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_second_fetch_of_the_same_thing_waits_and_hears_of_the_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, AMPLE)
    heard: list[str] = []
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        def waiting(said: str) -> None:
            heard.append(said)
            waits.set()

        with cache.turn("key", waiting):
            order.append("second")

    with cache.turn("key", heard.append) as turn:
        turn.write("half")
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join()
    assert (order, heard) == (["first", "second"], ["half"])
    assert list((tmp_path / "turns").iterdir()) == []


def test_a_turn_whose_process_was_killed_is_free_again(tmp_path: Path) -> None:
    with another_process(tmp_path, "turn = cache.turn('key', print)\nturn.__enter__()"):
        assert take(tmp_path / "turns" / "key", wait=False) is None
    with Cache(tmp_path, AMPLE).turn("key", lambda said: pytest.fail("nobody is fetching")):
        pass


def test_a_cache_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidSpec, match=r"cannot be written .*DRAGOMAN_CACHE_DIR"):
            Cache(root, AMPLE)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has /proc")
def test_a_cache_where_no_folder_can_be_made_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"/proc/x: the model cache cannot be written \(No such file or directory\); set .*--cache-dir"):
        Cache(Path("/proc/x"), AMPLE)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"DRAGOMAN_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/dragoman"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/dragoman"),  # the specification has relative ones ignored
        ({"HOME": "/h"}, "/h/.cache/dragoman"),
    ],
)
def test_the_environment_says_where_the_cache_is(environ: dict[str, str], folder: str) -> None:
    assert cache_dir(environ) == Path(folder)


def test_the_environment_says_how_large_the_cache_may_be() -> None:
    assert Request.of("x", environ={"HOME": "/h"}).cache_bytes == CACHE_BYTES
    assert Request.of("x", environ={"HOME": "/h", "DRAGOMAN_CACHE_BYTES": "5"}).cache_bytes == 5
    assert Request.of("x", cache_bytes=7, environ={"HOME": "/h", "DRAGOMAN_CACHE_BYTES": "5"}).cache_bytes == 7
    with pytest.raises(InvalidSpec, match="DRAGOMAN_CACHE_BYTES=5GB: must be a number of bytes"):
        Request.of("x", environ={"HOME": "/h", "DRAGOMAN_CACHE_BYTES": "5GB"})
