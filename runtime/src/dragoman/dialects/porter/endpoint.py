"""One service's endpoint: rows in, predictions out, in the order of work that the API lays down.

What a hook of the author's does (additional checks, before and after the model) is the predictor's; here is what comes before and after.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dragoman.call import PREDICT, Call, Prediction
from dragoman.dialects.dialect import Answer, Model, Predict, Reply, Request
from dragoman.dialects.porter import reading, replies
from dragoman.errors import CallError
from dragoman.porter.constants import IS_LIVE
from dragoman.porter.description import Service, Switches
from dragoman.porter.refusal import Refused
from dragoman.porter.schemas.validation import Check, Invalid, compiled
from dragoman.porter.schemas.vocabulary import FAILED
from dragoman.table import Table

ENCODINGS = frozenset({"identity", "gzip"})
SERVICE = "service"  # the argument that tells an author's services apart

logger = logging.getLogger("porter.services")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the reply needs of its request."""

    ids: Sequence[Any]
    document: Any


class Endpoint:
    """A service that predicts. `own_code`: its model takes whole rows, as an author's code does; else columns, which are checked."""

    def __init__(self, model: Model, service: Service, switches: Callable[[], Switches], *, own_code: bool) -> None:
        self._model, self._service, self._switches, self._own_code = model, service, switches, own_code
        self._check_request = _check(service.request_schema)
        self._check_response = _check(service.response_schema)

    def predicts(self) -> list[Predict]:
        path = self._service.endpoint
        return [Predict(at, self._model, self.decode, self.encode, encodings=ENCODINGS, error=self.error) for at in (path, f"{path}/")]

    def answers(self) -> list[Answer]:
        path = self._service.endpoint
        return [Answer(at, self.live, model=self._model) for at in (path, f"{path}/")]

    def decode(self, request: Request) -> Call:
        reading.identity(request)
        document = reading.parse(request.body)
        if self._check_request is not None:
            try:
                self._check_request(document)
            except Invalid as error:
                raise Refused(422, "UnprocessableEntity", [f"{FAILED}: {error.text}"]) from None
        service = self._service
        rows = reading.rows_of(document, single=service.single)
        asked = _Asked([row["id"] for row in rows], document)
        if self._own_code:
            arguments = {SERVICE: service.id, "shape": reading.shape_of(rows)}
            return Call(reading.row_table(rows), (PREDICT,), arguments, asked, checked=False)
        if service.features is None:
            return Call(Table.of_rows(rows), (PREDICT,), context=asked, checked=False)
        return Call(reading.feature_table(rows, service.features), (PREDICT,), context=asked)

    def encode(self, request: Request, call: Call, prediction: Prediction) -> Reply:
        service, switches, asked = self._service, self._switches(), call.context
        answered = replies.plain(prediction.outputs[PREDICT])
        found = [{"id": one, "prediction": value} for one, value in zip(asked.ids, answered, strict=True)]
        identity = reading.identity(request)
        body: dict[str, Any] = {"request_id": identity} if switches.return_request_id else {}
        body |= {"model_context": service.context, "predictions": found[0] if service.single else found}
        if self._check_response is not None:
            _hold(self._check_response, {"request_id": identity} | body)
        reply = replies.written(request, body, switches)
        if service.log_api_calls:
            _log(service, identity, asked.document, body, "api_call")
        return reply

    def live(self, request: Request) -> Reply:
        service = self._service
        if service.log_api_calls:
            _log(service, reading.identity(request), None, IS_LIVE, "api_call")
        return replies.written(request, IS_LIVE, self._switches())

    def error(self, error: CallError, request: Request) -> Reply:
        return _error(self._service, error, request, self._switches())


class OwnEndpoint:
    """A service whose author's own code answers the whole request."""

    def __init__(self, model: Model, service: Service, switches: Callable[[], Switches]) -> None:
        self._model, self._service, self._switches = model, service, switches
        self._check_response = _check(service.response_schema)

    def predicts(self) -> list[Predict]:
        path, methods = self._service.endpoint, self._service.methods
        return [
            Predict(at, self._model, self.decode, self.encode, method, encodings=ENCODINGS, error=self.error)
            for at in (path, f"{path}/")
            for method in methods
        ]

    def answers(self) -> list[Answer]:
        return []

    def decode(self, request: Request) -> Call:
        """The request itself, as one row."""
        reading.identity(request)
        asked = {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body", "request_id")}
        return Call(reading.row_table([asked]), (PREDICT,), {SERVICE: self._service.id}, checked=False)

    def encode(self, request: Request, call: Call, prediction: Prediction) -> Reply:
        """What it gave: a whole reply, or what is written as JSON."""
        service, answer = self._service, prediction.outputs[PREDICT][0]
        whole = isinstance(answer, Reply)
        if self._check_response is not None and request.method == "POST" and not whole:
            _hold(self._check_response, answer)
        reply = answer if whole else replies.written(request, answer, self._switches())
        if service.log_api_calls:
            given = reply.body.decode("utf-8", "replace") if whole else answer
            _log(service, reading.identity(request), replies.sent(request), given, "api_call")
        return reply

    def error(self, error: CallError, request: Request) -> Reply:
        return _error(self._service, error, request, self._switches())


def endpoint(model: Model, service: Service, switches: Callable[[], Switches], *, own_code: bool) -> Endpoint | OwnEndpoint:
    return Endpoint(model, service, switches, own_code=own_code) if service.predicts else OwnEndpoint(model, service, switches)


def _check(schema: Mapping[str, Any] | None) -> Check | None:
    return None if schema is None else compiled(schema)


def _hold(check: Check, body: Any) -> None:
    """A reply as its client reads it, against the response schema."""
    try:
        check(orjson.loads(replies.encoded(body)))
    except Invalid as error:
        raise Refused(500, "ValueError", [f"{FAILED}: {error.text}"]) from None


def _error(service: Service, error: CallError, request: Request, switches: Switches) -> Reply:
    reply = replies.error_reply(error, request, switches, service.context)
    if service.log_api_calls:
        document = orjson.loads(reply.body)
        _log(service, document.get("request_id") or reading.identity(request), replies.sent(request), document, "exception")
    return reply


def _log(service: Service, identity: str, asked: Any, answered: Any, event: str) -> None:
    extra = {
        "request_id": identity,
        "request_data": asked,
        "response_data": answered,
        "service_class": service.service_class,
        "event": event,
    }
    logger.info("api logging", extra=extra)
