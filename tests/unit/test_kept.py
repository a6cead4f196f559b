"""Replies that are kept until they expire, and the predicts that make them."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.deferred import Deferrals
from dragoman.dialects.dialect import Deferred, Reply, ReplyStore
from dragoman.errors import CallError, StoreUnavailable
from dragoman.kept import Folder, Stores, awaited, decoded, encoded

REPLY = Reply(500, b'{"detail":"\xc3\xbc"}', headers=(("x-predict-id", "4"),))
KEPT = Deferred(ReplyStore(), lambda request: "key", lambda request: REPLY, keep_seconds=60)


@given(st.integers(100, 599), st.binary(), st.text(), st.lists(st.tuples(st.text(), st.text())).map(tuple))
def test_a_reply_is_kept_as_it_was(status: int, body: bytes, media_type: str, headers: tuple[tuple[str, str], ...]) -> None:
    reply = Reply(status, body, media_type, headers)
    assert decoded(encoded(reply)) == reply


def test_a_reply_is_there_for_every_worker_until_it_expires(tmp_path: Path) -> None:
    async def test() -> None:
        mine, other = Folder(tmp_path), Folder(tmp_path)
        await mine.put("live", REPLY, 60)
        await mine.put("dead", REPLY, -1)
        assert await other.get("live") == REPLY
        assert await other.get("live") == REPLY
        assert await other.get("dead") is None
        assert await other.get("never") is None

    asyncio.run(test())


def test_what_has_expired_is_removed_whoever_put_it_there(tmp_path: Path) -> None:
    async def test() -> None:
        mine, other = Folder(tmp_path), Folder(tmp_path)
        await other.put("dead", REPLY, -1)
        await other.put("live", REPLY, 60)
        (tmp_path / ".1-half").write_bytes(b"a worker died here")
        os.utime(tmp_path / ".1-half", (0, 0))
        mine._sweep()

    asyncio.run(test())
    assert [path.name for path in tmp_path.iterdir()] == ["live"]


def test_who_asks_too_soon_waits(tmp_path: Path) -> None:
    async def test() -> None:
        store = Stores(tmp_path).of(ReplyStore())
        asked = asyncio.ensure_future(awaited(store, "key", 30))
        await asyncio.sleep(0)
        await store.put("key", REPLY, 60)
        assert await asked == REPLY
        assert await awaited(store, "other", 0.01) is None

    asyncio.run(test())


class TooLarge(Folder):
    """A store that takes small replies only, as memcached does."""

    async def put(self, key: str, reply: Reply, seconds: float) -> None:
        if len(reply.body) > 100:
            raise StoreUnavailable("object too large for cache")
        await super().put(key, reply, seconds)


def test_a_reply_that_cannot_be_kept_is_told_to_who_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def large() -> Reply:
        return Reply(200, b"x" * 101)

    async def test() -> Reply | None:
        store, deferrals, left = TooLarge(tmp_path), Deferrals(), asyncio.Event()
        deferrals.begin("key", KEPT, store, large(), fail=shown, finished=left.set)
        await left.wait()
        return await store.get("key")

    def shown(error: CallError) -> Reply:
        return Reply(error.status, error.message.encode())

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(test()) == Reply(503, b"the reply could not be kept: object too large for cache")
    assert "object too large" in caplog.text


def test_an_end_waits_for_what_runs_and_says_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def reply(after: asyncio.Event) -> Reply:
        await after.wait()
        return REPLY

    async def test() -> list[str]:
        store, deferrals, gone = Folder(tmp_path), Deferrals(), []
        never, soon = asyncio.Event(), asyncio.Event()
        deferrals.begin("stuck", KEPT, store, reply(never), fail=lambda e: REPLY, finished=lambda: gone.append("stuck"))
        deferrals.begin("ended", KEPT, store, reply(soon), fail=lambda e: REPLY, finished=lambda: gone.append("ended"))
        soon.set()
        await deferrals.finish(0.1)
        await asyncio.sleep(0.01)
        assert await store.get("ended") == REPLY
        return gone

    with caplog.at_level(logging.INFO):
        assert asyncio.run(test()) == ["ended", "stuck"]
    said = {record.message: getattr(record, "predict", "") for record in caplog.records}
    assert said["a deferred predict has not ended in time, and its reply is lost"] == "stuck"
    assert any("1 replies of deferred predicts end with this server" in message for message in said)
