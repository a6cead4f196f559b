"""What a session sends: frames that wait for the next write, replies that wait for the client's windows (RFC 9113, 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dragoman.http2.frames import DATA, DEFAULT_WINDOW, MAX_FRAME, MAX_WINDOW, Code, ConnectionFault, StreamFault, frame
from dragoman.http2.stream import Stream


class Sending:
    """`wake` is called where something is to be sent: at once, or in a moment. While `later` is set, it is not: who set it sends."""

    def __init__(self, wake: Callable[[bool], None], greeting: bytes) -> None:
        self._wake = wake
        self.window = DEFAULT_WINDOW  # bytes that the client still takes, on all streams
        self.first_window = DEFAULT_WINDOW  # of a new stream
        self.max_frame = MAX_FRAME  # that the client takes
        self.held = 0  # bytes of replies that wait for the client's windows
        self.later = False
        self._frames = [greeting]
        self._held_back: dict[int, Stream] = {}  # streams whose replies wait for the connection's window, and not for their own

    def unsent(self) -> bytes:
        """What is to be sent now; it is not given twice."""
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames

    def send(self, frames: bytes, *, now: bool = False) -> None:
        """Soon, unless `now`: what one turn of the loop sends goes in one piece."""
        self._frames.append(frames)
        if not self.later:
            self._wake(now)

    def body(self, stream: Stream) -> None:
        """As much of a reply as the client takes now; then its end, if that waits."""
        body = stream.body
        while body and (size := min(len(body), self.window, stream.window, self.max_frame)) > 0:
            self.send(frame(DATA, 0, stream.id, bytes(body[:size])))
            del body[:size]
            stream.window -= size
            self.window -= size
            self.held -= size
        if body and stream.window > 0:
            self._held_back[stream.id] = stream
        else:
            self._held_back.pop(stream.id, None)
        if not body and stream.trailers is not None:
            stream.tail(stream.trailers)

    def forget(self, stream: Stream) -> None:
        """What waits of its reply is not sent."""
        self._held_back.pop(stream.id, None)
        self.held -= len(stream.body)
        stream.body.clear()

    def widen(self, more: int) -> None:
        """The client takes so many bytes more, on all streams. Raises `ConnectionFault`."""
        self.window += more
        if wrong := _wrong_of(self.window, more):
            raise ConnectionFault(wrong, f"a window that grows by {more}")
        while self._held_back and self.window > 0:
            _, stream = self._held_back.popitem()
            self.body(stream)

    def widen_stream(self, stream: Stream, more: int) -> None:
        """Of one stream. Raises `StreamFault`."""
        stream.window += more
        if wrong := _wrong_of(stream.window, more):
            raise StreamFault(wrong, f"a window that grows by {more}")
        self._go_on(stream)

    def first_windows(self, size: int, streams: Sequence[Stream]) -> None:
        """Streams begin with windows of another size; those that are there are changed by as much (6.9.2). Raises `ConnectionFault`."""
        more, self.first_window = size - self.first_window, size
        for stream in streams if more else ():
            stream.window += more
            if stream.window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "settings that make a window too large")
            self._go_on(stream)

    def _go_on(self, stream: Stream) -> None:
        if stream.body:
            self.body(stream)


def _wrong_of(window: int, more: int) -> Code | None:
    """What is wrong with a window that has grown by so much (6.9, 6.9.1)."""
    if not more:
        return Code.PROTOCOL_ERROR
    return Code.FLOW_CONTROL_ERROR if window > MAX_WINDOW else None
