"""One HTTP request and its reply, as raw ASGI: what every path of every dialect has in common.

Starlette's Request, Response and routing cost a tenth to a fifth of a one-row request, so predict paths come here straight from a table.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from dragoman.admission import Admission
from dragoman.asgi import BODY_ARRIVING, TASK, Receive, Scope, Send
from dragoman.body import BodyLimit, ClientLeft, read_body
from dragoman.dialects.dialect import Answer, Dialect, Predict, Reply, Request
from dragoman.errors import CallError, ModelFailed, Overloaded
from dragoman.metrics import Metrics
from dragoman.registry import ServedModel

CLIENT_LEFT = 499  # as nginx counts it; never sent

logger = logging.getLogger("dragoman.request")
_prefix = ""
_count = itertools.count()


class Worker:
    """What the exchanges of one worker share."""

    def __init__(self, admission: Admission, metrics: Metrics, access_log: bool = False) -> None:
        self.admission, self.metrics, self.access_log = admission, metrics, access_log
        self.only_client: Callable[[], bool] = lambda: False  # whether one HTTP connection is open, and no more
        self._durations: dict[tuple[str, str, int], Any] = {}
        self._rejected = metrics.requests_rejected

    def observe(self, model: str, dialect: str, code: int, started: float, request: Request) -> None:
        """Count a finished request: once, whatever became of it."""
        seconds = time.monotonic() - started
        key = (model, dialect, code)
        child = self._durations.get(key)
        if child is None:
            child = self._durations[key] = self.metrics.request_duration.labels(model, dialect, str(code))
        child.observe(seconds)
        if self.access_log:
            extra = {"method": request.method, "path": request.path, "code": code, "seconds": round(seconds, 6), "model": model}
            logger.info("request", extra=extra | {"request_id": request.request_id})

    def note(self, error: CallError, request: Request, *, entered: bool) -> None:
        """Count what was refused before it reached a model; log, whole and under the request's id, what the model's own code raised."""
        if not entered or isinstance(error, Overloaded):
            self._rejected.labels(error.reason).inc()
        elif isinstance(error, ModelFailed):
            logger.error("%s", error.message, exc_info=error.__cause__, extra={"request_id": request.request_id, "path": request.path})


class PredictExchange:
    """Answers a predict path."""

    def __init__(self, dialect: Dialect, predict: Predict, model: ServedModel, worker: Worker) -> None:
        self._dialect, self._predict, self._model, self._worker = dialect, predict, model, worker
        self._error = predict.error or dialect.error
        self._limit = BodyLimit(model.limits.max_request_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[TASK] = asyncio.current_task()
        request = request_of(scope)
        started = request.started
        worker, model = self._worker, self._model
        deadline = started + model.limits.timeout_seconds
        entered = False
        try:
            worker.admission.enter()
            entered = True
            arriving, encodings = BODY_ARRIVING in scope, self._predict.encodings
            request.body = await read_body(receive, request.headers, self._limit, deadline, worker.admission, encodings, arriving=arriving)
            if self._predict.look_up is not None:
                request.found = await self._predict.look_up(request)
            call = self._predict.decode(request)
            reply = self._predict.encode(request, call, await model.predict(call, deadline, worker.only_client()))
        except CallError as error:
            worker.note(error, request, entered=entered)
            reply = self._error(error, request)
        except (ClientLeft, asyncio.CancelledError):
            worker.observe(model.name, self._dialect.name, CLIENT_LEFT, started, request)
            return
        except Exception as error:  # noqa: BLE001  the edge of a request
            reply = self._error(unexpected(error, request), request)
        finally:
            if entered:
                worker.admission.leave()
        try:
            await send_reply(send, reply, request.request_id)
        except asyncio.CancelledError:  # the client left while it read
            worker.observe(model.name, self._dialect.name, CLIENT_LEFT, started, request)
            return
        worker.observe(model.name, self._dialect.name, reply.status, started, request)


class AnswerExchange:
    """Answers a path that a dialect answers by itself."""

    def __init__(self, dialect: Dialect, answer: Answer, worker: Worker) -> None:
        self._dialect, self._answer, self._worker = dialect, answer, worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        started = request.started
        deadline = started + _ANSWER_SECONDS
        try:
            if request.method == "POST":
                request.body = await read_body(receive, request.headers, _ANSWER_LIMIT, deadline, self._worker.admission)
            reply = self._answer.reply(request)
        except CallError as error:
            reply = self._dialect.error(error, request)
        except (ClientLeft, asyncio.CancelledError):
            return
        except Exception as error:  # noqa: BLE001  the edge of a request
            reply = self._dialect.error(unexpected(error, request), request)
        await send_reply(send, reply, request.request_id)
        self._worker.observe("", self._dialect.name, reply.status, started, request)


def request_of(scope: Scope) -> Request:
    """The request as a dialect sees it, its body still to be read."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        scope["method"], scope["path"], headers, b"", scope["query_string"].decode("latin-1"), request_id(headers), time.monotonic()
    )


async def send_reply(send: Send, reply: Reply, identity: str) -> None:
    headers = [
        (b"content-type", reply.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", identity.encode("latin-1")),
    ]
    if reply.headers:
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def request_id(headers: Mapping[str, str]) -> str:
    """The client's own id for the request: `X-Request-Id`, else the trace id of `traceparent` (W3C Trace Context), else a new one."""
    given = headers.get("x-request-id")
    if given and len(given) <= 128 and given.isascii() and given.isprintable():
        return given
    trace = headers.get("traceparent")
    if trace and (found := _TRACEPARENT.match(trace)):
        return found[1]
    return f"{_own_prefix()}{next(_count):08x}"


def unexpected(error: Exception, request: Request) -> CallError:
    """An error that nobody foresaw: the log has it whole, the client gets its request id."""
    logger.error("request failed", exc_info=error, extra={"request_id": request.request_id, "path": request.path})
    return ModelFailed(f"internal error; the log has it under request id {request.request_id}")


def _own_prefix() -> str:
    """Random, and another one in each process: 24 hex digits that the counter makes 32."""
    global _prefix, _pid
    if _pid != os.getpid():
        _pid = os.getpid()
        _prefix = os.urandom(12).hex()
    return _prefix


_pid = 0
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?![0-9a-f])")
_ANSWER_SECONDS = 60.0
_ANSWER_LIMIT = BodyLimit(1024 * 1024, "the limit of this path")
