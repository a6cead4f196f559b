"""Compiled models on disk: found whole or not at all, bounded, and never taken from who holds them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dragoman.compiled import Compiled
from dragoman.storage.cache import Cache
from dragoman.storage.compiled import CompiledModels, stored_bytes

MADE = Compiled(engine="treelite", outputs=("predict",), rows=3, faster_up_to_rows=8)
LARGE = 1 << 30
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def kept(tmp_path: Path) -> CompiledModels:
    return CompiledModels(tmp_path / "cache", LARGE, tmp_path / "scratch")


def make(kept: CompiledModels, key: str, size: int = 10, compiled: Compiled = MADE) -> Path:
    with kept.draft() as draft:
        (draft / "model.bin").write_bytes(b"x" * size)
        return kept.publish(draft, key, compiled)


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder.parent / "entry.json", (then, then))


def test_what_was_published_is_found(kept: CompiledModels, tmp_path: Path) -> None:
    assert kept.find("a") is None
    folder = make(kept, "a")
    assert kept.find("a") == (folder, MADE)
    assert (folder / "model.bin").read_bytes() == b"x" * 10
    assert sorted(p.name for p in (tmp_path / "cache/compiled").iterdir()) == ["a"]  # no draft stays


def test_a_reason_is_kept_without_what_was_made(kept: CompiledModels) -> None:
    why_not = Compiled(reason="its probabilities differ")
    folder = make(kept, "a", compiled=why_not)
    assert kept.find("a") == (folder, why_not)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("breaking", ["other bytes", "a file less", "a file more", "no entry", "no JSON", "a file in its place"])
def test_one_that_is_broken_is_made_anew(kept: CompiledModels, breaking: str) -> None:
    folder = make(kept, "a")
    if breaking == "other bytes":
        (folder / "model.bin").write_bytes(b"y" * 10)
    elif breaking == "a file less":
        (folder / "model.bin").unlink()
    elif breaking == "a file more":
        (folder / "more").touch()
    elif breaking == "no entry":
        (folder.parent / "entry.json").unlink()
    elif breaking == "no JSON":
        (folder.parent / "entry.json").write_text("{")
    else:
        (aside := folder.parent.with_name("aside")).parent.joinpath("a").rename(aside)
        folder.parent.write_text("in the way")
    assert kept.find("a") is None
    again = make(kept, "a", size=12)
    assert kept.find("a") == (again, MADE)


def test_two_that_make_the_same_keep_the_first(kept: CompiledModels) -> None:
    with kept.draft() as slow:
        (slow / "model.bin").write_bytes(b"slow")
        first = make(kept, "a")
        assert kept.publish(slow, "a", MADE) == first
    assert (first / "model.bin").read_bytes() == b"x" * 10


def test_the_least_recently_used_goes_unless_it_is_held(tmp_path: Path) -> None:
    kept = CompiledModels(tmp_path / "cache", 1000, tmp_path / "scratch")  # of which 100 bytes
    held, old, recent = (make(kept, key, 30) for key in ("held", "old", "recent"))
    for folder, seconds in ((held, 30), (old, 20), (recent, 10)):
        age(folder, seconds)
    lock = kept.hold(held)
    assert lock is not None
    make(kept, "new", 30)
    assert [kept.find(key) is not None for key in ("held", "old", "recent", "new")] == [True, False, True, True]
    lock.release()
    age(held, 30)
    make(kept, "newer", 40)
    assert kept.find("held") is None
    assert stored_bytes(tmp_path / "cache") == 100


def test_they_count_towards_the_bound_of_the_models_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 200)
    make(CompiledModels(tmp_path / "cache", 2000, tmp_path / "scratch"), "a", 150)
    entry = tmp_path / "cache/entries" / ("0" * 64)
    (entry / "files").mkdir(parents=True)
    (entry / "entry.json").write_text('{"stored_bytes": 100}')
    cache.make_room(0)
    assert not entry.exists()


def test_where_the_cache_takes_nothing_it_goes_to_the_scratch_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/compiled").write_text("in the way")
    kept = CompiledModels(tmp_path / "cache", LARGE, tmp_path / "scratch")
    folder = make(kept, "a")
    assert folder.is_relative_to(tmp_path / "scratch")
    assert kept.find("a") == (folder, MADE)
    assert kept.attempt(DIGEST)


def test_a_draft_that_was_left_behind_goes_with_the_next(kept: CompiledModels, tmp_path: Path) -> None:
    left = tmp_path / "cache/compiled/.draft-1-1"
    (left / "model").mkdir(parents=True)
    make(kept, "a")
    assert not left.exists()


def test_attempts_are_counted_until_they_end_well_or_a_day_has_passed(kept: CompiledModels, tmp_path: Path) -> None:
    assert kept.attempt(DIGEST)
    kept.attempted(DIGEST)
    assert [kept.attempt(DIGEST) for _ in range(3)] == [True, True, False]
    (file,) = (tmp_path / "cache/compiled/.attempts").iterdir()
    then = time.time() - 25 * 3600
    os.utime(file, (then, then))
    assert kept.attempt(DIGEST)
