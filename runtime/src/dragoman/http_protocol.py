"""HTTP/1.1 on one connection: httptools parses, the rest is here. Bounded in time and size, civil to who sends too much or too little.

A request's head has a due time and a largest size; a handler is cancelled when its client leaves; requests that are pipelined faster than
answered stay in the kernel's buffer; a reply that is sent before the request was read whole reaches its client (closing at once would
reset the connection, and the reply with it); an offer to upgrade to HTTP/2 is passed over (a parser that takes it loses the body of such a
request, which Java's HttpClient sends by default).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools

from dragoman.asgi import BODY_ARRIVING, App, Direct, Headers, Scope
from dragoman.http_cycle import Cycle, DirectCycle, InvalidReply, TaskCycle

HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 2.0  # how long the rest of a refused request is read, and dropped, before its connection closes
_READ_BYTES = 256 * 1024  # the most that asyncio hands over at once
_CLOSE = (b"connection", b"close")
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %s\r\n" % (code, _PHRASES.get(code, b"")) for code in range(100, 600)}

logger = logging.getLogger("dragoman.http")


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, app: App, head_seconds: float, keep_alive_seconds: float) -> None:
        """Seconds that a request's head may take, and for which an idle connection stays."""
        self.app, self.head_seconds, self.keep_alive_seconds = app, head_seconds, keep_alive_seconds
        self.find_direct: Callable[[bytes, bytes], Direct | None] | None = getattr(app, "direct", None)
        self.headers: list[tuple[bytes, bytes]] = []  # of every reply
        self.connections: set[Protocol] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.on_end: Callable[[], None] = lambda: None  # hears that a connection has ended


class HeadTooLarge(Exception):
    """A request line and headers of more than `HEAD_BYTES`."""


class Protocol(asyncio.Protocol):
    """One connection. Of its requests one is being answered (`_answering`), the newest is `cycle`; between them is `_pipeline`."""

    transport: asyncio.Transport

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.loop = asyncio.get_running_loop()
        self.parser = _parser(self)
        self.url, self.headers = b"", list[tuple[bytes, bytes]]()
        self._expects_continue = False
        self.cycle: Cycle | None = None
        self._answering: Cycle | None = None
        self._pipeline: deque[TaskCycle] = deque()  # oldest first
        self._in_head = False  # a request has begun to arrive, its headers are not whole
        self._head_due = False  # the timer that runs is the head's
        self._head_bytes = 0  # of all that was read while the head arrived; the first and the last read may hold more than the head
        self._upgrading = False
        self._deaf = False  # the connection is ending: what still comes is dropped
        self._direct: Direct | None = None  # what is to answer the request that arrives, once it is whole
        self._parts: list[bytes] = []  # of its body
        self._timer: asyncio.TimerHandle | None = None  # until a head is to have come, or a linger ends
        self._idle_until: float | None = None  # loop.time() at which the connection closes if nothing comes; None: it is not idle
        self._idle_timer: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._unsent = 0  # bytes of replies that the client had not taken when last looked at
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or has begun to arrive."""
        return self._in_head or (self.cycle is not None and not self.cycle.response_complete)

    def close_after_reply(self) -> None:
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def close_when_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._shared.connections.add(self)
        self.transport = transport
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
            self._stop_waiting()
            self._head_bytes, self._head_due = 0, False
            if cycle.more_body and isinstance(cycle, TaskCycle):  # known before its handler runs, which is at the loop's next turn
                cycle.scope[BODY_ARRIVING] = True
        else:  # the rest of a body whose request is answered: it has as long as an idle connection has
            self._head_bytes = 0

    def eof_received(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete and not self._deaf:
            self.refuse(400, "the request's body is cut short: the connection was closed before all of it came")

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._stop_waiting()
        for timer in (self._idle_timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._pipeline.clear()
        self._writable.set()
        for cycle in {self._answering, self.cycle}:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnect()
        del self.parser  # which has this connection, too
        self._shared.on_end()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._unsent = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self._shared.keep_alive_seconds, self._writing_stalls)

    def resume_writing(self) -> None:
        self._writable.set()
        if self._stalled is not None:
            self._stalled.cancel()

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        self.url, self.headers, self._expects_continue = b"", [], False
        self._in_head, self._upgrading = True, False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self.headers.append((name, value))

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
        elif not self._upgrading and isinstance(self.cycle, TaskCycle):
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        if self._direct is not None:
            self._begin_direct(self._direct)
        elif not self._upgrading and isinstance(self.cycle, TaskCycle):
            self.cycle.end()

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The request as if it had not offered another protocol, for a parser that has not seen it: RFC 9110, 7.8, lets a server."""
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        head += [b"%s: %s" % header for header in self.headers if header[0] not in _UPGRADE_HEADERS]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            head.append(b"connection: close")
        self.parser = _parser(self)
        return b"\r\n".join([*head, b"", rest])

    # --- answering ---

    def _directly(self) -> Direct | None:
        """What answers the request without a task: a plain one, that waits for no other, on a connection that goes on."""
        find = self._shared.find_direct
        if find is None or self._expects_continue or not self._writable.is_set():
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        parser = self.parser
        return find(parser.get_method(), self.url) if parser.should_keep_alive() and parser.get_http_version() == "1.1" else None

    def _begin_direct(self, direct: Direct) -> None:
        """The request is whole."""
        parts = self._parts
        cycle = DirectCycle(self)
        before, self.cycle = self.cycle, cycle
        drop = direct.begin(self.headers, parts[0] if len(parts) == 1 else b"".join(parts), cycle.respond)
        if drop is None:
            self.cycle = before
            self._give_up_direct()
            self.on_message_complete()
            return
        self._direct, self._parts = None, []
        if not cycle.response_complete:
            cycle.drop, self._answering = drop, cycle

    def _give_up_direct(self) -> None:
        """It needs a task after all."""
        if self._direct is None:
            return
        parts, self._direct, self._parts = self._parts, None, []
        self._begin_task()
        for part in parts:
            self.on_body(part)

    def _begin_task(self) -> None:
        parser, url = self.parser, httptools.parse_url(self.url)
        version, path = parser.get_http_version(), url.path.decode("ascii")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        before = self.cycle
        cycle = self.cycle = TaskCycle(self, scope, keep_alive=keep_alive, expects_continue=self._expects_continue)
        if before is None or before.response_complete:
            self._start(cycle)
        else:
            self.pause_request()
            self._pipeline.append(cycle)

    def _start(self, cycle: TaskCycle) -> None:
        self._answering = cycle
        task = self.loop.create_task(cycle.run(self._shared.app))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    def write_reply(self, cycle: Cycle, status: int, headers: Headers, body: bytes) -> None:
        lines = [*self._shared.headers, *headers]
        if _CLOSE in lines:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            lines.append(_CLOSE)
        head = b"".join([_STATUS_LINES[status], *[b"%s: %s\r\n" % line for line in lines]])
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
            raise InvalidReply(f"a reply's headers are not valid: {headers!r}")
        cycle.response_complete = True
        self.transport.write(b"".join((head, b"\r\n", body)))
        if cycle.keep_alive:
            self._after_reply()
        elif cycle.more_body:
            self.leave()
        else:
            self.transport.close()

    def write_interim(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def pause_request(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_request(self) -> None:
        """Unless requests wait for each other's replies: those of a client which pipelines without end wait in the kernel."""
        if self._reading_paused and not self._pipeline:
            self._reading_paused = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        self.transport.close()

    async def writable(self) -> None:
        if not self._writable.is_set():
            await self._writable.wait()

    def _after_reply(self) -> None:
        """The next request, or idleness: one timer is moved on, not one made for each request."""
        if self.transport.is_closing():
            return
        self._stop_waiting()
        following = self._pipeline.popleft() if self._pipeline else None
        self.resume_request()
        if following is not None:
            self._start(following)
            return
        self._idle_until = self.loop.time() + self._shared.keep_alive_seconds
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_at(self._idle_until, self._idle_ends)

    def refuse(self, status: int, message: str) -> None:
        """Answer what cannot be understood as a request, and close; requests before it are answered first."""
        logger.debug("refused: %s", message, extra={"code": status})
        self._stop_waiting()
        self._in_head = False
        cycle = self._answering
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            self._close_after_replies()
            return
        if isinstance(cycle, TaskCycle) and not cycle.response_complete:  # its body is what was not understood
            cycle.give_up_reading()
        elif self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:  # answered before its body was read
            self.leave()
            return
        body = json.dumps({"error": message}).encode()
        headers = [*self._shared.headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        lines = [b"%s: %s\r\n" % header for header in headers if header != _CLOSE]
        self.transport.write(b"".join([_STATUS_LINES[status], *lines, b"connection: close\r\n\r\n", body]))
        self.leave()

    def leave(self) -> None:
        """Close once the client has had time to read what was written: a close while it sends would throw that away."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        self._stop_waiting()
        self.transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _close_after_replies(self) -> None:
        """To the requests that came before."""
        self._deaf = True
        if self._pipeline and self._pipeline[-1].more_body:
            self._pipeline.pop()
        last = self._pipeline[-1] if self._pipeline else self._answering
        assert last is not None
        last.keep_alive = False
        self.cycle = last

    def _refuse_head(self) -> None:
        if len(self.url) > HEAD_BYTES:
            self.refuse(414, f"the request line is longer than {HEAD_BYTES} bytes")
        else:
            self.refuse(431, f"the request line and headers are larger than {HEAD_BYTES} bytes")

    # --- time ---

    def _stop_waiting(self) -> None:
        self._idle_until = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self._shared.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._in_head:
            self.refuse(408, f"the request's headers did not arrive within {self._shared.head_seconds:g} s")
        else:
            self.transport.close()

    def _idle_ends(self) -> None:
        self._idle_timer = None
        until = self._idle_until
        if until is None:
            return
        if until > self.loop.time():
            self._idle_timer = self.loop.call_at(until, self._idle_ends)
        else:
            self._close_idle()

    def _close_idle(self) -> None:
        """Nothing came for the time that an idle connection has. One whose client still reads its last reply is not idle."""
        if not self.transport.get_write_buffer_size():
            self.transport.close()
        elif self._client_reads():
            self._timer = self.loop.call_later(self._shared.keep_alive_seconds, self._close_idle)

    def _writing_stalls(self) -> None:
        if self._client_reads():
            self._stalled = self.loop.call_later(self._shared.keep_alive_seconds, self._writing_stalls)

    def _client_reads(self) -> bool:
        """Whether the client has taken something of its replies since this was last asked; if not, that was its last chance."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if 0 < before <= unsent:
            self.transport.abort()  # a close would wait for the client for ever
            return False
        return True


def _parser(connection: Protocol) -> Any:
    """One that reads on after a request which asked for its connection to be closed: what comes then is dropped, and no error."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
