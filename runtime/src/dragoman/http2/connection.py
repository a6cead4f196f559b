"""One connection of an HTTP/2 server, on asyncio: what a session says is sent, what comes is told to it; and its time-outs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from dragoman.http2.session import Open, Session, Understand

_GREETING_SECONDS = 20.0
_STALLED_SECONDS = 60.0  # in which a client reads nothing of its replies
_FAREWELL_SECONDS = 1.0  # for a client to answer that it knows of the end: what it sent before is then here

logger = logging.getLogger("dragoman.request")


class Connection(asyncio.Protocol):
    """`open_stream` is called with each request. While it lasts it is one of `among`.

    After `age_seconds` it retires, and has as long again.
    """

    transport: asyncio.Transport

    def __init__(self, understand: Understand, open_stream: Open, among: set[Connection], age_seconds: float) -> None:
        self.session = Session(understand, open_stream, self._wake)
        self._among, self._age_seconds = among, age_seconds
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None  # runs while something waits for the client to read
        self._written = self._read = 0  # bytes that were sent; and that had left for the client when this was last looked at

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self._among.add(self)
        self._set_timer(_GREETING_SECONDS, transport.abort)
        self._flush()

    def data_received(self, data: bytes) -> None:
        session = self.session
        greeted = session.greeted
        session.receive(data)
        if not greeted and session.greeted:
            self._set_timer(self._age_seconds, self.retire)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._among.discard(self)
        self.session.lost()

    # --- sending ---

    def _wake(self, now: bool) -> None:
        if now:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        frames = self.session.sending.unsent()
        if self.transport.is_closing():
            return
        if frames:
            self._written += len(frames)
            self.transport.write(frames)
        if self.session.over:
            logger.debug("an HTTP/2 connection ends: %s", self.session.fault or "it has served its time")
            self.transport.close()
        elif self.session.sending.held:
            self._watch_reading()

    def pause_writing(self) -> None:
        """A client that does not read its replies may ask for no more of them."""
        self.transport.pause_reading()
        self._watch_reading()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _watch_reading(self) -> None:
        if self._stalled is None:
            self._read = self._left_for_client
            self._stalled = self._loop.call_later(_STALLED_SECONDS, self._look_whether_it_reads)

    @property
    def _left_for_client(self) -> int:
        return self._written - self.transport.get_write_buffer_size()

    def _look_whether_it_reads(self) -> None:
        self._stalled = None
        if not self.session.sending.held and not self.transport.get_write_buffer_size():
            return
        if self._left_for_client == self._read:
            self.transport.abort()
        else:
            self._watch_reading()

    # --- the end ---

    def retire(self) -> None:
        """Take no more requests than are on their way here, and close when these are answered."""
        if not self.session.retiring:
            self._set_timer(_FAREWELL_SECONDS, self._leave)
            self.session.retire()

    def _leave(self) -> None:
        self._set_timer(self._age_seconds, self.transport.abort)
        self.session.leave()

    def _set_timer(self, seconds: float, then: Callable[[], Any]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)
