"""One predict request and its reply without a task: plain requests, which wait for nothing but the rest of their body and the model.

What comes of them is what `PredictExchange.__call__` makes of them: an ASGI task, its events and its messages cost more than a row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from dragoman.asgi import Admitted, Headers, Respond
from dragoman.body import late, refuse_large
from dragoman.call import Call, Prediction
from dragoman.dialects.dialect import Predict, Reply, Request
from dragoman.errors import CallError, Overloaded
from dragoman.exchange import CLIENT_LEFT, LARGE_BODY, PredictExchange, headers_of, request_id, unexpected


class DirectExchange:
    """Answers a predict path; of `exchange` is what it answers and for whom."""

    def __init__(self, exchange: PredictExchange) -> None:
        self._exchange, self._model, self._worker = exchange, exchange.model, exchange.worker

    def begin(self, headers: Headers, body: bytes, respond: Respond) -> Callable[[], Any] | None:
        """`Direct`: a request that is here whole."""
        request = self._plain(headers, len(body))
        if request is None:
            return None
        request.body = body
        try:
            self._worker.admission.enter()
        except Overloaded as error:
            self._refuse(error, request, respond, entered=False)
            return _nothing_to_drop
        return self.ask(request, respond)

    def admit(self, headers: Headers, length: int, respond: Respond) -> Admitted | None:
        """`Direct`: a request whose body is still to come."""
        request = self._plain(headers, length)
        if request is None or length > self._exchange.limit.bytes:
            return None
        admission = self._worker.admission
        try:
            admission.enter()
        except Overloaded as error:
            self._refuse(error, request, respond, entered=False)
            return None
        try:
            admission.hold(length)
        except Overloaded as error:
            admission.leave()
            self._refuse(error, request, respond, entered=True)
            return None
        return _BodyToCome(self, request, length, respond, self._model.limits.timeout_seconds)

    def ask(self, request: Request, respond: Respond) -> Callable[[], Any]:
        """Answers a request that was let in; gives what drops it."""
        worker, predict = self._worker, self._exchange.predict
        try:
            refuse_large(request.headers, len(request.body), self._exchange.limit)
            call = predict.decode(request)
            answer = self._model.submit(call, request.started + self._model.limits.timeout_seconds, worker.only_client())
        except Exception as error:  # noqa: BLE001  the edge of a request
            worker.admission.leave()
            self._refuse(error, request, respond, entered=True)
            return _nothing_to_drop
        finish = partial(self._finish, request, predict, call, respond)
        if answer.done():
            finish(answer)
        else:
            answer.add_done_callback(finish)
        return answer.cancel

    def give_up(self, request: Request, length: int, respond: Respond, error: CallError | None) -> None:
        """The body of a request that was let in does not come whole. No `error`: its client has left."""
        self.arrived(length)
        self._worker.admission.leave()
        if error is None:
            self._left(request)
        else:
            self._refuse(error, request, respond, entered=True)

    def arrived(self, length: int) -> None:
        """A body is no longer one that arrives."""
        self._worker.admission.release(length)

    def _plain(self, headers: Headers, length: int) -> Request | None:
        """The request without its body; None where it needs more than a look at its rows and the model."""
        predict = self._exchange.predict
        if self._exchange.turnstile is not None or predict.look_up is not None or self._model.pool is not None or length >= LARGE_BODY:
            return None
        texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        if "content-encoding" in texts:
            return None
        return Request(predict.method, predict.path, texts, b"", "", request_id(texts), time.monotonic())

    def _finish(self, request: Request, predict: Predict, call: Call, respond: Respond, answer: asyncio.Future[Prediction]) -> None:
        """The model has answered, or is not to be asked any more."""
        self._worker.admission.leave()
        try:
            reply = predict.encode(request, call, answer.result())
        except asyncio.CancelledError:
            self._left(request)
        except Exception as error:  # noqa: BLE001  the edge of a request
            self._refuse(error, request, respond, entered=True)
        else:
            self._reply(reply, request, respond)

    def _refuse(self, error: Exception, request: Request, respond: Respond, *, entered: bool) -> None:
        if isinstance(error, CallError):
            self._worker.note(error, request, entered=entered)
        else:
            error = unexpected(error, request)
        self._reply(self._exchange.error(error, request), request, respond)

    def _reply(self, reply: Reply, request: Request, respond: Respond) -> None:
        respond(reply.status, headers_of(reply, request.request_id), reply.body)
        self._observe(reply.status, request)

    def _left(self, request: Request) -> None:
        self._observe(CLIENT_LEFT, request)

    def _observe(self, code: int, request: Request) -> None:
        self._worker.observe(self._model.name, self._exchange.dialect.name, code, request.started, request)


class _BodyToCome:
    """`Admitted`: a request that has its place among those in flight while its body comes."""

    def __init__(self, exchange: DirectExchange, request: Request, length: int, respond: Respond, seconds: float) -> None:
        self._exchange, self._request, self._length, self._respond = exchange, request, length, respond
        self.seconds = seconds

    def begin(self, body: bytes) -> Callable[[], Any]:
        self._exchange.arrived(self._length)
        self._request.body = body
        return self._exchange.ask(self._request, self._respond)

    def late(self, came: int) -> None:
        self._exchange.give_up(self._request, self._length, self._respond, late(came))

    def drop(self) -> None:
        self._exchange.give_up(self._request, self._length, self._respond, None)


def _nothing_to_drop() -> None:
    """Of a request that was answered at once."""
