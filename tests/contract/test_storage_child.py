"""Fetching in a process of its own: what it brings, and what becomes of it when things end badly."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from bench.fetch_memory import BOUND_MIB, MIB, peak_mib
from tests.servers.behaviour import Behaviour, stalls
from tests.servers.hostile import HostileServer, hostile_http
from tests.servers.objects import ObjectServer

from dragoman.errors import DiskFull, ModelLoadFailed, ModelNotFound, OutOfMemory, StorageUnavailable
from dragoman.storage import child
from dragoman.storage.cache import Cache
from dragoman.storage.child import fetch_in_child
from dragoman.storage.digest import digest_of
from dragoman.storage.request import Event, Progress, Request

CONTENT = os.urandom(200_000)
FETCHER = [sys.executable, "-P", "-m", "dragoman.storage.fetcher"]


def answer(request: Request, command: Sequence[str] = FETCHER) -> tuple[list[dict[str, object]], int]:
    """The events and the exit code of a child that is run from a shell."""
    done = subprocess.run(command, input=json.dumps(request.to_json()), capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def fetchers() -> list[psutil.Process]:
    """The fetch processes of this one, which has others: servers."""
    return [each for each in psutil.Process().children() if "dragoman.storage.fetcher" in each.cmdline()]


async def asked(server: HostileServer, count: int = 1) -> None:
    """Waits until the server has been asked so often."""
    async with asyncio.timeout(30):
        while len(server.requests) < count:
            await asyncio.sleep(0.01)


def test_a_shell_can_use_it(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"1")
    events, code = answer(Request.of(str(tmp_path / "model"), cache=tmp_path / "cache"))
    digest = digest_of(tmp_path / "model")
    path = tmp_path / "cache" / "entries" / digest[7:] / "files" / "model"
    assert events == [
        {"progress": {"bytes": 1, "totalBytes": 1}},
        {"result": {"path": str(path), "name": "model", "digest": digest, "bytes": 1}},
    ]
    assert code == 0


@pytest.mark.parametrize(
    ("uri", "reason", "code"), [("none", "ModelNotFound", 11), ("gcs://x/y", "InvalidSpec", 10), ("https://127.0.0.1/", "InvalidSpec", 10)]
)
def test_its_exit_code_is_the_errors(tmp_path: Path, uri: str, reason: str, code: int) -> None:
    events, ended = answer(Request.of(uri, cache=tmp_path / "cache"))
    error = events[-1]["error"]
    assert isinstance(error, dict)
    assert (error["reason"], ended) == (reason, code)


@pytest.mark.parametrize("line", ["", "nonsense\n", "[]\n", '{"uri": "x"}\n', '{"uri": "x", "cache": "y", "more": 1}\n'])
def test_a_request_that_is_none_is_refused(line: str) -> None:
    done = subprocess.run(FETCHER, input=line, capture_output=True, text=True, check=False)
    assert (json.loads(done.stdout)["error"]["reason"], done.returncode, done.stderr) == ("InvalidSpec", 10, "")


def test_it_brings_the_model_and_its_parent_holds_it(tmp_path: Path) -> None:
    async def run() -> None:
        told: list[Event] = []
        with hostile_http({"model": CONTENT}) as server:
            request = Request.of(server.uri("model"), cache=tmp_path / "cache", cache_bytes=1)
            fetched = await fetch_in_child(request, told.append)
        assert fetched.path.read_bytes() == CONTENT
        assert (fetched.name, fetched.bytes, fetched.digest) == ("model", len(CONTENT), digest_of(fetched.path))
        assert told[-1] == Progress(len(CONTENT), len(CONTENT))
        Cache(request.cache, 1).make_room(0)
        assert fetched.path.exists()
        fetched.lease.release()
        Cache(request.cache, 1).make_room(0)
        assert not fetched.path.exists()

    asyncio.run(run())


def test_its_error_is_its_parents(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="none: no such file or folder"):
        asyncio.run(fetch_in_child(Request.of(f"{tmp_path}/none", cache=tmp_path / "cache"), print))


def test_cancelling_ends_it_and_a_later_fetch_removes_what_it_left(tmp_path: Path) -> None:
    async def run() -> None:
        with hostile_http({"model": CONTENT}, [stalls(after=100_000)]) as server:
            request = Request.of(server.uri("model"), cache=tmp_path / "cache")
            started = asyncio.Event()
            task = asyncio.create_task(fetch_in_child(request, lambda event: started.set()))
            await asyncio.wait_for(started.wait(), 30)
            (process,) = fetchers()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not process.is_running()
            assert list((tmp_path / "cache" / "entries").iterdir()) == []
            assert len(list((tmp_path / "cache" / "drafts").iterdir())) == 1
            assert (await fetch_in_child(request, print)).path.read_bytes() == CONTENT
        assert list((tmp_path / "cache" / "drafts").iterdir()) == []

    asyncio.run(run())


def test_one_that_is_killed_is_told_apart_and_may_be_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        with hostile_http({"model": CONTENT}, [stalls(after=100_000)]) as server:
            request = Request.of(server.uri("model"), cache=tmp_path / "cache")
            task = asyncio.create_task(fetch_in_child(request, print))
            await asked(server)
            (process,) = fetchers()
            process.kill()
            with pytest.raises(StorageUnavailable, match="was ended by SIGKILL") as ended:
                await task
            assert ended.value.transient
            assert (await fetch_in_child(request, print)).path.read_bytes() == CONTENT

    asyncio.run(run())


def test_one_that_the_kernel_killed_for_memory_is_out_of_memory(tmp_path: Path) -> None:
    request = Request.of("https://me:hush@host/x", cache=tmp_path)
    error = child._ended(request, -signal.SIGKILL, 3, 2, "")
    assert isinstance(error, OutOfMemory)
    assert "hush" not in error.message
    assert isinstance(child._ended(request, -signal.SIGKILL, 2, 2, ""), StorageUnavailable)
    assert isinstance(child._ended(request, -signal.SIGKILL, None, None, ""), StorageUnavailable)


def test_one_that_says_nothing_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Traceback >&2\necho 'ImportError: no luck' >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ModelLoadFailed, match="ended with exit code 3: ImportError: no luck"):
        asyncio.run(fetch_in_child(Request.of("s3://models/x", cache=tmp_path / "cache"), print))
    python.unlink()
    with pytest.raises(StorageUnavailable, match="could not be started"):
        asyncio.run(fetch_in_child(Request.of("s3://models/x", cache=tmp_path / "cache"), print))


def test_two_at_once_fetch_it_once_and_both_tell_of_its_progress(tmp_path: Path) -> None:
    async def run() -> None:
        with hostile_http({"model": CONTENT}, [stalls(after=100_000)]) as server:
            request = Request.of(server.uri("model"), cache=tmp_path / "cache")
            heard: list[Event] = []
            hears = asyncio.Event()

            def on_event(event: Event) -> None:
                heard.append(event)
                hears.set()

            first = asyncio.create_task(fetch_in_child(request, print))
            await asked(server)
            second = asyncio.create_task(fetch_in_child(request, on_event))
            await asyncio.wait_for(hears.wait(), 30)
            assert isinstance(heard[0], Progress)
            assert heard[0].total_bytes == len(CONTENT)
            assert len(server.requests) == 1
            server.resume()
            one, other = await asyncio.gather(first, second)
            assert one.path == other.path
            assert [request.headers.get("range") for request in server.requests] == [None, None]  # the second asks whether it changed

    asyncio.run(run())


def test_many_at_once_share_one_cache(tmp_path: Path) -> None:
    """Six processes, three models, a cache with room for one: each gets its own bytes, whole."""

    async def run() -> None:
        with hostile_http({f"model-{n}": bytes([n]) * 50_000 for n in range(3)}) as server:

            async def one(n: int) -> bytes:
                request = Request.of(server.uri(f"model-{n % 3}"), cache=tmp_path / "cache", cache_bytes=60_000)
                return (await fetch_in_child(request, print)).path.read_bytes()

            assert await asyncio.gather(*map(one, range(6))) == [bytes([n % 3]) * 50_000 for n in range(6)]

    asyncio.run(run())


def test_one_whose_parent_has_gone_ends(tmp_path: Path) -> None:
    with hostile_http({"model": CONTENT}, Behaviour(sends=20_000)) as server:
        request = Request.of(server.uri("model"), cache=tmp_path / "cache")
        with subprocess.Popen(FETCHER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.close()
            print(json.dumps(request.to_json()), file=process.stdin, flush=True)
            assert process.wait(30) == 1


def test_a_full_disk_ends_it_with_its_code(tmp_path: Path) -> None:
    """The largest file that a process may write is as good as a full disk, and needs no disk of its own."""
    (tmp_path / "model").write_bytes(CONTENT)
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *FETCHER]
    with hostile_http({"model": CONTENT}) as server:
        for uri in (str(tmp_path / "model"), server.uri("model")):
            events, code = answer(Request.of(uri, cache=tmp_path / "cache"), limited)
            error = events[-1]["error"]
            assert isinstance(error, dict)
            assert (error["reason"], code) == ("DiskFull", DiskFull.exit_code)
            assert f"{tmp_path}/cache" in error["message"]
    assert [*(tmp_path / "cache" / "entries").iterdir(), *(tmp_path / "cache" / "drafts").iterdir()] == []


@pytest.mark.parametrize(("place", "why"), [("remote", "needs 200000 bytes"), ("local", "is full")])
def test_a_small_disk_ends_it_with_its_code(tmp_path: Path, place: str, why: str) -> None:
    """Told before it is filled where the size is known; a local copy may need no room at all, and is tried."""
    (tmp_path / "model").write_bytes(CONTENT)
    (tmp_path / "disk").mkdir()
    alone = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=100k none {tmp_path}/disk && exec "$@"',
        "sh",
    ]
    with hostile_http({"model": CONTENT}) as server:
        uri = server.uri("model") if place == "remote" else str(tmp_path / "model")
        events, code = answer_or_skip(Request.of(uri, cache=tmp_path / "disk" / "cache"), [*alone, *FETCHER])
    error = events[-1]["error"]
    assert isinstance(error, dict)
    assert (error["reason"], code) == ("DiskFull", DiskFull.exit_code)
    assert why in error["message"]


def answer_or_skip(request: Request, command: Sequence[str]) -> tuple[list[dict[str, object]], int]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]}, which gives a test a file system of its own, is not here")
    done = subprocess.run(command, input=json.dumps(request.to_json()), capture_output=True, text=True, check=False)
    if not done.stdout:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def test_a_local_file_is_fetched_without_importing_what_is_heavy(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"1")
    code = (
        "import io, json, sys\nfrom dragoman.storage.fetcher import main\n"
        "assert main(io.StringIO(sys.argv[1]), io.StringIO()) == 0\n"
        "print(sorted({'numpy', 'obstore', 'asyncio', 'msgspec', 'tarfile', 'zipfile', 'concurrent'} & set(sys.modules)))"
    )
    request = json.dumps(Request.of(str(tmp_path / "model"), cache=tmp_path / "cache").to_json())
    assert subprocess.run([sys.executable, "-c", code, request], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_the_supervisor_imports_is_light() -> None:
    code = "import sys, dragoman.storage.child\nprint(sorted({'numpy', 'obstore', 'boto3', 'tarfile', 'zipfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_its_memory_does_not_grow_with_the_model(s3_server: ObjectServer, tmp_path: Path) -> None:
    """A fifth of what bench/fetch_memory.py measures; more than the bound, were it held in memory."""
    large = s3_server.folder / s3_server.bucket / "storage" / "large.bin"
    large.parent.mkdir(exist_ok=True)
    with large.open("wb") as file:
        file.truncate(400 * MIB)
    os.utime(large, (1, 1))
    try:
        idle, _ = peak_mib(Request.of(s3_server.put("storage/one", b"1"), options=s3_server.options, cache=tmp_path))
        peak, _ = peak_mib(Request.of(s3_server.uri("storage/large.bin"), options=s3_server.options, cache=tmp_path))
    finally:
        large.unlink()
    assert peak - idle < BOUND_MIB
