"""What is said on one HTTP/2 connection, server side: bytes in, bytes out. Numbers in brackets are sections of RFC 9113.

Bounded is what a client can make it hold or do: streams at once, bytes of header fields, bytes of replies that it does not take, requests
that it takes back, settings. What requests hold is for their receivers to bound: windows are given back as bytes come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dragoman.http2.fields import MAX_BYTES, MAX_DECODED_BYTES, Blocks, trailer_fields
from dragoman.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    MAX_FRAME,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    ConnectionFault,
    Setting,
    StreamFault,
    content_of,
    frame,
    goaway,
    reset,
    settings,
    settings_of,
    window_update,
)
from dragoman.http2.sending import Sending
from dragoman.http2.stream import Receiver, Stream

Understand = Callable[[Mapping[str, str]], Any]  # a request's fields; it may raise `StreamFault`
Open = Callable[[Stream, Any], Receiver | None]  # a request, by what its fields mean; None: these were enough to answer it

MAX_STREAMS = 1000
STREAM_WINDOW = 1024 * 1024  # bytes of one request that a client may send before it is told to go on
CONNECTION_WINDOW = 8 * STREAM_WINDOW
_TAKEN_BACK = 1000  # requests that a client takes back, beyond those that it lets end: more is the attack of CVE-2023-44487
_SETTINGS = 1000  # frames of them: each may concern every stream
_HELD = 64 * 1024 * 1024  # bytes of replies that wait for windows: with more of them no request is taken
_CONTINUATIONS = 64  # parts of a header block: more is the attack of CVE-2024-27316
_FAREWELL = b"farewell"


class Session:
    """`open_stream` is called with each request; `wake`, outside of `receive`, where something is to be sent: at once, or in a moment."""

    def __init__(self, understand: Understand, open_stream: Open, wake: Callable[[bool], None]) -> None:
        limits = {Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS, Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW}
        limits[Setting.MAX_HEADER_LIST_SIZE] = MAX_BYTES
        self.sending = Sending(wake, settings(limits) + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))
        self._blocks, self._open = Blocks(understand), open_stream
        self.streams: dict[int, Stream] = {}
        self.greeted = False
        self.fault = ""  # why it has ended
        self._last = self._accepted = 0  # the newest stream; the newest that was not refused since this side leaves
        self.retiring = self.leaving = False
        self._more = False  # whether more frames have come than the one that is looked at
        self._rest = b""  # of a frame that has not come whole
        self._head: tuple[int, int, list[bytes]] | None = None  # stream, flags and parts of a header block that goes on
        self._taken = 0  # bytes that the client was not told yet that it may send again
        self._cut: dict[int, None] = {}  # the newest streams that ended here while their client was sending
        self._taken_back = self._settings_seen = 0
        self._unfinished: list[Stream] = []  # that began in what is received now, and have not ended
        self._on = {
            DATA: self._data,
            HEADERS: self._headers,
            PRIORITY: self._priority,
            RST_STREAM: self._rst_stream,
            SETTINGS: self._settings,
            PUSH_PROMISE: self._push_promise,
            PING: self._ping,
            GOAWAY: self._goaway,
            WINDOW_UPDATE: self._window_update,
            CONTINUATION: self._continuation,
        }

    @property
    def alone(self) -> bool:
        """Whether the client waits for one reply, and nothing more of it is here."""
        return len(self.streams) == 1 and not self._more

    @property
    def over(self) -> bool:
        """Once what is to be sent is sent, the connection may close."""
        return bool(self.fault) or (self.leaving and not self.streams)

    def receive(self, data: bytes) -> None:
        if self.over:
            return
        if self._rest:
            data = self._rest + data
        self.sending.later = True
        try:
            read = self._read(data, 0) if self.greeted else self._greet(data)
            self._rest = data[read:]
            for stream in self._unfinished:
                if stream.receiver is not None and not stream.request_ended:
                    stream.receiver.data(b"", False)  # it may want to know that it has to wait
            self._unfinished.clear()
        except ConnectionFault as fault:
            self.fault = str(fault)
            self.sending.send(goaway(self._accepted, fault.code, self.fault))
        finally:
            self.sending.later = False

    def lost(self) -> None:
        """The connection is no more."""
        self.fault = self.fault or "the connection is lost"
        for stream in list(self.streams.values()):
            self._forget(stream)

    def retire(self) -> None:
        """No more requests than are on their way here (6.8); once the client has answered that it knows, `leave`."""
        if not self.retiring:
            self.retiring = True
            self.sending.send(goaway(MAX_WINDOW, Code.NO_ERROR) + frame(PING, 0, 0, _FAREWELL))

    def leave(self) -> None:
        """No request more than are here; when these are answered, it is over."""
        if not self.leaving:
            self.leaving = True
            self.sending.send(goaway(self._accepted, Code.NO_ERROR))

    # --- how a stream ends ---

    def end(self, stream: Stream, frames: bytes) -> None:
        """With these frames. Of a request that still comes the client is told that nobody needs the rest (8.1)."""
        self._close(stream)
        if not stream.request_ended:
            frames += reset(stream.id, Code.NO_ERROR)
            self._cut_off(stream)
        elif self._taken_back:
            self._taken_back -= 1
        self.sending.send(frames, now=not self.streams)  # if nothing else is to come that could go with it

    def reset(self, stream: Stream, code: Code) -> None:
        """The request is not answered, or not to its end."""
        self.sending.send(reset(stream.id, code))
        if not stream.request_ended:
            self._cut_off(stream)
        self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """Nothing more is said on it, and its receiver is told."""
        receiver = self._close(stream)
        self.sending.forget(stream)
        if receiver is not None:
            receiver.left()

    def _close(self, stream: Stream) -> Receiver | None:
        receiver, stream.receiver, stream.ended = stream.receiver, None, True
        self.streams.pop(stream.id, None)
        return receiver

    def _take_back(self) -> None:
        self._taken_back += 1
        if self._taken_back > _TAKEN_BACK:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many requests are taken back")

    def _cut_off(self, stream: Stream) -> None:
        """What the client has sent on it by now is still to come, and no fault of its."""
        self._cut[stream.id] = None
        if len(self._cut) > MAX_STREAMS:
            del self._cut[next(iter(self._cut))]

    # --- receiving ---

    def _greet(self, data: bytes) -> int:
        """The preface, then settings (3.4)."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "this is not HTTP/2: its preface is missing")
        if len(data) < len(PREFACE) + HEAD_BYTES:
            return 0
        if data[len(PREFACE) + 3] != SETTINGS or data[len(PREFACE) + 4] & ACK:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is not one of settings")
        self.greeted = True
        return self._read(data, len(PREFACE))

    def _read(self, data: bytes, begin: int) -> int:
        """All frames that are whole; returns where the first begins that is not. Raises `ConnectionFault`."""
        end = len(data)
        while end - begin >= HEAD_BYTES:
            high, low, kind, flags, identity = HEAD.unpack_from(data, begin)
            size, identity = high << 8 | low, identity & MAX_WINDOW
            if size > MAX_FRAME:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            after = begin + HEAD_BYTES + size
            if after > end:
                break
            if self._head is not None and (kind != CONTINUATION or identity != self._head[0]):
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is interrupted")
            self._more = after < end
            act = self._on.get(kind)
            if act is not None:  # others are of extensions (5.5)
                try:
                    act(flags, identity, data[begin + HEAD_BYTES : after])
                except StreamFault as fault:
                    self._fail(identity, fault)
            begin = after
        return begin

    def _fail(self, identity: int, fault: StreamFault) -> None:
        stream = self.streams.get(identity)
        if stream is None:
            self.sending.send(reset(identity, fault.code))
            return
        self.reset(stream, fault.code)
        self._take_back()  # a client may ask for this as often as it takes back (CVE-2025-8671)

    def _headers(self, flags: int, identity: int, payload: bytes) -> None:
        if flags & (PADDED | PRIORITISED):
            payload, parent = content_of(payload, flags, prioritised=True)
            if parent == identity:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream that depends on itself")
        if flags & END_HEADERS:
            self._block(identity, flags, payload)
        else:
            self._head = (identity, flags, [payload])

    def _continuation(self, flags: int, identity: int, payload: bytes) -> None:
        if self._head is None:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a continuation of nothing")
        identity, first, parts = self._head
        parts.append(payload)
        if len(parts) > _CONTINUATIONS or sum(map(len, parts)) > MAX_DECODED_BYTES:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block in too many parts")
        if flags & END_HEADERS:
            self._head = None
            self._block(identity, first, b"".join(parts))

    def _block(self, identity: int, flags: int, block: bytes) -> None:
        """A request begins; or it ends, with trailers."""
        if identity <= self._last:
            self._trailers(identity, flags, block)
            return
        if not identity & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"a client's streams have odd numbers, not {identity}")
        self._last = identity
        if self.leaving or len(self.streams) >= MAX_STREAMS or self.sending.held > _HELD:
            self._blocks.decoded(block)
            raise StreamFault(Code.REFUSED_STREAM, "too many streams at once")
        self._accepted = identity
        meaning, length = self._blocks.request(block)
        stream = self.streams[identity] = Stream(self, identity, self.sending.first_window)
        stream.expected, stream.request_ended = length, bool(flags & END_STREAM)
        receiver = self._open(stream, meaning)
        if stream.ended:
            return
        stream.receiver = receiver
        if stream.request_ended:
            self._request(stream, b"", ended=True)
        else:
            self._unfinished.append(stream)

    def _trailers(self, identity: int, flags: int, block: bytes) -> None:
        fields = self._blocks.decoded(block)
        stream = self.streams.get(identity)
        if identity == 0 or not identity & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"header fields on stream {identity}")
        if stream is None and identity in self._cut:
            if flags & END_STREAM:
                self._cut.pop(identity, None)
        elif stream is None or stream.request_ended:
            raise ConnectionFault(Code.STREAM_CLOSED, f"header fields after the end of stream {identity}")
        elif not flags & END_STREAM:
            raise StreamFault(Code.PROTOCOL_ERROR, "trailers that do not end the request")
        else:
            trailer_fields(fields)
            self._request(stream, b"", ended=True)

    def _data(self, flags: int, identity: int, payload: bytes) -> None:
        size = len(payload)  # its padding counts, too (6.9.1)
        self._taken += size
        if self._taken > CONNECTION_WINDOW // 2:
            self.sending.send(window_update(0, self._taken))
            self._taken = 0
        if flags & PADDED:
            payload, _ = content_of(payload, flags, prioritised=False)
        stream = self.streams.get(identity)
        if stream is None or stream.request_ended:
            self._late_data(flags, identity)
            return
        ended = bool(flags & END_STREAM)
        if not ended:
            stream.taken += size
            if stream.taken > STREAM_WINDOW // 2:
                self.sending.send(window_update(identity, stream.taken))
                stream.taken = 0
        self._request(stream, payload, ended=ended)

    def _late_data(self, flags: int, identity: int) -> None:
        if identity == 0 or identity > self._last or not identity & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"data on stream {identity}, which is idle")
        if identity not in self._cut:
            raise StreamFault(Code.STREAM_CLOSED, "data after the end of the request")
        if flags & END_STREAM:
            self._cut.pop(identity, None)

    def _request(self, stream: Stream, part: bytes, *, ended: bool) -> None:
        if stream.expected >= 0:
            stream.expected -= len(part)
            if stream.expected < 0 or (ended and stream.expected):
                raise StreamFault(Code.PROTOCOL_ERROR, "the body is not as long as content-length says")
        stream.request_ended = ended
        assert stream.receiver is not None
        stream.receiver.data(part, ended)

    def _rst_stream(self, flags: int, identity: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes")
        if identity == 0 or identity > self._last:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"the reset of stream {identity}, which is idle")
        self._cut.pop(identity, None)
        stream = self.streams.get(identity)
        if stream is not None:
            self._forget(stream)
            self._take_back()

    def _priority(self, flags: int, identity: int, payload: bytes) -> None:
        """Checked, and not heeded (5.3)."""
        if identity == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the priority of stream 0")
        if len(payload) != 5:
            raise StreamFault(Code.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        if int.from_bytes(payload[:4], "big") & MAX_WINDOW == identity:
            raise StreamFault(Code.PROTOCOL_ERROR, "a stream that depends on itself")

    def _settings(self, flags: int, identity: int, payload: bytes) -> None:
        if identity:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"settings of stream {identity}")
        if flags & ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement of settings with settings")
            return
        changes = dict(settings_of(payload))  # of one that is there twice the last holds (6.5.3), and streams are changed once
        self.sending.send(frame(SETTINGS, ACK, 0))
        self._settings_seen += 1
        if self._settings_seen > _SETTINGS:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "settings that change all the time")
        self.sending.max_frame = changes.get(Setting.MAX_FRAME_SIZE, self.sending.max_frame)
        if Setting.INITIAL_WINDOW_SIZE in changes:
            self.sending.first_windows(changes[Setting.INITIAL_WINDOW_SIZE], list(self.streams.values()))

    def _push_promise(self, flags: int, identity: int, payload: bytes) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a client does not push")

    def _ping(self, flags: int, identity: int, payload: bytes) -> None:
        if identity:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"a ping of stream {identity}")
        if len(payload) != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a ping of {len(payload)} bytes")
        if not flags & ACK:
            self.sending.send(frame(PING, ACK, 0, payload))
        elif payload == _FAREWELL and self.retiring:
            self.leave()

    def _goaway(self, flags: int, identity: int, payload: bytes) -> None:
        """The client will ask no more; what it asked before is answered."""
        if identity:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"the end of stream {identity} as the connection's")

    def _window_update(self, flags: int, identity: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
        more = int.from_bytes(payload, "big") & MAX_WINDOW
        if identity == 0:
            self.sending.widen(more)
            return
        if identity > self._last:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"the window of stream {identity}, which is idle")
        found = self.streams.get(identity)
        if found is not None:
            self.sending.widen_stream(found, more)
