"""HTTP/1.1 on one connection: uvicorn's protocol, bounded in time and size, and civil to clients that send too much or too little.

What uvicorn's own lacks: a request's head has a due time and a largest size; a handler is cancelled when its client leaves; requests that
are pipelined faster than answered stay in the kernel's buffer; a reply that is sent before the request was read whole reaches its client
(closing at once would reset the connection, and the reply with it); an offer to upgrade to HTTP/2 is passed over (uvicorn loses the
body of such a request, which Java's HttpClient sends by default).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from dragoman.asgi import BODY_ARRIVING, TASK, Direct, Headers

HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 2.0  # how long the rest of a refused request is read, and dropped, before its connection closes
_READ_BYTES = 256 * 1024  # the most that asyncio hands over at once
_CLOSE = (b"connection", b"close")
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})

logger = logging.getLogger("dragoman.http")


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration, how long a request's head may take, in seconds, and what is to hear that a connection has ended."""

    head_seconds = 20.0
    on_end: Callable[[], None] = staticmethod(lambda: None)


class HeadTooLarge(Exception):
    """A request line and headers of more than `HEAD_BYTES`."""


class Protocol(HttpToolsProtocol):
    """One connection. Of its requests one is being answered (`_answering`), the newest is `cycle`; between them is `pipeline`."""

    config: HttpConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False  # a request has begun to arrive, its headers are not whole
        self._head_due = False  # the timer that runs is the head's
        self._head_bytes = 0  # of all that was read while the head arrived; the first and the last read may hold more than the head
        self._upgrading = False
        self._deaf = False  # the connection is ending: what still comes is dropped
        self._answering: RequestResponseCycle | None = None
        self._find_direct: Callable[[bytes, bytes], Direct | None] | None = getattr(self.app, "direct", None)
        self._direct: Direct | None = None  # what is to answer the request that arrives, once it is whole
        self._parts: list[bytes] = []  # of its body
        self._idle_until: float | None = None  # loop.time() at which the connection closes if nothing comes; None: it is not idle
        self._idle_timer: asyncio.TimerHandle | None = None
        self._unsent = 0  # bytes of replies that the client had not taken when last looked at
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or has begun to arrive."""
        return self._in_head or (self.cycle is not None and not self.cycle.response_complete)

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._head_bytes += len(data)
        rest = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    rest = self._without_upgrade(rest[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._give_up_direct()
            if isinstance(error.__context__, HeadTooLarge):
                self._refuse_head()
            else:
                self.refuse(400, f"this is not HTTP/1.1: {error.__context__ or error}")
            return
        if self._direct is not None:
            self._give_up_direct()  # its body is still to come
        cycle = self.cycle
        if self._in_head:
            if self._head_bytes > HEAD_BYTES + _READ_BYTES:
                self._refuse_head()
            elif not self._head_due:
                self._wait_for_head()
                self._head_due = True  # and keeps its due time, however it trickles
        elif cycle is not None and not cycle.response_complete:
            self._unset_keepalive_if_required()
            self._head_bytes, self._head_due = 0, False
            if cycle.more_body:  # known before its handler runs, which is at the loop's next turn
                cycle.scope[BODY_ARRIVING] = True  # type: ignore[literal-required]
                cycle.transport = _Lingering(self)  # type: ignore[assignment]
        else:  # the rest of a body whose request is answered: it has as long as an idle connection has
            self._head_bytes = 0

    def eof_received(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_started and not self._deaf:
            self.refuse(400, "the request's body is cut short: the connection was closed before all of it came")

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self._answering
        self._unset_keepalive_if_required()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._stalled is not None:
            self._stalled.cancel()
        self.pipeline.clear()
        super().connection_lost(exc)
        self.config.on_end()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            task = cycle.scope.get(TASK)
            if isinstance(task, asyncio.Task):
                task.cancel()
            elif isinstance(cycle, _DirectCycle):
                cycle.drop()

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._upgrading = True, False

    def on_headers_complete(self) -> None:
        if self._head_bytes > HEAD_BYTES and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            raise HeadTooLarge
        self._in_head = False
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrading = True
            return
        self._direct = self._directly()
        if self._direct is None:
            self._begin_task()

    def on_body(self, body: bytes) -> None:
        if self._direct is not None:
            self._parts.append(body)
        elif not self._upgrading:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._direct is not None:
            self._begin_direct(self._direct)
        elif not self._upgrading:
            super().on_message_complete()

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The request as if it had not offered another protocol, for a parser that has not seen it: RFC 9110, 7.8, lets a server."""
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        head += [b"%s: %s" % header for header in self.headers if header[0] not in _UPGRADE_HEADERS]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            head.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*head, b"", rest])

    # --- answering ---

    def _directly(self) -> Direct | None:
        """What answers the request without a task: a plain one, that waits for no other, on a connection that goes on."""
        if self._find_direct is None or self.expect_100_continue or self.flow.write_paused:
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        parser = self.parser
        return (
            self._find_direct(parser.get_method(), self.url) if parser.should_keep_alive() and parser.get_http_version() == "1.1" else None
        )

    def _begin_direct(self, direct: Direct) -> None:
        """The request is whole."""
        parts = self._parts
        cycle = _DirectCycle(self)
        before, self.cycle = self.cycle, cycle  # type: ignore[assignment]
        drop = direct.begin(self.headers, parts[0] if len(parts) == 1 else b"".join(parts), cycle.respond)
        if drop is None:
            self.cycle = before
            self._give_up_direct()
            super().on_message_complete()
            return
        self._direct, self._parts = None, []
        if not cycle.response_complete:
            cycle.drop, self._answering = drop, self.cycle

    def write_reply(self, status: int, headers: Headers, body: bytes, *, keep_alive: bool) -> None:
        """A whole reply in one write. One whose headers would split is not sent: the connection closes, as nothing may follow it."""
        lines = [*self.server_state.default_headers, *headers]
        if _CLOSE in lines:
            keep_alive = False
        elif not keep_alive:
            lines.append(_CLOSE)
        head = b"".join([STATUS_LINE[status], *[b"%s: %s\r\n" % line for line in lines]])
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
            logger.error("a reply's headers are not valid: %r", headers)
            self.transport.close()
            return
        self.transport.write(b"".join((head, b"\r\n", body)))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _give_up_direct(self) -> None:
        """It needs a task after all."""
        if self._direct is None:
            return
        parts, self._direct, self._parts = self._parts, None, []
        self._begin_task()
        for part in parts:
            super().on_body(part)

    def _begin_task(self) -> None:
        """As uvicorn does it: it makes the scope as soon as a request begins."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def refuse(self, status: int, message: str) -> None:
        """Answer what cannot be understood as a request, and close; requests before it are answered first."""
        logger.debug("refused: %s", message, extra={"code": status})
        self._unset_keepalive_if_required()
        self._in_head = False
        cycle = self._answering
        if cycle is not None and not cycle.response_complete and (cycle.response_started or not cycle.more_body):
            self._close_after_reply()
            return
        if cycle is not None and not cycle.response_complete:  # its body is what was not understood
            cycle.disconnected = True
            cycle.message_event.set()
        elif self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:  # answered before its body was read
            self.leave()
            return
        body = json.dumps({"error": message}).encode()
        headers = [*self.server_state.default_headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        lines = [b"%s: %s\r\n" % header for header in headers if header[0] != b"connection"]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"connection: close\r\n\r\n", body]))
        self.leave()

    def leave(self) -> None:
        """Close once the client has had time to read what was written: a close while it sends would throw that away."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        self._unset_keepalive_if_required()
        self.transport.write_eof()
        self.flow.resume_reading()
        self.timeout_keep_alive_task = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _close_after_reply(self) -> None:
        self._deaf = True
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._answering
        assert last is not None
        last.keep_alive = False
        self.cycle = last

    def _refuse_head(self) -> None:
        if len(self.url) > HEAD_BYTES:
            self.refuse(414, f"the request line is longer than {HEAD_BYTES} bytes")
        else:
            self.refuse(431, f"the request line and headers are larger than {HEAD_BYTES} bytes")

    # --- time ---

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the time that an idle connection has: one timer is moved on, not one made for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_at(self._idle_until, self._idle_ends)

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


class _DirectCycle:
    """A request that is answered directly, as far as a connection knows uvicorn's cycles."""

    more_body = disconnected = response_started = response_complete = False
    keep_alive = True
    scope: Mapping[str, Any] = {}
    message_event = asyncio.Event()  # nobody waits for it

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.drop: Callable[[], Any]

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.response_started = self.response_complete = True
        if not self.disconnected:
            self._protocol.write_reply(status, headers, body, keep_alive=self.keep_alive)


class _Flow(FlowControl):
    """Reads on only while no request waits for another's reply: that of a client which pipelines without end waits in the kernel."""

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.pipeline:
            super().resume_reading()


class _Lingering:
    """The transport of a request whose body has not all come: closing it lets the client read its reply first."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def write(self, written: bytes) -> None:
        self._protocol.transport.write(written)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        if self._protocol.cycle.more_body:
            self._protocol.leave()
        else:
            self._protocol.transport.close()
