"""One connection of an HTTP/2 server, on asyncio: what a session says is sent, what comes is told to it, and nothing lasts for ever."""

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
    """`open_stream` is called with each request, `closed` once at the end. After `age_seconds` it retires, and has as long again."""

    transport: asyncio.Transport

    def __init__(self, understand: Understand, open_stream: Open, closed: Callable[[Connection], Any], age_seconds: float) -> None:
        self.session = Session(understand, open_stream, self._wake)
        self._closed, self._age_seconds = closed, age_seconds
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._loop = asyncio.get_running_loop()
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
        self.session.lost()
        self._closed(self)

    # --- sending ---

    def _wake(self, now: bool) -> None:
        if now:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        frames = self.session.unsent()
        if self.transport.is_closing():
            return
        if frames:
            self.transport.write(frames)
        if self.session.over:
            logger.debug("an HTTP/2 connection ends: %s", self.session.fault or "it has served its time")
            self.transport.close()

    def pause_writing(self) -> None:
        """A client that does not read its replies may ask for no more of them."""
        self.transport.pause_reading()
        self._unread = self.transport.get_write_buffer_size()
        self._stalled = self._loop.call_later(_STALLED_SECONDS, self._look_whether_it_reads)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _look_whether_it_reads(self) -> None:
        unread, before = self.transport.get_write_buffer_size(), self._unread
        self._unread = unread
        if unread >= before:
            self.transport.abort()
        else:
            self._stalled = self._loop.call_later(_STALLED_SECONDS, self._look_whether_it_reads)

    # --- the end ---

    def retire(self) -> None:
        """Take no more requests than are on their way here, and close when these are answered."""
        self._set_timer(_FAREWELL_SECONDS, self._leave)
        self.session.retire()

    def _leave(self) -> None:
        self._set_timer(self._age_seconds, self.transport.abort)
        self.session.leave()

    def _set_timer(self, seconds: float, then: Callable[[], Any]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)
