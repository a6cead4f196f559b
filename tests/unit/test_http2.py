"""HTTP/2 as another hand's client (h2) understands it, and what hostile or clumsy clients are answered."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.http2 import frames, session
from dragoman.http2.fields import MAX_BYTES, block_of
from dragoman.http2.frames import PREFACE, Code, frame
from dragoman.http2.session import MAX_STREAMS, Session
from dragoman.http2.stream import Stream

ASKED = [(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "test")]
TAIL = block_of(("the", "end"))


class Echo:
    """Answers with what was sent, once it is whole; or as it is told."""

    def __init__(self, stream: Stream, fields: Any) -> None:
        self.stream, self.fields = stream, fields
        self.body, self.whole, self.gone = bytearray(), False, False
        if fields[":path"] == "/refuse":
            self.answer()

    def data(self, part: bytes, ended: bool) -> None:
        self.body += part
        self.whole = ended
        if ended and self.fields[":path"] != "/wait":
            self.answer()

    def answer(self) -> None:
        self.stream.whole(b"\x88", bytes(self.body), TAIL)

    def left(self) -> None:
        self.gone = True


class Talk:
    """A session and a client of h2's, without a network between them."""

    def __init__(self) -> None:
        self.echoes: list[Echo] = []
        self.woken = 0
        self.session = Session(lambda fields: fields, self._open, self._wake)
        self.client = H2Connection(H2Configuration(header_encoding="latin-1"))
        self.client.initiate_connection()
        self.events: list[Event] = []
        self.pump()

    def _open(self, stream: Stream, fields: Any) -> Echo:
        self.echoes.append(Echo(stream, fields))
        return self.echoes[-1]

    def _wake(self, now: bool) -> None:
        self.woken += 1

    def pump(self, change: Callable[[bytes], bytes] = lambda sent: sent, *, acknowledge: bool = True) -> None:
        """All that either has to say, until neither says more."""
        while True:
            sent = change(self.client.data_to_send())
            self.session.receive(sent) if sent else None
            said = self.session.sending.unsent()
            if not sent and not said:
                return
            for event in self.client.receive_data(said):
                self.events.append(event)
                if isinstance(event, DataReceived) and acknowledge:
                    self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def ask(self, path: str = "/echo", body: bytes = b"hello", more: Any = (), *, end: bool = True) -> int:
        stream: int = self.client.get_next_available_stream_id()
        fields = [(name, path if name == ":path" else value) for name, value in ASKED]
        self.client.send_headers(stream, [*fields, *more])
        self.client.send_data(stream, body, end_stream=end)
        return stream

    def of(self, kind: type[Any], stream: int | None = None) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None))]

    def body(self, stream: int) -> bytes:
        return b"".join(event.data for event in self.of(DataReceived, stream))

    @property
    def ended(self) -> Code | None:
        """The code that the connection ended with."""
        found = self.of(ConnectionTerminated)
        return Code(found[-1].error_code) if found else None


def test_a_request_is_answered_with_its_trailers() -> None:
    talk = Talk()
    stream = talk.ask(body=b"one row")
    talk.pump()
    assert talk.body(stream) == b"one row"
    assert dict(talk.of(ResponseReceived)[0].headers) == {":status": "200"}
    assert dict(talk.of(TrailersReceived)[0].headers) == {"the": "end"}
    assert talk.of(StreamEnded, stream)
    assert not talk.session.streams


def test_requests_of_one_connection_are_answered_in_any_order() -> None:
    talk = Talk()
    first, second = talk.ask("/wait", b"1"), talk.ask("/wait", b"2")
    talk.pump()
    for echo in reversed(talk.echoes):
        echo.answer()
    assert talk.woken == 2
    talk.pump()
    assert [event.stream_id for event in talk.of(StreamEnded)] == [second, first]


def test_a_large_reply_waits_for_the_clients_window() -> None:
    talk = Talk()
    body = bytes(range(256)) * 1200
    stream = talk.client.get_next_available_stream_id()
    talk.client.send_headers(stream, ASKED)
    for begin in range(0, len(body), frames.MAX_FRAME):
        talk.client.send_data(stream, body[begin : begin + frames.MAX_FRAME], end_stream=begin + frames.MAX_FRAME >= len(body))
        talk.pump(acknowledge=False)
    assert len(talk.body(stream)) == frames.DEFAULT_WINDOW
    assert not talk.of(StreamEnded)
    talk.client.increment_flow_control_window(1000, stream)
    talk.client.increment_flow_control_window(len(body))
    talk.pump(acknowledge=False)
    assert len(talk.body(stream)) == frames.DEFAULT_WINDOW + 1000
    talk.client.increment_flow_control_window(len(body), stream)
    talk.pump(acknowledge=False)
    assert talk.body(stream) == body
    assert talk.of(StreamEnded)


def test_a_client_may_send_more_than_its_window_once_it_was_told_so() -> None:
    talk = Talk()
    stream = talk.client.get_next_available_stream_id()
    talk.client.send_headers(stream, ASKED)
    sent = 0
    while sent < 20_000_000:
        part = min(talk.client.local_flow_control_window(stream), frames.MAX_FRAME)
        assert part
        talk.client.send_data(stream, bytes(part))
        sent += part
        talk.pump()
    talk.client.end_stream(stream)
    talk.pump()
    assert len(talk.echoes[0].body) == sent
    assert len(talk.body(stream)) == sent


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).filter(lambda name: name not in ("te", "connection", "upgrade"))
FIELDS = st.lists(
    st.tuples(st.sampled_from(["x-request-id", "user-agent", "grpc-timeout", "accept"]) | NAMES, st.text("abc 1", max_size=40))
)


@settings(max_examples=60)
@given(st.lists(FIELDS, min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_header_fields_are_understood_as_they_were_sent_however_they_repeat(sets: list[Any], order: list[int]) -> None:
    talk = Talk()
    for index in order:
        sent = [(name, value.strip()) for name, value in sets[index % len(sets)] if name != "content-length"]
        talk.ask(more=sent)
        talk.pump()
        wanted = dict(ASKED)
        for name, value in sent:
            wanted[name] = f"{wanted[name]},{value}" if name in wanted else value
        assert talk.echoes[-1].fields == wanted
    assert talk.ended is None


@settings(max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_bytes_may_come_in_any_pieces(sizes: list[int]) -> None:
    talk = Talk()
    talk.session = Session(lambda fields: fields, talk._open, talk._wake)
    client = H2Connection()
    client.initiate_connection()
    for number in (1, 3):
        client.send_headers(number, ASKED)
        client.send_data(number, b"some rows" * number, end_stream=True)
    sent, begin = client.data_to_send(), 0
    for size in [*sizes, len(sent)]:
        talk.session.receive(sent[begin : begin + size])
        begin += size
    assert [echo.body for echo in talk.echoes] == [b"some rows", b"some rows" * 3]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.sampled_from([0, 1, 2, 3, 5, 2**31 - 1]), st.binary(max_size=40))))
def test_no_frames_break_the_server(sent: list[tuple[int, int, int, bytes]]) -> None:
    talk = Talk()
    for one in sent:
        talk.session.receive(frame(*one))
    said = talk.session.sending.unsent()
    assert talk.session.over == bool(talk.session.fault)
    if talk.session.over:
        assert frame(frames.GOAWAY, 0, 0)[3:9] in said
        talk.session.receive(b"more")
        assert talk.session.sending.unsent() == b""


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", PREFACE + frame(frames.PING, 0, 0, bytes(8))])
def test_what_is_not_http2_ends_the_connection(sent: bytes) -> None:
    session = Session(lambda fields: fields, lambda stream, fields: Echo(stream, fields), lambda now: None)
    session.receive(sent)
    assert session.over
    assert Code.PROTOCOL_ERROR.to_bytes(4, "big") in session.sending.unsent()


def test_a_refused_request_is_not_waited_for_and_what_still_comes_of_it_is_ignored() -> None:
    talk = Talk()
    first = talk.ask("/refuse", b"", end=False)
    late = frame(frames.DATA, 0, first, b"a row") + frame(frames.DATA, frames.END_STREAM, first, b"another")
    talk.session.receive(talk.client.data_to_send())
    said = talk.session.sending.unsent()
    assert said.endswith(frames.reset(first, Code.NO_ERROR))
    talk.session.receive(late)
    assert talk.session.sending.unsent() == b""
    assert not talk.session.over
    assert not talk.session.streams


def raw(stream: int, path: str) -> bytes:
    """A whole request in one frame."""
    fields = [(name, path if name == ":path" else value) for name, value in ASKED]
    return frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block_of(*fields))


def test_a_client_that_takes_back_is_heard_and_one_that_does_only_that_is_sent_away() -> None:
    talk, streams = Talk(), iter(range(1, 2**31, 2))
    for _ in range(3 * MAX_STREAMS // 2):
        stream = next(streams)
        talk.session.receive(raw(stream, "/wait") + raw(next(streams), "/echo") + frames.reset(stream, Code.CANCEL))
        assert talk.echoes[-2].gone
    assert not talk.session.over
    for _ in range(MAX_STREAMS + 1):
        stream = next(streams)
        talk.session.receive(raw(stream, "/wait") + frames.reset(stream, Code.CANCEL))
    assert talk.session.over
    assert "taken back" in talk.session.fault


def test_header_fields_without_end_are_refused_before_they_are_held() -> None:
    talk = Talk()
    first, second = talk.ask(more=[("x-long", "y" * MAX_BYTES)]), talk.ask()
    talk.pump()
    assert [event.error_code for event in talk.of(StreamReset, first)] == [Code.ENHANCE_YOUR_CALM]
    assert talk.of(StreamEnded, second)
    talk.ask(more=[("x-very-long", "y" * 5 * MAX_BYTES)])
    talk.pump()
    assert talk.ended == Code.ENHANCE_YOUR_CALM
    talk = Talk()
    talk.session.receive(frame(frames.HEADERS, 0, 1, b"\x83") + frame(frames.CONTINUATION, 0, 1, b"") * 100)
    assert "too many parts" in talk.session.fault


def test_a_request_too_many_is_refused_and_the_others_go_on() -> None:
    talk = Talk()
    talk.session.receive(b"".join(raw(2 * i + 1, "/wait") for i in range(MAX_STREAMS + 1)))
    assert talk.session.sending.unsent() == frames.reset(2 * MAX_STREAMS + 1, Code.REFUSED_STREAM)
    talk.echoes[0].answer()
    assert frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x88") in talk.session.sending.unsent()


def test_one_that_retires_answers_what_is_there_and_what_is_on_its_way() -> None:
    talk = Talk()
    first = talk.ask("/wait", b"first")
    talk.pump()
    talk.session.retire()
    on_its_way = talk.ask("/wait", b"second")  # sent before the client could know
    talk.session.receive(talk.client.data_to_send())
    assert not talk.session.over
    talk.session.leave()
    said = talk.session.sending.unsent()
    assert frames.goaway(2**31 - 1, Code.NO_ERROR) in said
    assert frames.goaway(on_its_way, Code.NO_ERROR) in said
    late = talk.ask("/echo", b"too late")
    talk.session.receive(talk.client.data_to_send())
    assert talk.session.sending.unsent().startswith(frames.reset(late, Code.REFUSED_STREAM))
    told = talk.session._accepted
    assert told == on_its_way  # and does not grow: what came later may be asked elsewhere
    for echo in talk.echoes:
        assert not talk.session.over
        echo.answer()
    assert talk.session.over
    said = talk.session.sending.unsent()
    assert b"first" in said
    assert b"second" in said
    assert first < on_its_way


def test_a_lost_connection_is_told_to_every_request() -> None:
    talk = Talk()
    talk.ask("/wait")
    talk.ask("/wait")
    talk.pump()
    talk.session.lost()
    assert [echo.gone for echo in talk.echoes] == [True, True]
    talk.echoes[0].answer()
    assert talk.session.sending.unsent() == b""


def test_a_refused_request_changes_what_the_bytes_of_a_later_one_mean() -> None:
    talk = Talk()
    plain = block_of((":method", "POST"), (":scheme", "http"), (":path", "/"))
    alice, bob, newest = (plain + more for more in (b"\x40\x04user\x05alice", b"\x40\x04user\x03bob", b"\xbe"))

    def ask(stream: int, block: bytes) -> None:
        talk.session.receive(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block))

    talk.session.receive(raw(1, "/wait"))
    ask(3, alice)
    ask(5, newest)
    talk.session.leave()
    ask(7, bob)  # is refused, and has changed the table
    talk.session.leaving = False
    ask(9, newest)
    assert [echo.fields["user"] for echo in talk.echoes[1:]] == ["alice", "alice", "bob"]


def test_a_new_size_of_the_table_is_heeded_each_time() -> None:
    talk = Talk()
    plain = block_of((":method", "POST"), (":scheme", "http"), (":path", "/"))
    resized = b"\x20" + b"\x3f\xe1\x1f" + plain  # to 0, and to 4096 again: what was in it is gone
    added = plain + b"\x40" + b"\x01x" + b"\x01y"
    indexed = plain + b"\xbe"  # the newest of the table
    for stream, block in enumerate((resized, added, indexed, resized)):
        talk.session.receive(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 2 * stream + 1, block))
    assert not talk.session.over
    talk.session.receive(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 9, indexed))
    assert "cannot be decoded" in talk.session.fault


def test_a_client_that_makes_the_server_take_back_is_sent_away() -> None:
    talk = Talk()
    for stream in range(1, 2 * MAX_STREAMS + 4, 2):
        talk.session.receive(raw(stream, "/wait") + frames.window_update(stream, 0))
    assert "taken back" in talk.session.fault
    assert all(echo.gone for echo in talk.echoes)


def test_settings_without_end_are_refused() -> None:
    talk = Talk()
    talk.session.receive(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 1}) * 2000)
    assert "settings" in talk.session.fault


def test_of_a_setting_that_is_there_again_and_again_the_last_holds_and_streams_are_changed_once() -> None:
    talk = Talk()
    talk.session.receive(raw(1, "/wait") + frames.window_update(1, 10))
    windows = (frames.MAX_WINDOW, 0, frames.DEFAULT_WINDOW + 5)  # with the first, the stream's would be too large
    payload = b"".join(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: size})[frames.HEAD_BYTES :] for size in windows)
    talk.session.receive(frame(frames.SETTINGS, 0, 0, payload))
    assert not talk.session.fault
    assert talk.session.streams[1].window == frames.DEFAULT_WINDOW + 15


def test_replies_that_wait_for_the_connections_window_go_on_one_by_one() -> None:
    talk = Talk()
    talk.session.receive(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 2**20}))
    streams = [talk.ask("/echo", bytes(30_000 - 2 * i)[:16_000]) for i in range(8)]
    talk.pump(acknowledge=False)
    assert talk.session.sending.held == 8 * 16_000 - frames.DEFAULT_WINDOW
    while not talk.session.over and len(talk.of(StreamEnded)) < 8:
        before = sum(len(talk.body(stream)) for stream in streams)
        talk.client.increment_flow_control_window(7_000)
        talk.pump(acknowledge=False)
        assert sum(len(talk.body(stream)) for stream in streams) > before
    assert talk.session.sending.held == 0


def test_with_too_many_replies_that_wait_no_request_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_HELD", 100_000)
    talk = Talk()
    talk.session.receive(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
    first = talk.ask("/wait")
    talk.pump()
    talk.echoes[0].body += bytes(200_000)
    talk.echoes[0].answer()
    refused = talk.ask()
    talk.pump()
    assert [event.stream_id for event in talk.of(StreamReset)] == [refused]
    talk.client.reset_stream(first)
    talk.pump()
    assert talk.session.sending.held == 0


def test_what_is_answered_is_forgotten_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        talk = Talk()
        kept = weakref.ref(talk.session)
        for stream in (1, 3):
            talk.session.receive(raw(stream, "/echo"))
        streams = [weakref.ref(echo.stream) for echo in talk.echoes]
        talk.echoes.clear()
        assert kept() is not None
        assert [stream() for stream in streams] == [None, None]
    finally:
        gc.enable()
