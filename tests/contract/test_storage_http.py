"""Models come from web servers that break, stall, lie, and change what they serve: the right bytes or a clear error, never a wrong file."""

from __future__ import annotations

import io
import os
import re
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cluster.pki import Authority
from tests.servers.behaviour import Behaviour, answers, breaks, ignores_ranges, lies, redirects, stalls
from tests.servers.hostile import HostileServer, etag, hostile_http

from dragoman.errors import AccessDenied, DigestMismatch, InvalidSpec, ModelNotFound, ServeError, StorageUnavailable
from dragoman.storage.fetch import fetch
from dragoman.storage.remote import PART_BYTES
from dragoman.storage.request import Bounds, Fetched, Request, Warned

SMALL = os.urandom(300_000)
LARGE = os.urandom(2 * PART_BYTES + 100_000)
PATIENT = Bounds(attempts=4, stall_seconds=0.5)

Get = Callable[..., Fetched]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def get(tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> Get:
    monkeypatch.setattr("dragoman.storage.remote._FIRST_PAUSE_SECONDS", 0.001)

    def got(uri: str, digest: str | None = None, bounds: Bounds = PATIENT) -> Fetched:
        fetched = fetch(
            Request(uri, tmp_path / "cache", 10**9, digest=digest, bounds=bounds),
            lambda event: warnings.append(event.message) if isinstance(event, Warned) else None,
        )
        fetched.lease.release()
        return fetched

    return got


def asked(server: HostileServer) -> list[str | None]:
    """The range of each request."""
    return [request.headers.get("range") for request in server.requests]


def test_a_file_is_fetched_with_its_name_and_once(get: Get) -> None:
    with hostile_http({"a b/model.joblib": SMALL}) as server:
        fetched = get(server.uri("a%20b/model.joblib?token=hush"))
        assert (fetched.name, fetched.path.read_bytes()) == ("model.joblib", SMALL)
        assert [(r.path, r.query) for r in server.requests] == [("a b/model.joblib", "token=hush")]


def test_an_archive_is_unpacked(get: Get) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("model.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    with hostile_http({"iris.tgz": packed.getvalue()}) as server:
        assert (get(server.uri("iris.tgz")).path / "model.json").read_bytes() == b"{}"


def test_user_and_password_are_sent_and_not_repeated(get: Get) -> None:
    with hostile_http({"model": SMALL}, [answers(401), answers(200)]) as server:
        uri = server.uri("model").replace("http://", "http://me:p%40ss@")
        with pytest.raises(AccessDenied) as denied:
            get(uri)
        assert "p%40ss" not in denied.value.message
        assert "renew a signed URL" in denied.value.message
        assert server.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="


def test_a_redirect_is_followed(get: Get) -> None:
    with hostile_http({"old": b"", "model": SMALL}, [redirects("/model")]) as server:
        assert get(server.uri("old")).path.read_bytes() == SMALL


def test_a_broken_connection_goes_on_where_it_broke(get: Get, warnings: list[str]) -> None:
    with hostile_http({"model": SMALL}, [breaks(after=200_000), breaks(after=50_000)]) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL
        assert asked(server) == [None, "bytes=200000-299999", "bytes=250000-299999"]
        assert [request.headers.get("if-match") for request in server.requests] == [None, etag(SMALL), etag(SMALL)]
    assert any("trying again (1 of 3)" in message for message in warnings)


def test_a_connection_that_is_torn_down_goes_on_too(get: Get) -> None:
    with hostile_http({"model": SMALL}, [breaks(after=200_000, reset=True)] * 3) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL


def test_a_large_file_goes_on_in_every_part(get: Get) -> None:
    with hostile_http({"model": LARGE}, [breaks(after=5_000_000)] * 5) as server:
        assert get(server.uri("model")).path.read_bytes() == LARGE


def test_a_server_that_always_breaks_but_moves_on_is_borne_with(get: Get) -> None:
    with hostile_http({"model": SMALL}, breaks(after=40_000)) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL
        assert server.count() == 8


def test_a_stalled_connection_counts_as_broken(get: Get, warnings: list[str]) -> None:
    with hostile_http({"model": SMALL}, [stalls(after=100_000), stalls(after=0)]) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL
    assert any("did not answer in time" in message for message in warnings)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(breaks(after=0), id="breaks"),
        pytest.param(stalls(after=0), id="stalls"),
        pytest.param(answers(500), id="500"),
        pytest.param(answers(503, {"Retry-After": "1"}), id="503"),
        pytest.param(answers(429), id="429"),
    ],
)
def test_a_storage_that_never_gets_better_is_given_up(get: Get, behaviour: Behaviour) -> None:
    with hostile_http({"model": SMALL}, behaviour) as server:
        with pytest.raises(StorageUnavailable, match=f"^{server.uri('model')}: .*, 4 times in a row") as failed:
            get(server.uri("model") + "?token=hush")
        assert "hush" not in failed.value.message
        assert failed.value.transient


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_what_may_pass_is_tried_again(get: Get, status: int) -> None:
    with hostile_http({"model": SMALL}, [answers(status)] * 3) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, InvalidSpec), (401, AccessDenied), (403, AccessDenied), (404, ModelNotFound), (410, ModelNotFound), (418, InvalidSpec)],
)
def test_what_cannot_pass_ends_at_once(get: Get, status: int, error: type[ServeError]) -> None:
    with hostile_http({"model": SMALL}, answers(status)) as server:
        with pytest.raises(error, match=f"{status}"):
            get(server.uri("model"))
        assert server.count() == 1


def test_a_server_that_is_not_there_is_unavailable(get: Get) -> None:
    with hostile_http({}) as server:
        uri = server.uri("model")
    with pytest.raises(StorageUnavailable, match=r"could not be reached \(connection refused: check host and port\), 4 times in a row"):
        get(uri)


def test_a_host_that_has_no_address_is_told_of(get: Get) -> None:
    with pytest.raises(StorageUnavailable, match=r"could not be reached \(its host name is not known: check the URI\)"):
        get("http://dragoman.invalid/model")


def test_a_server_that_ignores_ranges_is_read_in_one_go(get: Get, warnings: list[str]) -> None:
    with hostile_http({"model": LARGE}, ignores_ranges()) as server:
        assert get(server.uri("model")).path.read_bytes() == LARGE
    assert [message for message in warnings if "gives no parts" in message]


def test_a_server_that_ignores_ranges_and_breaks_is_read_again_from_the_start(get: Get) -> None:
    broken = Behaviour(ranges=False, sends=200_000)
    with hostile_http({"model": SMALL}, [broken, Behaviour(ranges=False), broken, Behaviour(ranges=False)]) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL


def test_a_server_that_ignores_ranges_and_always_breaks_is_given_up(get: Get) -> None:
    with hostile_http({"model": SMALL}, Behaviour(ranges=False, sends=200_000)) as server, pytest.raises(StorageUnavailable):
        get(server.uri("model"))


def test_a_file_that_changes_midway_is_read_whole_in_its_new_state(get: Get) -> None:
    other = bytes(reversed(SMALL))
    with hostile_http({"model": [SMALL, other]}, [breaks(after=200_000)]) as server:
        assert get(server.uri("model")).path.read_bytes() == other


def test_a_large_file_that_changes_between_its_parts_is_not_mixed(get: Get) -> None:
    other = bytes(len(LARGE))
    with hostile_http({"model": [LARGE, LARGE, other]}) as server:
        assert get(server.uri("model")).path.read_bytes() == other


def test_a_file_that_goes_away_midway_is_not_found(get: Get) -> None:
    with hostile_http({"model": LARGE}, [Behaviour(), *[answers(404)] * 9]) as server, pytest.raises(ModelNotFound):
        get(server.uri("model"))


def test_a_file_that_never_stays_the_same_is_given_up(get: Get) -> None:
    versions = [bytes([n]) * len(LARGE) for n in range(12)]
    with (
        hostile_http({"model": versions}) as server,
        pytest.raises(StorageUnavailable, match="was not the same from one answer to the next, 3 times"),
    ):
        get(server.uri("model"))


def test_a_change_that_no_precondition_catches_is_seen_in_the_answer(get: Get) -> None:
    """A server that answers a range of the new file to who asks for the old one."""
    other = bytes(len(SMALL))
    weak = {"ETag": 'W/"one"'}
    script = [Behaviour(headers=weak, sends=200_000), Behaviour(headers={"ETag": 'W/"two"'})]
    with hostile_http({"model": [SMALL, other]}, script) as server:
        assert get(server.uri("model")).path.read_bytes() == other
        assert "if-match" not in server.requests[1].headers  # a weak tag never matches


def test_a_file_whose_version_cannot_be_told_is_never_read_in_parts(get: Get) -> None:
    """No ETag, no time of change: a second request could meet another file, and nobody would know."""
    other = bytes(len(SMALL))
    untold = {"ETag": "", "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}
    script = [Behaviour(headers=untold, sends=200_000), Behaviour(headers=untold)]
    with hostile_http({"model": [SMALL, other]}, script) as server:
        assert get(server.uri("model")).path.read_bytes() == other
        assert asked(server) == [None, None]


def test_a_file_without_an_etag_is_told_by_its_time_of_change(get: Get) -> None:
    old, new = "Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2016 00:00:00 GMT"
    other = bytes(len(SMALL))
    script = [
        Behaviour(headers={"ETag": "", "Last-Modified": old}, sends=200_000),
        Behaviour(headers={"ETag": "", "Last-Modified": new}),
        Behaviour(headers={"ETag": "", "Last-Modified": new}),
    ]
    with hostile_http({"model": [SMALL, other]}, script) as server:
        assert get(server.uri("model")).path.read_bytes() == other


@pytest.mark.parametrize("ranges", [True, False])
def test_a_length_that_is_too_long_gives_no_file(get: Get, ranges: bool) -> None:
    with hostile_http({"model": SMALL}, Behaviour(length_error=1000, ranges=ranges)) as server, pytest.raises(StorageUnavailable):
        get(server.uri("model"))


def test_a_length_that_was_too_long_once_is_mended_by_the_next_answer(get: Get) -> None:
    with hostile_http({"model": SMALL}, [lies(1000)]) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL


def test_a_length_that_is_too_short_gives_what_was_declared_and_a_pin_tells(get: Get) -> None:
    """Nobody can see bytes behind the declared end; what they would have been, only a digest knows."""
    with hostile_http({"model": SMALL}, lies(-1000)) as server:
        assert get(server.uri("model")).path.read_bytes() == SMALL[:-1000]
        with pytest.raises(DigestMismatch):
            get(server.uri("model"), "sha256:" + "0" * 64)


def test_a_web_page_is_no_model(get: Get) -> None:
    page = Behaviour(headers={"Content-Type": "text/html; charset=utf-8"})
    with hostile_http({"blob/main/model.joblib": b"<html>"}, page) as server, pytest.raises(InvalidSpec, match="answers with a web page"):
        get(server.uri("blob/main/model.joblib"))


def test_a_header_that_cannot_be_read_is_told(get: Get) -> None:
    odd = Behaviour(headers={"Last-Modified": "yesterday"})
    with hostile_http({"model": SMALL}, odd) as server, pytest.raises(InvalidSpec, match="Invalid last modified"):
        get(server.uri("model"))


class LongerParts(BaseHTTPRequestHandler):
    """Breaks off the whole; answers a part with the right Content-Range, and more bytes than that."""

    protocol_version = "HTTP/1.1"
    breaks = 1

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        start, stop = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(SMALL))
        body = SMALL[start:] + b"more" if asked else SMALL
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(body)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(SMALL)}")
        self.end_headers()
        self.close_connection = bool(not asked and self.breaks)
        self.wfile.write(body[: len(body) // 2] if self.close_connection else body)
        LongerParts.breaks = 0

    def log_message(self, *args: object) -> None:
        pass


def test_a_part_that_is_longer_than_asked_for_is_not_believed(get: Get, warnings: list[str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), LongerParts) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        assert get(f"http://127.0.0.1:{server.server_port}/model").path.read_bytes() == SMALL
        server.shutdown()
        thread.join()
    assert any("gives no parts of a file" in message for message in warnings)


def test_an_unchanged_file_is_not_read_again(get: Get) -> None:
    with hostile_http({"model": LARGE}) as server:
        first = get(server.uri("model"))
        requests = server.count()
        assert get(server.uri("model")).path == first.path
        assert server.count() == requests + 1


def test_a_pinned_file_that_is_in_the_cache_is_not_asked_for(get: Get) -> None:
    with hostile_http({"model": SMALL}) as server:
        fetched = get(server.uri("model"))
    assert get(server.uri("model"), fetched.digest).path == fetched.path  # the server is gone


@pytest.mark.parametrize("path", ["", "models/"])
def test_a_folder_cannot_be_listed(get: Get, path: str) -> None:
    with hostile_http({}) as server:
        with pytest.raises(InvalidSpec, match=r"cannot be listed over http; pack the model as .tar.gz or .zip"):
            get(server.uri(path))
        assert server.count() == 0


@contextmanager
def https(folder: Path, authority: Authority) -> Iterator[str]:
    """Serves a folder over TLS, with a certificate that only `authority` vouches for."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    authority.sign("server", names=["127.0.0.1"]).write(folder, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_private_authority_is_trusted_when_its_certificate_is_given(tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "model").write_bytes(SMALL)
    with https(tmp_path, authority) as server:
        with pytest.raises(InvalidSpec, match="set the storage option root_certificate"):
            fetch(Request.of(f"{server}/model", cache=tmp_path / "cache"))
        options = {"root_certificate": authority.certificate.decode()}
        assert fetch(Request.of(f"{server}/model", options=options, cache=tmp_path / "cache")).path.read_bytes() == SMALL
