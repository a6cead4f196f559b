"""What one HTTP/1.1 connection is given time for: a request's head, idleness, a client that reads its reply."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration, how long a request's head may take, in seconds, and what is to hear that a connection has ended."""

    head_seconds = 20.0
    on_end: Callable[[], None] = staticmethod(lambda: None)


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol; `timeout_keep_alive_task` is the timer of whatever is awaited of the client."""

    config: HttpConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False  # a request has begun to arrive, its headers are not whole
        self._idle_until: float | None = None  # loop.time() at which the connection closes if nothing comes; None: it is not idle
        self._idle_timer: asyncio.TimerHandle | None = None
        self._unsent = 0  # bytes of replies that the client had not taken when last looked at
        self._stalled: asyncio.TimerHandle | None = None

    @abstractmethod
    def refuse(self, status: int, message: str) -> None:
        """Answer what cannot be understood as a request, and close."""

    def _idle(self) -> None:
        """Nothing is awaited but the next request. One timer is moved on, not one made for each request."""
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_at(self._idle_until, self._idle_ends)

    def _forget_time(self) -> None:
        """The connection is gone."""
        self._unset_keepalive_if_required()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._stalled is not None:
            self._stalled.cancel()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_until = None
        super()._unset_keepalive_if_required()

    def _idle_ends(self) -> None:
        self._idle_timer = None
        until = self._idle_until
        if until is None:
            return
        if until > self.loop.time():
            self._idle_timer = self.loop.call_at(until, self._idle_ends)
        else:
            self.timeout_keep_alive_handler()

    def _wait_for_head(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.config.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._in_head:
            self.refuse(408, f"the request's headers did not arrive within {self.config.head_seconds:g} s")
        else:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for the time that an idle connection has. One whose client still reads its last reply is not idle."""
        if not self.transport.get_write_buffer_size():
            super().timeout_keep_alive_handler()
        elif self._client_reads():
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self.timeout_keep_alive, self._writing_stalls)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _writing_stalls(self) -> None:
        if self._client_reads():
            self._stalled = self.loop.call_later(self.timeout_keep_alive, self._writing_stalls)

    def _client_reads(self) -> bool:
        """Whether the client has taken something of its replies since this was last asked; if not, that was its last chance."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if 0 < before <= unsent:
            self.transport.abort()  # a close would wait for the client for ever
            return False
        return True
