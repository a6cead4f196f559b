"""The servers that other tests lean on do what those tests take for granted."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
from obstore.exceptions import PermissionDeniedError
from obstore.store import AzureStore, GCSStore, S3Store
from tests.servers.behaviour import Behaviour, answers, breaks, ignores_ranges, lies, redirects, stalls
from tests.servers.hostile import HostileServer, etag, hostile_http
from tests.servers.objects import ObjectServer
from tests.servers.running import HOST, NotStarted, free_ports, running

STORES: Mapping[str, Any] = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}
BODY = bytes(range(256)) * 1024  # 256 KiB


@pytest.fixture(params=["s3_server", "azure_server", "gcs_server"])
def server(request: pytest.FixtureRequest) -> ObjectServer:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def opened(server: ObjectServer, over: Mapping[str, str] | None = None) -> Any:
    return STORES[server.scheme](server.bucket, config={**server.options, **(over or {})})


def listed(store: Any, prefix: str) -> dict[str, int]:
    return {found["path"]: found["size"] for batch in obstore.list(store, prefix) for found in batch}


# --- object storage -------------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got_by_obstore(server: ObjectServer, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(BODY)
    assert server.put("put/bytes é+&.bin", b"hello") == f"{server.scheme}://models/put/bytes é+&.bin"
    server.put("put/model.bin", file)
    store = opened(server)
    assert bytes(obstore.get(store, "put/bytes é+&.bin").bytes()) == b"hello"
    assert bytes(obstore.get(store, "put/model.bin").bytes()) == BODY
    assert bytes(obstore.get_range(store, "put/model.bin", start=1000, length=3)) == BODY[1000:1003]


def test_a_folder_is_put_with_all_that_is_below_it(server: ObjectServer, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.txt").write_bytes(b"deep")
    (tmp_path / "top.txt").write_bytes(b"at the top")
    assert server.put_folder("folder/", tmp_path) == f"{server.scheme}://models/folder/"
    assert listed(opened(server), "folder/") == {"folder/a/b/deep.txt": 4, "folder/top.txt": 10}


@pytest.mark.parametrize("server", ["s3_server", "azure_server"], indirect=True)  # the third knows only the SDKs' uploads
def test_obstore_can_write(server: ObjectServer) -> None:
    store = opened(server)
    obstore.put(store, "written/by-obstore", b"123")
    assert bytes(obstore.get(store, "written/by-obstore").bytes()) == b"123"


def test_the_environment_alone_opens_the_bucket(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.put("environment", b"hello")
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    assert bytes(obstore.get(STORES[server.scheme](server.bucket), "environment").bytes()) == b"hello"


def test_a_wrong_key_is_not_found(server: ObjectServer) -> None:
    with pytest.raises(FileNotFoundError):
        obstore.get(opened(server), "nothing/here")


@pytest.mark.parametrize("server", ["s3_server", "azure_server"], indirect=True)  # the third lets anybody in
def test_a_wrong_secret_is_refused(server: ObjectServer) -> None:
    server.put("secret", b"hello")
    with pytest.raises(PermissionDeniedError):
        obstore.get(opened(server, server.refused_options), "secret")


# --- a server as a process ------------------------------------------------------------------------------------------------------


def http_server(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", HOST, str(port)]


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo the disk is on fire; exit 3"]
    with pytest.raises(NotStarted, match=r"(?s)exit code 3.*the disk is on fire"), running(lambda _: command, log=tmp_path / "log"):
        pass


def test_a_port_that_was_taken_meanwhile_is_passed_over(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        taken, free = other.getsockname()[1], free_ports(1)[0]
        with running(http_server, log=tmp_path / "log", ports=[taken, free]) as port:
            assert port == free


def test_a_server_ends_with_its_block(tmp_path: Path) -> None:
    with running(http_server, log=tmp_path / "log") as port:
        socket.create_connection((HOST, port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


# --- the hostile server ---------------------------------------------------------------------------------------------------------


def got(server: HostileServer, path: str = "m", **headers: str) -> httpx.Response:
    return httpx.get(server.uri(path), headers={name.replace("_", "-"): value for name, value in headers.items()}, trust_env=False)


def test_a_good_answer_has_ranges_and_preconditions(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(BODY)
    with hostile_http({"m": BODY, "deep/ä": file}) as server:
        whole = got(server)
        assert (whole.status_code, whole.content, whole.headers["etag"]) == (200, BODY, etag(BODY))
        assert got(server, "deep/ä").content == BODY
        part = got(server, "deep/ä", range="bytes=70000-70009")
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, BODY[70000:70010], f"bytes 70000-70009/{len(BODY)}")
        assert got(server, range="bytes=-5").content == BODY[-5:]
        assert got(server, range="bytes=262140-").content == BODY[-4:]
        assert got(server, range=f"bytes={len(BODY)}-").status_code == 416
        assert got(server, if_match='"another"').status_code == 412
        assert got(server, if_none_match=etag(BODY)).status_code == 304
        assert got(server, range="bytes=0-1", if_range='"another"').status_code == 200
        assert got(server, "nothing").status_code == 404
        assert server.requests[2].headers["range"] == "bytes=70000-70009"


@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_connection_is_resumed_by_a_range(reset: bool) -> None:
    with hostile_http({"m": BODY}, [breaks(after=1000, reset=reset)]) as server:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            got(server)
        assert got(server, range="bytes=1000-").content == BODY[1000:]
        assert server.count() == 2


def test_obstore_reads_on_after_a_broken_connection() -> None:
    with hostile_http({"m": BODY}, [breaks(after=1000)]) as server:
        store = obstore.store.HTTPStore(server.endpoint, client_options={"allow_http": True})
        assert bytes(obstore.get(store, "m").bytes()) == BODY
        assert [request.headers.get("range") for request in server.requests] == [None, f"bytes=1000-{len(BODY) - 1}"]


def connected(server: HostileServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, httpx.URL(server.endpoint).port)


def test_a_broken_body_has_exactly_so_many_bytes() -> None:
    with hostile_http({"m": BODY}, breaks(after=1000)) as server, closing(connected(server)) as raw:
        raw.request("GET", "/m")
        with pytest.raises(http.client.IncompleteRead) as broken:
            raw.getresponse().read()
    assert broken.value.partial == BODY[:1000]


def test_a_length_that_promises_too_much() -> None:
    with hostile_http({"m": BODY}, lies(by=10)) as server, pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        got(server)


def test_a_length_that_says_too_little_cuts_what_the_client_reads() -> None:
    with hostile_http({"m": BODY}, lies(by=-10)) as server:
        assert got(server).content == BODY[:-10]
        assert httpx.head(server.uri("m"), trust_env=False).headers["content-length"] == str(len(BODY))


def test_ranges_are_ignored() -> None:
    with hostile_http({"m": BODY}, ignores_ranges()) as server:
        whole = got(server, range="bytes=1000-")
        assert (whole.status_code, whole.content) == (200, BODY)


def test_an_object_changes_between_requests() -> None:
    with hostile_http({"m": [b"one", b"two"]}) as server:
        first, second, third = (got(server) for _ in range(3))
        assert [first.content, second.content, third.content] == [b"one", b"two", b"two"]
        assert first.headers["etag"] != second.headers["etag"] == third.headers["etag"]
        assert got(server, if_match=first.headers["etag"]).status_code == 412


def test_a_stalled_body_waits_until_it_is_resumed() -> None:
    with hostile_http({"m": BODY, "other": b"other"}, [stalls(after=1000)]) as server, closing(connected(server)) as raw:
        raw.request("GET", "/m")
        reply = raw.getresponse()
        assert reply.read(1000) == BODY[:1000]
        assert got(server, "other").content == b"other"  # meanwhile it serves
        raw.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            raw.sock.recv(1)
        raw.sock.setblocking(True)
        server.resume()
        assert reply.read() == BODY[1000:]


def test_the_end_of_the_block_lets_go_of_who_waits() -> None:
    left: list[object] = []

    def wait(uri: str) -> None:
        try:
            left.append(httpx.get(uri, timeout=60, trust_env=False).content)
        except httpx.HTTPError as error:
            left.append(error)

    with hostile_http({"m": BODY}, stalls(after=1000)) as server:
        waiting = threading.Thread(target=wait, args=(server.uri("m"),))
        waiting.start()
        while server.count() == 0:
            waiting.join(0.01)
    waiting.join()
    assert len(left) == 1


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_status_is_answered_as_often_as_told(status: int) -> None:
    with hostile_http({"m": BODY}, [answers(status, {"Retry-After": "1"})] * 2) as server:
        refused = [got(server), got(server)]
        assert [reply.status_code for reply in refused] == [status, status]
        assert refused[0].headers["retry-after"] == "1"
        assert got(server).content == BODY
        assert server.count() == 3


def test_a_redirect_leads_to_the_object() -> None:
    with hostile_http({"here": BODY, "m": b""}, [redirects("/here")]) as server:
        assert got(server).headers["location"] == "/here"
    with hostile_http({"here": BODY, "m": b""}, [redirects("/here")]) as server:
        assert httpx.get(server.uri("m"), follow_redirects=True, trust_env=False).content == BODY


@pytest.mark.parametrize(("behaviour", "used_up"), [(breaks(after=10), False), (lies(by=1), False), (answers(503), True)])
def test_a_head_request_uses_up_only_what_it_can_show(behaviour: Behaviour, used_up: bool) -> None:
    with hostile_http({"m": BODY}, [behaviour]) as server:
        head: Callable[[], httpx.Response] = lambda: httpx.head(server.uri("m"), trust_env=False)  # noqa: E731
        assert head().status_code == (503 if used_up else 200)
        assert head().status_code == 200
        if used_up:
            assert got(server).content == BODY
