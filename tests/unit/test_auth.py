"""Tokens: what a file of them may hold, how it is followed, and what a manifest says of it."""

from __future__ import annotations

import base64
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman import auth, manifest
from dragoman.auth import Tokens, tokens_in
from dragoman.dialects.dialect import Request, bearer
from dragoman.errors import InvalidSpec, Unauthorized, UnknownToken
from dragoman.guard import bearer_or_basic


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_a_second(self) -> None:
        self.now += 1.0


def written(path: Path, text: str | bytes, seconds_ago: float = 60) -> Path:
    """A file as it was written some time ago; a moment ago, it would be read again to be sure."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    then = path.stat().st_mtime - seconds_ago
    os.utime(path, (then, then))
    return path


def secret(folder: Path, number: int, keys: dict[str, str]) -> None:
    """A Secret as the kubelet mounts it: all keys change at once, when the link `..data` is replaced."""
    version = folder / f"..2026_11_22_{number}"
    version.mkdir(parents=True)
    for key, content in keys.items():
        written(version / key, content)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")
    for old in folder.iterdir():
        if not old.name.startswith("..") and old.name not in keys:
            old.unlink()
    for key in keys:
        if not (folder / key).is_symlink():
            (folder / key).symlink_to(f"..data/{key}")


# --- what a file may hold ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("one\n", ["one"]),
        ("one\ntwo\n", ["one", "two"]),
        ("# for rotation\n\n  one  \n\t\n#two\nthree", ["one", "three"]),
        (b"\xef\xbb\xbfone\r\ntwo\r\n", ["one", "two"]),
        ("a+/=-._~!#b", ["a+/=-._~!#b"]),
    ],
)
def test_a_file_has_one_token_a_line(tmp_path: Path, text: str, tokens: list[str]) -> None:
    assert tokens_in(written(tmp_path / "tokens", text)) == tokens


def test_a_secrets_keys_are_such_files_each(tmp_path: Path) -> None:
    secret(tmp_path, 1, {"old": "one\n", "new": "two\nthree"})
    assert sorted(tokens_in(tmp_path)) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no token: write one a line"),
        ("# none yet\n\n", "the file holds no token: write one a line"),
        ("one\nname: two\n", "line 2 is no token: it must be of printable ASCII characters, without spaces"),
        ("clé", "line 1 is no token"),
        (b"\x00\x01", "line 1 is no token"),
        ("x" * (1024 * 1024 + 1), "a file of tokens has at most 1048576 bytes"),
    ],
)
def test_what_is_no_token_is_refused_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "tokens", text)
    with pytest.raises(InvalidSpec) as refused:
        Tokens(path)
    assert refused.value.message.startswith(f"{path}: {message}")
    assert "two" not in refused.value.message


def test_a_file_or_folder_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="nowhere: no such file; write the tokens into it, one a line"):
        Tokens(tmp_path / "nowhere")
    with pytest.raises(InvalidSpec, match="the folder holds no token: a key of the Secret needs one a line"):
        Tokens(tmp_path)


@given(st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1), min_size=1, max_size=5), st.text(max_size=8))
def test_exactly_the_tokens_of_the_file_are_accepted(tmp_path_factory: pytest.TempPathFactory, tokens: list[str], other: str) -> None:
    tokens = ["first", *tokens]
    found = Tokens(written(tmp_path_factory.mktemp("tokens") / "tokens", "\n".join(tokens)))
    kept = {token for token in tokens if not token.startswith("#")}
    assert all(found.accepts(token) == (token in kept) for token in [*tokens, other, tokens[0] + "x", tokens[0][:-1]])


# --- following it ------------------------------------------------------------------------------------------------


def test_a_change_is_followed_within_a_second_and_not_looked_for_more_often(tmp_path: Path) -> None:
    clock = Clock()
    tokens = Tokens(written(tmp_path / "tokens", "one"), clock=clock)
    written(tmp_path / "tokens", "two, longer".replace(", ", "-"))
    assert (tokens.accepts("one"), tokens.accepts("two-longer")) == (True, False)
    clock.pass_a_second()
    assert (tokens.accepts("one"), tokens.accepts("two-longer")) == (False, True)


def test_a_token_of_the_same_length_written_in_the_same_moment_is_followed(tmp_path: Path) -> None:
    """Size and time of the file are then as they were."""
    clock, path = Clock(), tmp_path / "tokens"
    path.write_text("one")
    tokens = Tokens(path, clock=clock)
    seen = path.stat()
    path.write_text("two")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    clock.pass_a_second()
    assert (tokens.accepts("one"), tokens.accepts("two")) == (False, True)


def test_a_rotated_secret_is_followed(tmp_path: Path) -> None:
    clock = Clock()
    secret(tmp_path, 1, {"current": "one"})
    tokens = Tokens(tmp_path, clock=clock)
    secret(tmp_path, 2, {"current": "one", "next": "two"})
    clock.pass_a_second()
    assert (tokens.accepts("one"), tokens.accepts("two")) == (True, True)
    secret(tmp_path, 3, {"next": "two"})
    clock.pass_a_second()
    assert (tokens.accepts("one"), tokens.accepts("two")) == (False, True)


@pytest.mark.parametrize("broken", ["gone", "empty", "nonsense"])
def test_what_cannot_be_read_any_more_changes_nothing_and_is_told_once(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    path = written(tmp_path / "tokens", "alpha")
    tokens = Tokens(path, clock=clock)
    if broken == "gone":
        path.unlink()
    else:
        written(path, {"empty": "", "nonsense": "a secret, with spaces"}[broken])
    with caplog.at_level(logging.INFO, "dragoman.auth"):
        for _ in range(3):
            clock.pass_a_second()
            assert tokens.accepts("alpha")
        (record,) = caplog.records
        assert (record.levelname, record.getMessage().startswith(f"{path}: ")) == ("ERROR", True)
        assert record.getMessage().endswith("; the tokens read before stay")
        written(path, "beta")
        clock.pass_a_second()
        assert (tokens.accepts("alpha"), tokens.accepts("beta")) == (False, True)
    assert caplog.records[-1].getMessage() == "tokens were read again"
    assert not any(word in caplog.text for word in ("alpha", "beta", "secret"))


def test_a_worker_that_starts_while_the_file_is_gone_accepts_nothing_until_it_is_there(tmp_path: Path) -> None:
    clock = Clock()
    tokens = Tokens(tmp_path / "tokens", required=False, clock=clock)
    assert not tokens.accepts("one")
    assert not tokens.accepts("")
    written(tmp_path / "tokens", "one")
    clock.pass_a_second()
    assert tokens.accepts("one")


def test_no_token_can_be_read_out_of_what_is_kept(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "tokens", "find-me-if-you-can"))
    assert "find-me-if-you-can" not in repr(vars(tokens))


# --- how a request presents its token ----------------------------------------------------------------------------


def asked(value: str | None) -> Request:
    return Request("GET", "/", {} if value is None else {"authorization": value}, b"")


@pytest.mark.parametrize("value", ["Bearer one", "bearer one", "BEARER  one "])
def test_a_bearer_token_is_read(value: str) -> None:
    assert bearer(asked(value)) == bearer_or_basic(asked(value)) == "one"


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "one", "Token one", "Basic " + base64.b64encode(b"a:one").decode()])
def test_anything_else_is_no_bearer_token(value: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        bearer(asked(value))
    assert (refused.value.status, refused.value.headers) == (401, (("www-authenticate", "Bearer"),))
    assert "one" not in refused.value.message
    assert issubclass(UnknownToken, Unauthorized)


def test_a_browser_sends_the_token_as_a_password() -> None:
    assert bearer_or_basic(asked("Basic " + base64.b64encode(b"anybody:a:b").decode())) == "a:b"
    for broken in ("Basic not-base64!", "Basic " + base64.b64encode(b"\xff\xfe").decode()):
        with pytest.raises(Unauthorized):
            bearer_or_basic(asked(broken))


# --- the manifest ------------------------------------------------------------------------------------------------


def document(**of_auth: Any) -> dict[str, Any]:
    spec = {"model": {"uri": "./model.joblib"}, "serving": {"auth": of_auth}}
    return {"apiVersion": "dragoman.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "iris"}, "spec": spec}


@pytest.mark.parametrize("key", ["tokens", "adminTokens"])
@pytest.mark.parametrize("source", [{}, {"secretName": "a", "file": "b"}, {"file": ""}, {"secretName": ""}])
def test_a_source_is_one_of_the_two(key: str, source: dict[str, str]) -> None:
    with pytest.raises(InvalidSpec, match=f"spec.serving.auth.{key}: name one source, secretName .* or file"):
        manifest.parse(document(**{key: source}))


def test_a_file_is_meant_from_the_manifests_folder(tmp_path: Path) -> None:
    path = tmp_path / "iris.yaml"
    path.write_text(json.dumps(document(tokens={"file": "keys/tokens"}, adminTokens={"file": "/etc/admins"})))
    (found,) = manifest.load(path)
    tokens, admins = found.spec.serving.auth.tokens, found.spec.serving.auth.admin_tokens
    assert tokens is not None
    assert admins is not None
    assert (tokens.file, admins.file) == (str(tmp_path / "keys/tokens"), "/etc/admins")


def test_a_start_needs_every_token_that_is_named(tmp_path: Path) -> None:
    good = str(written(tmp_path / "tokens", "one"))
    auth.check([manifest.parse(document(tokens={"file": good}, adminTokens={"file": good})), manifest.parse(document())])
    with pytest.raises(InvalidSpec, match=r"iris: spec.serving.auth.adminTokens: /nowhere: no such file"):
        auth.check([manifest.parse(document(tokens={"file": good}, adminTokens={"file": "/nowhere"}))])
    with pytest.raises(InvalidSpec, match=r"iris: spec.serving.auth.tokens.secretName: a Secret is read on a cluster; here, name a file"):
        auth.check([manifest.parse(document(tokens={"secretName": "clients"}))])


def test_models_that_name_one_file_share_it_and_a_model_without_tokens_is_open(tmp_path: Path) -> None:
    good = str(written(tmp_path / "tokens", "one"))
    first, second = (manifest.parse(document(tokens={"file": good})) for _ in range(2))
    assert auth.tokens_of(first) is auth.tokens_of(second)
    assert auth.admin_tokens_of(first) is None
    assert auth.tokens_of(manifest.parse(document())) is None
