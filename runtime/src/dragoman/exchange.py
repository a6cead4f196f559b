"""One HTTP request and its reply, as raw ASGI: what every path of every dialect has in common.

Starlette's Request, Response and routing cost a tenth to a fifth of a one-row request, so predict paths come here straight from a table.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

from dragoman.admission import Admission
from dragoman.asgi import BODY_ARRIVING, TASK, Receive, Scope, Send
from dragoman.body import BodyLimit, ClientLeft, read_body
from dragoman.call import Call, Prediction
from dragoman.deferred import Deferrals
from dragoman.dialects.dialect import Answer, Deferred, Dialect, Kept, Model, Predict, Reply, Request, Rpc
from dragoman.errors import CallError, Forbidden, ModelFailed, Overloaded, WaitedTooLong
from dragoman.kept import Stores, awaited
from dragoman.line import Turnstile
from dragoman.metrics import Metrics, Tally
from dragoman.registry import ServedModel

CLIENT_LEFT = 499  # as nginx counts it; never sent

logger = logging.getLogger("dragoman.request")
_prefix = ""
_count = itertools.count()


class Orders(Protocol):
    async def order(self, verb: Literal["load", "unload"], model: ServedModel, deadline: float) -> None:
        """An administrator's word, done once every worker has followed it. Raises a `CallError`."""


class Worker:
    """What the exchanges of one worker share."""

    def __init__(self, admission: Admission, metrics: Metrics, stores: Stores, access_log: bool = False) -> None:
        self.admission, self.metrics, self.access_log = admission, metrics, access_log
        self.only_client: Callable[[], bool] = lambda: False  # whether one HTTP connection is open, and no more
        self.stores, self.deferrals = stores, Deferrals()
        self.turnstiles: list[Turnstile] = []
        self.orders: Orders | None = None
        self._durations: dict[tuple[str, str, int], Tally] = {}
        self._rejected = metrics.requests_rejected

    def observe(self, model: str, dialect: str, code: int, started: float, request: Request) -> None:
        """Count a finished request: once, whatever became of it."""
        seconds = time.monotonic() - started
        key = (model, dialect, code)
        child = self._durations.get(key)
        if child is None:
            child = self._durations[key] = Tally(self.metrics.request_duration.labels(model, dialect, str(code)))
        child.add(seconds)
        if self.access_log:
            extra = {"method": request.method, "path": request.path, "code": code, "seconds": round(seconds, 6), "model": model}
            logger.info("request", extra=extra | {"request_id": request.request_id})

    async def prepare(self, about: Answer | Rpc, model: Model, started: float) -> None:
        """What is to be done with a model before a dialect answers about it. Raises a `CallError`."""
        assert isinstance(model, ServedModel)
        if about.order is not None:
            if self.orders is None or model.manifest.spec.serving.auth.admin_tokens is None:  # where there are any, guards ask for one
                raise Forbidden(
                    f"{about.order}ing models is off: it needs an admin token, and none is configured (spec.serving.auth.adminTokens)"
                )
            await self.orders.order(about.order, model, started + model.limits.load_timeout_seconds)
        elif about.describes and model.pool is not None and model.state != "Loaded":
            await model.pool.bring(model, started + model.limits.timeout_seconds)

    def hurry(self) -> None:
        """The server is about to end: no call waits for others to come."""
        for turnstile in self.turnstiles:
            turnstile.hurry()

    def note(self, error: CallError, request: Request, *, entered: bool) -> None:
        """Count what was refused before it reached a model; log, whole and under the request's id, what the model's own code raised."""
        if not entered or isinstance(error, Overloaded):
            self._rejected.labels(error.reason).inc()
        elif isinstance(error, ModelFailed):
            logger.error("%s", error.message, exc_info=error.__cause__, extra={"request_id": request.request_id, "path": request.path})


class PredictExchange:
    """Answers a predict path."""

    def __init__(self, dialect: Dialect, predict: Predict, model: ServedModel, worker: Worker) -> None:
        self.dialect, self.predict, self.model, self.worker = dialect, predict, model, worker
        self.error = predict.error or dialect.error
        self.limit = BodyLimit(model.limits.max_request_bytes)
        self.turnstile: Turnstile | None = None
        self._deferred = predict.line.deferred if predict.line is not None else None
        if predict.line is not None:
            self.turnstile = Turnstile(predict.line, model.predict)
            worker.turnstiles.append(self.turnstile)

    def take(self, predict: Predict) -> None:
        """What the dialect says of this path has changed with what is known of the model: the next request is served by it."""
        self.predict, self.error = predict, predict.error or self.dialect.error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[TASK] = asyncio.current_task()
        request = request_of(scope)
        started = request.started
        worker, model, turnstile = self.worker, self.model, self.turnstile
        deadline = started + model.limits.timeout_seconds
        entered = passing = False
        if model.pool is not None:
            request.warm = model.pool.use(model)
        try:
            worker.admission.enter()
            entered = True
            if turnstile is not None:
                turnstile.enter()
                passing = True
            arriving, encodings = BODY_ARRIVING in scope, self.predict.encodings
            request.body = await read_body(receive, request.headers, self.limit, deadline, worker.admission, encodings, arriving=arriving)
            if not request.warm and model.pool is not None:
                await model.pool.bring(model, deadline)
            predict = self.predict
            if predict.look_up is not None:
                request.found = await predict.look_up(request)
            if len(request.body) < LARGE_BODY:
                call = predict.decode(request)
            else:
                call = await asyncio.to_thread(decode_large, predict.decode, request)
            if turnstile is None:
                reply = predict.encode(request, call, await model.predict(call, deadline, worker.only_client()))
            elif self._deferred is None:
                reply = predict.encode(request, call, await turnstile.predict(call, deadline, worker.only_client()))
            else:
                reply = self._defer(self._deferred, request, call, turnstile.submit(call, deadline))
                entered = False  # its place among the requests in flight is the predict's now
        except CallError as error:
            worker.note(error, request, entered=entered)
            reply = self.error(error, request)
        except (ClientLeft, asyncio.CancelledError):
            worker.observe(model.name, self.dialect.name, CLIENT_LEFT, started, request)
            return
        except Exception as error:  # noqa: BLE001  the edge of a request
            reply = self.error(unexpected(error, request), request)
        finally:
            if turnstile is not None and passing:
                turnstile.leave()
            if entered:
                worker.admission.leave()
        try:
            await send_reply(send, reply, request.request_id)
        except asyncio.CancelledError:  # the client left while it read
            worker.observe(model.name, self.dialect.name, CLIENT_LEFT, started, request)
            return
        worker.observe(model.name, self.dialect.name, reply.status, started, request)

    def _defer(self, deferred: Deferred, request: Request, call: Call, answer: Awaitable[Prediction]) -> Reply:
        worker, store = self.worker, self.worker.stores.of(deferred.store)
        worker.deferrals.begin(
            deferred.key(request),
            deferred,
            store,
            self._reply_to_keep(request, call, answer),
            fail=lambda error: self.error(error, request),
            finished=worker.admission.leave,
        )
        return deferred.accepted(request)

    async def _reply_to_keep(self, request: Request, call: Call, answer: Awaitable[Prediction]) -> Reply:
        async def encoded() -> Reply:
            return self.predict.encode(request, call, await answer)

        return await _at_the_edge(encoded(), self.error, request, self.worker)


class KeptExchange:
    """Gives out the replies of deferred predicts. Those who wait are bounded by themselves: what they wait for is in flight already."""

    def __init__(self, dialect: Dialect, kept: Kept, model: ServedModel, worker: Worker) -> None:
        self._dialect, self._kept, self._model, self._worker = dialect, kept, model, worker
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[TASK] = asyncio.current_task()
        request, worker = request_of(scope), self._worker
        code = CLIENT_LEFT
        self._waiting += 1
        try:
            reply = await _at_the_edge(self._found(request), self._dialect.error, request, worker)
            code = reply.status
            await send_reply(send, reply, request.request_id)
        except asyncio.CancelledError:  # the client left
            code = CLIENT_LEFT
        finally:
            self._waiting -= 1
            worker.observe(self._model.name, self._dialect.name, code, request.started, request)

    async def _found(self, request: Request) -> Reply:
        kept, limit = self._kept, self._model.limits.max_concurrency
        if self._waiting > limit:
            raise Overloaded(f"{limit} requests wait here, as many as serving.limits.maxConcurrency allows: try again later")
        key = kept.key(request)
        if key is None:
            await asyncio.sleep(kept.wait_seconds)
        elif (reply := await awaited(self._worker.stores.of(kept.store), key, kept.wait_seconds)) is not None:
            return reply
        raise WaitedTooLong("there was no such reply within the time that a client waits on this path")


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
            if self._answer.model is not None:
                await self._worker.prepare(self._answer, self._answer.model, started)
            reply = self._answer.reply(request)
        except CallError as error:
            reply = self._dialect.error(error, request)
        except (ClientLeft, asyncio.CancelledError):
            return
        except Exception as error:  # noqa: BLE001  the edge of a request
            reply = self._dialect.error(unexpected(error, request), request)
        await send_reply(send, reply, request.request_id)
        self._worker.observe("", self._dialect.name, reply.status, started, request)


async def _at_the_edge(reply: Awaitable[Reply], render: Callable[[CallError, Request], Reply], request: Request, worker: Worker) -> Reply:
    """A reply that is made after its request was admitted, or what it is answered instead."""
    try:
        return await reply
    except CallError as error:
        worker.note(error, request, entered=True)
        return render(error, request)
    except Exception as error:  # noqa: BLE001  the edge of a request
        return render(unexpected(error, request), request)


def decode_large(decode: Callable[[Request], Call], request: Request) -> Call:
    """Without the cyclic collector, which would look at a million lists again and again while they are made: a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return decode(request)
    finally:
        if enabled:
            gc.enable()


def request_of(scope: Scope) -> Request:
    """The request as a dialect sees it, its body still to be read."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        scope["method"], scope["path"], headers, b"", scope["query_string"].decode("latin-1"), request_id(headers), time.monotonic()
    )


def headers_of(reply: Reply, identity: str) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", reply.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", identity.encode("latin-1")),
    ]
    if reply.headers:
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    return headers


async def send_reply(send: Send, reply: Reply, identity: str) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": headers_of(reply, identity)})
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
LARGE_BODY = 1024 * 1024  # bytes: decoding more takes so long that the loop would stand still for others
_ANSWER_LIMIT = BodyLimit(1024 * 1024, "the limit of this path")
