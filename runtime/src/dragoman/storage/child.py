"""Fetches in a process of its own, for one whose event loop must go on turning."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from dragoman.cgroup import oom_kills
from dragoman.errors import ModelLoadFailed, OutOfMemory, ServeError, StorageUnavailable, serve_error
from dragoman.storage.cache import Cache
from dragoman.storage.names import disk_name
from dragoman.storage.request import Fetched, OnEvent, Progress, Request, Warned
from dragoman.storage.uri import redacted

_LINE_BYTES = 1024 * 1024
_STDERR_BYTES = 8 * 1024


async def fetch_in_child(request: Request, on_event: OnEvent) -> Fetched:
    """As `fetch.fetch`, in a child process: `on_event` is called in this loop. Cancelling it kills the child.

    Raises `ServeError`: what the child reports; `OutOfMemory` when the kernel killed it for memory; else for a child that ends
    without a word `StorageUnavailable` (a signal) or `ModelLoadFailed` (a fault of its own, with its last words).
    """
    kills = oom_kills()
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "dragoman.storage.fetcher",
            stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=_LINE_BYTES, process_group=0,
        )  # fmt: skip
    except OSError as error:
        raise StorageUnavailable(f"{redacted(request.uri)}: the process that fetches it could not be started: {error}") from error
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    words = asyncio.create_task(_last_words(child.stderr))
    try:
        with contextlib.suppress(ConnectionError):  # a child that died at once is reported below
            child.stdin.write(json.dumps(request.to_json()).encode() + b"\n")
            await child.stdin.drain()
        fetched = await _answer(child.stdout, request, on_event)
        child.stdin.close()
        if fetched is not None:
            return fetched
        code = await child.wait()
        raise _ended(request, code, oom_kills(), kills, await words)
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # child.kill() reaps one that has just ended, from under the loop that waits for it
        await child.wait()
        words.cancel()
        child.stdin.close()


async def _answer(events: asyncio.StreamReader, request: Request, on_event: OnEvent) -> Fetched | None:
    """What the child says in the end, with the entry held by this process; None when it ends without saying."""
    async for line in events:
        event: dict[str, Any] = json.loads(line)
        if "progress" in event:
            on_event(Progress(event["progress"]["bytes"], event["progress"]["totalBytes"]))
        elif "warning" in event:
            on_event(Warned(event["warning"]))
        elif "error" in event:
            raise serve_error(event["error"]["reason"], event["error"]["message"])
        else:
            return _held(event["result"], request)
    return None


def _held(result: dict[str, Any], request: Request) -> Fetched:
    """The child holds the entry until its input ends: it cannot have gone."""
    held = Cache(request.cache, request.cache_bytes).take(result["digest"], disk_name(result["name"]))
    if held is None:
        raise StorageUnavailable(
            f"{redacted(request.uri)}: was taken out of the cache {request.cache} while it was fetched; leave the cache to dragoman"
        )
    return Fetched(Path(result["path"]), result["name"], result["digest"], result["bytes"], held.lock)


async def _last_words(stderr: asyncio.StreamReader) -> str:
    said = b""
    while some := await stderr.read(_STDERR_BYTES):
        said = (said + some)[-_STDERR_BYTES:]
    return said.decode(errors="replace").strip()


def _ended(request: Request, code: int, kills: int | None, kills_before: int | None, words: str) -> ServeError:
    """Why a child that said nothing ended."""
    uri = redacted(request.uri)
    if code == -signal.SIGKILL and kills is not None and kills_before is not None and kills > kills_before:
        return OutOfMemory(f"{uri}: the process that fetches it was killed for lack of memory; raise the memory limit")
    if code < 0:
        return StorageUnavailable(f"{uri}: the process that fetches it was ended by {signal.Signals(-code).name}; it is tried again")
    last = words.rpartition("\n")[2] or "no message"
    return ModelLoadFailed(f"{uri}: the process that fetches it ended with exit code {code}: {last}")
