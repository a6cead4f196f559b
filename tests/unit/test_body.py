from __future__ import annotations

import asyncio
import bz2
import gzip
import zlib
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from dragoman.admission import Admission
from dragoman.body import BodyLimit, ClientLeft, read_body
from dragoman.dialects.dialect import ENCODINGS
from dragoman.errors import BadRequest, CallError, TooLarge, UnsupportedMediaType
from dragoman.heartbeat import Heartbeats

_LIMIT = 1000


def read(*parts: bytes, leaves: bool = False, **headers: Any) -> bytes:
    """A body that comes in these parts, read."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if leaves:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    shared = Heartbeats.create(1)
    admission = Admission(10, 10 * _LIMIT, shared, shared.slot(0))

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    async def reading() -> bytes:
        return await read_body(
            receive, {k.replace("_", "-"): str(v) for k, v in headers.items()}, BodyLimit(_LIMIT), 1e12, admission, ENCODINGS | {"bz2"}
        )

    try:
        return asyncio.run(reading())
    finally:
        assert admission.body_bytes == 0


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("bz2", bz2.compress), ("identity", bytes), ("GZIP", gzip.compress)],
)
def test_a_body_is_the_same_however_it_is_packed_and_cut(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"rows of a table")
    assert read(packed, content_encoding=encoding) == b"rows of a table"
    assert read(packed[:7], packed[7:], content_encoding=encoding) == b"rows of a table"


def test_a_gzip_body_may_have_several_members() -> None:
    assert read(gzip.compress(b"a") + gzip.compress(b"b"), content_encoding="gzip") == b"ab"


@pytest.mark.parametrize(
    ("make", "headers", "kind", "words"),
    [
        (lambda: (b"x" * 1001,), {}, TooLarge, "larger than 1000 bytes"),
        (lambda: (b"x" * 600, b"x" * 600), {}, TooLarge, "larger than 1000 bytes"),
        (lambda: (b"",), {"content_length": "1001"}, TooLarge, "larger than 1000 bytes"),
        (lambda: (gzip.compress(b"0" * 100_000),), {"content_encoding": "gzip"}, TooLarge, "when decompressed"),
        (lambda: (zlib.compress(b"0" * 100_000),), {"content_encoding": "deflate"}, TooLarge, "when decompressed"),
        (lambda: (bz2.compress(b"0" * 100_000),), {"content_encoding": "bz2"}, TooLarge, "when decompressed"),
        (lambda: (b"BZh9 is not it",), {"content_encoding": "bz2"}, BadRequest, "not valid bzip2"),
        (lambda: (bz2.compress(b"rows")[:-4],), {"content_encoding": "bz2"}, BadRequest, "cut short"),
        (lambda: (gzip.compress(b"rows")[:-6],), {"content_encoding": "gzip"}, BadRequest, "cut short"),
        (lambda: (b"rows",), {"content_encoding": "gzip"}, BadRequest, "not valid gzip"),
        (lambda: (b"rows",), {"content_encoding": "br"}, UnsupportedMediaType, "gzip or deflate"),
    ],
)
def test_what_cannot_be_read_is_refused(
    make: Callable[[], tuple[bytes, ...]], headers: dict[str, Any], kind: type[CallError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        read(*make(), **headers)


def test_a_client_that_leaves_before_its_body_is_whole_gets_no_answer() -> None:
    with pytest.raises(ClientLeft):
        read(b"half", leaves=True)
