"""How a request comes, and how much of it, cannot stop the server, nor hold it: HTTP as no client library would send it."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.support.requests import ROW, V1, V2, assert_serves, infer, instances, refused, sent, tensor
from tests.support.serving import Server, eventually, manifest, serving
from tests.support.wire import Wire, post

IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
LIMIT = 100_000  # serving.limits.maxRequestBytes
GOOD = instances(ROW)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bad-http")
    limits = {"maxRequestBytes": LIMIT, "timeoutSeconds": 3}
    target = manifest(folder, "iris", IRIS, serving={"limits": limits})
    with serving(folder, target, env={"DRAGOMAN_HEAD_SECONDS": "2", "DRAGOMAN_KEEP_ALIVE_SECONDS": "2"}) as started:
        yield started


@pytest.fixture(autouse=True)
def _still_serving(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        assert_serves(request.getfixturevalue("server"))


# --- how the body comes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [V1, V2])
def test_a_body_over_the_limit_is_refused_before_it_is_sent(server: Server, path: str) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(post(path, b"", b"Expect: 100-continue", length=LIMIT + 1)).answer()
        assert answer.status == 413
        assert str(LIMIT) in answer.error
        assert "maxRequestBytes" in answer.error
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_a_client_that_sends_too_much_still_reads_why(server: Server) -> None:
    """Its body is longer than what the kernels between hold, so that it is still writing when it is refused."""
    assert sent(server, V1, b" " * 20_000_000).status_code == 413


def test_a_chunked_body_over_the_limit_is_refused_when_it_passes_it(server: Server) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" % V1.encode()
    with Wire(server.rest) as wire:
        answer = wire.send(head, *([b"2710\r\n" + b" " * 10_000 + b"\r\n"] * 11)).answer()
        assert answer.status == 413
        assert "maxRequestBytes" in answer.error
        assert wire.is_closed()


def test_a_chunked_body_is_read(server: Server) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" % V1.encode()
    with Wire(server.rest) as wire:
        answer = wire.send(head, *(b"1\r\n%c\r\n" % byte for byte in GOOD), b"0\r\n\r\n").answer()
        assert json.loads(answer.body) == {"predictions": [0]}


def test_expect_continue_is_told_to_go_on(server: Server) -> None:
    with Wire(server.rest) as wire:
        wire.send(post(V1, b"", b"Expect: 100-continue", length=len(GOOD)))
        wire.send(GOOD)
        held = wire._socket.recv(25)
        assert held == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.answer().status == 200


@pytest.mark.parametrize("encoding", ["br", "gzip, br", "zstd", "compress", "nonsense"])
def test_an_unknown_encoding_is_named(server: Server, encoding: str) -> None:
    refused(sent(server, V1, GOOD, content_encoding=encoding), 415, repr(encoding), "gzip")


def test_gzip_is_read_in_one_or_several_members(server: Server) -> None:
    for body in (gzip.compress(GOOD), gzip.compress(GOOD[:10]) + gzip.compress(b"") + gzip.compress(GOOD[10:])):
        assert sent(server, V1, body, content_encoding="gzip").json() == {"predictions": [0]}
    assert sent(server, V2, gzip.compress(infer(tensor())), content_encoding="GZIP").json()["outputs"][0]["data"] == [0]


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(size // 1_000_000)), packer.flush()])


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (_bomb(50_000_000), 413, ["decompressed", str(LIMIT)]),
        (_bomb(50_000_000)[:20_000], 413, ["decompressed"]),
        (gzip.compress(b" " * (LIMIT // 2)) * 3, 413, ["decompressed"]),
        (gzip.compress(GOOD)[:-1], 400, ["gzip", "cut short"]),
        (gzip.compress(GOOD)[:-9], 400, ["gzip", "cut short"]),
        (gzip.compress(GOOD) + b"and more", 400, ["gzip"]),
        (gzip.compress(GOOD)[:-8] + b"\0" * 8, 400, ["gzip"]),
        (GOOD, 400, ["gzip"]),
        (gzip.compress(b"", 9, mtime=0) * 4_097, 400, ["gzip", "members"]),
        (b"", 400, ["empty"]),
    ],
    ids=["bomb", "cut bomb", "members that add up", "cut checksum", "cut body", "trailer", "wrong checksum", "no gzip", "members", "empty"],
)
def test_gzip_is_bounded_and_checked(server: Server, body: bytes, status: int, words: list[str]) -> None:
    refused(sent(server, V1, body, content_encoding="gzip"), status, *words)


def test_a_body_that_is_cut_short_is_answered_where_the_client_still_listens(server: Server) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(post(V1, GOOD[:20], length=len(GOOD))).end().answer()
        assert answer.status == 400
        assert "cut short" in answer.error


def test_a_client_that_leaves_in_the_middle_is_not_waited_for(server: Server) -> None:
    before = server.metric("dragoman_request_duration_seconds_count", code="499")
    for data in (b"POST", post(V1, b"", length=100), post(V1, GOOD[:20], length=len(GOOD))):
        with Wire(server.rest) as wire:
            wire.send(data)
    eventually(lambda: server.metric("dragoman_request_duration_seconds_count", code="499") == before + 2)
    assert server.metric("dragoman_requests_in_flight") == 0


@pytest.mark.parametrize("start", [b"", GOOD[:10]])
def test_a_body_that_does_not_come_is_given_up_on_at_the_deadline(server: Server, start: bytes) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(post(V1, start, length=1000)).answer()
        assert answer.status == 408
        assert f"{len(start)} bytes" in answer.error
        assert wire.is_closed()
    assert server.metric("dragoman_requests_in_flight") == 0


def test_a_body_that_trickles_has_no_more_time_than_another(server: Server) -> None:
    with Wire(server.rest) as wire:
        wire.send(post(V1, b"", length=1000)).trickle(b" ", every=0.1, seconds=10)
        assert wire.answer().status == 408


def test_large_bodies_that_arrive_together_are_bounded(server: Server) -> None:
    """As many as four times maxRequestBytes are held by a worker: of the next one no more is kept."""
    with ExitStack() as held:
        wires = [held.enter_context(Wire(server.rest)) for _ in range(4)]
        for wire in wires:
            wire.send(post(V1, b" " * (LIMIT - 1_000), length=LIMIT))
        with Wire(server.rest) as late:
            answer = late.send(post(V1, b" " * (LIMIT - 1_000), length=LIMIT)).answer()
        assert answer.status == 429
        assert answer.headers["retry-after"] == "1"
        assert "large requests" in answer.error
        wires[0].send(b" " * (1_000 - len(GOOD)), GOOD)
        assert wires[0].answer().status == 200


# --- how the request comes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length",
    [
        b"-1",
        b"ten",
        b"37.0",
        b"0x25",
        b"37 37",
        b"99999999999999999999999",
        b"37\r\nContent-Length: 36",
        b"37\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_length_that_is_none_is_refused(server: Server, length: bytes) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %s\r\n\r\n" % (V1.encode(), length), GOOD).answer()
        assert answer.status == 400
        assert "Content-Length" in answer.error
        assert wire.is_closed()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client's first words
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET /v2\xc3\xa9 HTTP/1.1\r\nHost: test\r\n\r\n",
        b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: test\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nsize\r\n" % V1.encode(),
        b"POST %s HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" % V1.encode(),
    ],
)
def test_what_is_not_http_is_told_so_and_closed(server: Server, data: bytes) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(data).answer()
        assert answer.status == 400
        assert answer.error.startswith("this is not HTTP/1.1")
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431, id="one header"),
        pytest.param(b"GET /v2?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, id="query"),
        pytest.param(b"GET /v2 HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n", 431, id="many headers"),
        pytest.param(b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 1_000_000, 431, id="header without end"),
        pytest.param(b"GET /v2?" + b"a" * 1_000_000, 414, id="query without end"),
    ],
)
def test_a_head_that_is_too_large_is_refused(server: Server, head: bytes, status: int) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(head).answer()
        assert answer.status == status
        assert "65536" in answer.error


def test_a_large_body_is_not_taken_for_a_large_head(server: Server) -> None:
    """The rest of a body whose request is already answered, on a connection that stays."""
    with Wire(server.rest) as wire:
        wire.send(post("/v1/models/rose:predict", b""[:0], length=300_000))
        assert wire.answer().status == 404
        for _ in range(30):
            wire.send(b"x" * 10_000)
        assert wire.send(post(V1, GOOD)).answer().status == 200


def test_a_head_that_trickles_is_given_up_on(server: Server) -> None:
    with Wire(server.rest) as wire:
        wire.send(b"GET /v2 HTTP/1.1\r\n").trickle(b"X: a\r\n", every=0.1, seconds=10)
        answer = wire.answer()
        assert answer.status == 408
        assert "headers" in answer.error
        assert wire.is_closed()


def test_a_connection_that_says_nothing_is_closed(server: Server) -> None:
    with Wire(server.rest) as wire:
        assert wire.is_closed()
    with Wire(server.rest) as wire:
        assert wire.send(post(V1, GOOD)).answer().status == 200
        assert wire.is_closed()


def test_a_client_that_does_not_read_its_replies_is_left(server: Server) -> None:
    """Replies and requests are more than the kernels between hold: neither is kept in memory meanwhile."""
    before = server.metric("dragoman_request_duration_seconds_count", code="499")
    asked = post(V2, infer(tensor(shape=[3_000, 4], values=ROW * 3_000), outputs=[{"name": "predict_proba"}]))
    with Wire(server.rest, receive_bytes=4096) as wire, pytest.raises(ConnectionError):
        wire.send(*[asked] * 400)
    assert server.metric("dragoman_request_duration_seconds_count", code="499") == before + 1
    assert server.metric("dragoman_requests_in_flight") == 0


def test_http_1_0_is_answered_and_closed(server: Server) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(post(V1, GOOD, version=b"1.0")).answer()
        assert json.loads(answer.body) == {"predictions": [0]}
        assert wire.is_closed()


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    rows = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
    with Wire(server.rest) as wire:
        wire.send(*(post(V1, instances(rows[i % 2])) for i in range(500)))
        assert [json.loads(wire.answer().body)["predictions"] for _ in range(500)] == [[0], [2]] * 250


@pytest.mark.parametrize("path", [V1, V2, V2 + "?of=itself"])
@pytest.mark.parametrize("body", [GOOD, infer(tensor()), b"{", b"[]", instances(["a"] * 4), instances(ROW[:3])], ids=str)
def test_a_request_that_comes_in_two_pieces_is_answered_as_one_that_comes_whole(server: Server, path: str, body: bytes) -> None:
    """Whole ones are answered without a task of their own."""
    whole = post(path, body, b"X-Request-Id: mine")
    answers = []
    for pieces in ([whole], [whole[:-1], whole[-1:]], [whole[:20], whole[20:]]):
        with Wire(server.rest) as wire:
            for piece in pieces:
                wire.send(piece)
                time.sleep(0.02)
            answer = wire.answer()
            del answer.headers["date"]
            answers.append(answer)
            assert wire.send(post(V1, GOOD)).answer().status == 200
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].headers["x-request-id"] == "mine"


def test_a_pipelined_request_that_is_none_does_not_take_the_reply_of_the_one_before(server: Server) -> None:
    with Wire(server.rest) as wire:
        wire.send(post(V1, GOOD), post("/v2/models/rose/infer", b"{}"), b"\x00\x01\x02\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.answer().status == 404
        assert wire.is_closed()


def test_an_offer_to_upgrade_is_passed_over(server: Server) -> None:
    """As curl --http2 makes it, and Java's HttpClient by default."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    with Wire(server.rest) as wire:
        for _ in range(3):
            assert json.loads(wire.send(post(V1, GOOD, *offer)).answer().body) == {"predictions": [0]}
        answers = wire.send(post(V1, GOOD, *offer) * 3)
        assert [answers.answer().status for _ in range(3)] == [200] * 3


# --- request ids -----------------------------------------------------------------------------------------------------------------

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "my own/id:7"}, "my own/id:7"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"x-request-id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, "mine"),
        ({"x-request-id": "x" * 129}, None),
        ({"x-request-id": ""}, None),
        ({"x-request-id": "caf\u00e9"}, None),
        ({"x-request-id": "tab\there"}, None),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": "00-<script>alert(1)</script>-------------00f067aa0ba902b7-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize(("path", "body"), [(V1, GOOD), (V1, b"{"), ("/v2/models/rose/infer", b"{}"), ("/v2/repository/index", b"{}")])
def test_a_request_id_is_echoed_or_made(server: Server, path: str, body: bytes, headers: dict[str, str], expected: str | None) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    given = httpx.post(server.rest + path, content=body, headers=encoded).headers["x-request-id"]
    if expected is None:
        assert len(given) == 32
        assert int(given, 16)
    else:
        assert given == expected
