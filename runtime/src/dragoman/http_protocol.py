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
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from dragoman.asgi import BODY_ARRIVING, TASK, Admitted, Direct, Headers
from dragoman.http_body import GatheredBody, RestOfBody, announced, drop_waiting
from dragoman.http_cycles import DirectCycle, Flow, Lingering
from dragoman.http_timeouts import TimedProtocol

HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 2.0  # how long the rest of a refused request is read, and dropped, before its connection closes
_READ_BYTES = 64 * 1024  # the most that asyncio hands over at once: what a request has more is read past the parser, and copied less
_CLOSE = (b"connection", b"close")
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})

logger = logging.getLogger("dragoman.http")


class HeadTooLarge(Exception):
    """A request line and headers of more than `HEAD_BYTES`."""


class Protocol(TimedProtocol):
    """One connection. Of its requests one is being answered (`_answering`), the newest is `cycle`; between them is `pipeline`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_due = False  # the timer that runs is the head's
        self._head_bytes = 0  # of all that was read while the head arrived; the first and the last read may hold more than the head
        self._upgrading = False
        self._deaf = False  # the connection is ending: what still comes is dropped
        self._answering: RequestResponseCycle | DirectCycle | None = None
        self._find_direct: Callable[[bytes, bytes], Direct | None] | None = getattr(self.app, "direct", None)
        self._direct: Direct | None = None  # what is to answer the request that arrives, once it is whole
        self._parts: list[bytes] = []  # of its body

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or has begun to arrive."""
        return self._in_head or (self.cycle is not None and not self.cycle.response_complete)

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]  # asyncio's own has 256 KB
        self.flow = Flow(transport, self)
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
        if self._direct is not None and self._wait_for_body(self._direct):
            return
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
                cycle.transport = Lingering(self)  # type: ignore[assignment]
        else:  # the rest of a body whose request is answered: it has as long as an idle connection has
            self._head_bytes, self._head_due = 0, False

    def eof_received(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_started and not self._deaf:
            self.refuse(400, "the request's body is cut short: the connection was closed before all of it came")

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self._answering
        self._forget_time()
        self.pipeline.clear()
        super().connection_lost(exc)
        self.config.on_end()
        if isinstance(cycle, DirectCycle) and not cycle.response_complete:
            cycle.drop()
        elif cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            task = cycle.scope.get(TASK)
            if isinstance(task, asyncio.Task):
                task.cancel()

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
        self.parser = _fresh_parser(self)
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
        cycle = DirectCycle(self)
        before, self.cycle = self.cycle, cycle  # type: ignore[assignment]
        drop = direct.begin(self.headers, parts[0] if len(parts) == 1 else b"".join(parts), cycle.respond)
        if drop is None:
            self.cycle = before
            self._give_up_direct()
            super().on_message_complete()
            return
        self._direct, self._parts = None, []
        if not cycle.response_complete:
            cycle.on_drop, self._answering = drop, cycle

    def _wait_for_body(self, direct: Direct) -> bool:
        """The request is here but for some of its body, which is read past the parser. False: it needs a task."""
        parts, length = self._parts, announced(self.headers)
        if length is None:
            self._give_up_direct()
            return False
        cycle = DirectCycle(self, more_body=True)
        before, self.cycle = self.cycle, cycle  # type: ignore[assignment]
        admitted = direct.admit(self.headers, length, cycle.respond)
        if admitted is None and not cycle.response_complete:
            self.cycle = before
            self._give_up_direct()
            return False
        self._direct, self._parts, self.parser = None, [], _fresh_parser(self)
        self._head_bytes, self._head_due = 0, False
        if admitted is None:
            self._drop_body(cycle, length - sum(map(len, parts)))
            return True
        self._unset_keepalive_if_required()
        self._answering, cycle.on_drop = cycle, admitted.drop
        body = GatheredBody(self, parts, length, lambda whole: self._begin_admitted(cycle, admitted, whole))
        self.timeout_keep_alive_task = self.loop.call_later(admitted.seconds, self._body_is_late, cycle, admitted, body)
        self.transport.set_protocol(body)
        return True

    def _begin_admitted(self, cycle: DirectCycle, admitted: Admitted, body: GatheredBody) -> None:
        self.transport.set_protocol(self)
        cycle.more_body = False
        if not self._deaf:
            self._unset_keepalive_if_required()
            drop = admitted.begin(body.whole())
            cycle.on_drop = None if cycle.response_complete else drop

    def _body_is_late(self, cycle: DirectCycle, admitted: Admitted, body: GatheredBody) -> None:
        self._drop_body(cycle, body.missing)
        admitted.late(body.came)

    def _drop_body(self, cycle: DirectCycle, missing: int) -> None:
        """What is still to come of it is read and forgotten: it has as long as an idle connection has."""

        def end(_: Any) -> None:
            cycle.more_body = False
            self.transport.set_protocol(self)

        missing -= drop_waiting(self.transport, missing)
        if missing:
            self.transport.set_protocol(RestOfBody(self, missing, end))
        else:
            end(None)

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
        if keep_alive:
            self.on_response_complete()
        elif self.cycle.more_body:
            self.leave()
        else:
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
        if isinstance(cycle, DirectCycle) and not cycle.response_complete:
            cycle.drop()
        elif cycle is not None and not cycle.response_complete:  # its body is what was not understood
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
        self.cycle = last  # type: ignore[assignment]

    def _refuse_head(self) -> None:
        if len(self.url) > HEAD_BYTES:
            self.refuse(414, f"the request line is longer than {HEAD_BYTES} bytes")
        else:
            self.refuse(431, f"the request line and headers are larger than {HEAD_BYTES} bytes")

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the time that an idle connection has."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle()


def _fresh_parser(connection: Protocol) -> Any:
    """For what comes next on a connection. As uvicorn's, it reads on after a request that asked for its connection to be closed."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
