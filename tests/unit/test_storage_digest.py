"""What a pin pins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidSpec, ModelNotFound, UnsupportedFormat
from dragoman.storage.digest import digest_of, files_of, folder_digest

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\\\x00", exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=3
).map("/".join)
FOLDERS = st.dictionaries(NAMES, st.binary(), max_size=6)


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"hello")
    assert digest_of(tmp_path / "model") == "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_a_folder_has_the_digest_that_coreutils_give(tmp_path: Path) -> None:
    for name, content in {"b.txt": b"B", "a b/ü.txt": b"U", "a/z": b"", "Z": b"z", ".hidden": b"h"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    line = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert digest_of(tmp_path) == f"sha256:{said[:64]}"


@given(FOLDERS)
def test_the_order_in_which_files_are_listed_does_not_matter(files: dict[str, bytes]) -> None:
    pairs = [(name, hashlib.sha256(content).hexdigest()) for name, content in files.items()]
    assert folder_digest(pairs) == folder_digest(reversed(pairs))


@given(FOLDERS, FOLDERS)
def test_different_folders_have_different_digests(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    def digest(files: dict[str, bytes]) -> str:
        return folder_digest((name, hashlib.sha256(content).hexdigest()) for name, content in files.items())

    assert (digest(one) == digest(other)) == (one == other)


def test_a_link_counts_as_what_it_points_to(tmp_path: Path) -> None:
    plain, linked = tmp_path / "plain", tmp_path / "linked"
    (plain / "sub").mkdir(parents=True)
    (plain / "sub" / "model").write_bytes(b"1")
    linked.mkdir()
    (linked / "sub").symlink_to(plain / "sub")
    assert digest_of(linked) == digest_of(plain)


def test_a_mounted_config_map_has_the_digest_of_its_files(tmp_path: Path) -> None:
    real = tmp_path / "..2024_01_01"
    real.mkdir()
    (real / "model.json").write_bytes(b"{}")
    (tmp_path / "..data").symlink_to(real.name)
    (tmp_path / "model.json").symlink_to("..data/model.json")
    assert [name for name, _ in files_of(tmp_path)] == ["model.json"]


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to("gone")
    with pytest.raises(ModelNotFound, match="model: a link to gone"):
        digest_of(tmp_path)


def test_a_link_to_a_folder_above_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    with pytest.raises(UnsupportedFormat, match="leads back"):
        digest_of(tmp_path)


@pytest.mark.parametrize("inside", [False, True])
def test_a_pipe_is_refused_and_not_read(tmp_path: Path, inside: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidSpec, match="neither a file nor a folder"):
        digest_of(tmp_path if inside else tmp_path / "pipe")


def test_nothing_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="none: no such file or folder"):
        digest_of(tmp_path / "none")


def test_a_copied_folder_keeps_its_digest(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model").write_bytes(b"1")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "other")
