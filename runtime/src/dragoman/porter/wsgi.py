"""An application in its own process: a Flask application whose every reply is the codec's.

Flask, because code for the API speaks to it: it adds routes, reads `flask.request`, and calls `test_client()`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import flask
import werkzeug.exceptions

from dragoman.batcher import as_call_error
from dragoman.body import BodyLimit, decoded
from dragoman.call import Call, Prediction
from dragoman.dialect_options import Porter as Options
from dragoman.dialects.dialect import Answer, Predict, Reply, Request
from dragoman.dialects.porter import Porter
from dragoman.dialects.porter.applications import OPTION
from dragoman.dialects.porter.endpoint import ENCODINGS, SERVICE
from dragoman.dialects.porter.replies import error_reply, told
from dragoman.errors import CallError, ModelFailed
from dragoman.exchange import request_id
from dragoman.porter.refusal import on_purpose
from dragoman.predictors import checked_outputs
from dragoman.signature import Signature

if TYPE_CHECKING:
    from dragoman.porter.services import ModelApp

LIMIT = BodyLimit(50 * 1024 * 1024, "the limit of a body")

logger = logging.getLogger("porter.services")


class _Local:
    """The application as the codec's model: in this process, and as it is at the moment."""

    version = revision = reason = ""
    format = "python"
    state: Literal["Loaded"] = "Loaded"
    ready = True
    signature = Signature()

    def __init__(self, model_app: ModelApp) -> None:
        self.name = model_app.name or "app"
        self.authored: Mapping[str, Any] = {OPTION: model_app}


def build(model_app: ModelApp) -> flask.Flask:
    """Each path of the dialect's surface as a Flask route, and errors in the API's shape."""
    app = flask.Flask("dragoman.porter", static_folder=None)
    app.url_map.merge_slashes = False
    surface = Porter().surface([(_Local(model_app), Options())])
    services = {service.id: service for service in model_app.services}
    one_at_a_time = {service.id: threading.Lock() for service in model_app.services}  # predictors are called from one thread at a time

    def run(call: Call) -> Prediction:
        if call.table.rows == 0:
            return Prediction(dict.fromkeys(call.outputs, call.table.column(0)), 0)
        service = call.arguments[SERVICE]
        try:
            with one_at_a_time[service]:
                given = services[service].predictor().predict(call.table, call.outputs, {})
            return Prediction(checked_outputs(given, call.outputs, call.table.rows), call.table.rows)
        except Exception as error:
            raise as_call_error(error) from error

    for i, predict in enumerate(surface.predicts):
        _route(app, predict.path, predict.method, f"predict_{i}", _predicting(predict, run))
    for i, answer in enumerate(surface.answers):
        _route(app, answer.path, answer.method, f"answer_{i}", _answering(answer))

    def failed(error: Exception) -> flask.Response:
        request = request_of(flask.request, read=False)
        shown: CallError | None = on_purpose(error)
        if shown is None:
            shown = as_call_error(error)
            _log(error, request)
        elif isinstance(error, werkzeug.exceptions.MethodNotAllowed) and error.valid_methods:
            shown.headers = (("allow", ", ".join(sorted(error.valid_methods))),)
        request.body = flask.request.get_data()
        return _response(error_reply(shown, request, model_app.switches()), request)

    app.register_error_handler(Exception, failed)
    return app


def request_of(given: flask.Request, *, read: bool = True) -> Request:
    """A Flask request as the codec knows it. Raises a `CallError` for a body that cannot be read."""
    headers = {name.lower(): value for name, value in given.headers.items()}
    request = Request(
        given.method, given.path, headers, b"", given.query_string.decode("latin-1"), request_id(headers), started=time.monotonic()
    )
    if read:
        request.body = decoded(given.get_data(), headers, LIMIT, ENCODINGS)
    return request


def raised(error: CallError) -> werkzeug.exceptions.HTTPException:
    """What an author's own code sees of an error: werkzeug's exception of its status."""
    status, _, messages = told(error)
    kind = werkzeug.exceptions.default_exceptions.get(status, werkzeug.exceptions.InternalServerError)
    return kind(*messages[:1])


def _route(app: flask.Flask, path: str, method: str, name: str, view: Callable[..., flask.Response]) -> None:
    app.add_url_rule(path, name, view, methods=[method], provide_automatic_options=False)


def _predicting(predict: Predict, run: Callable[[Call], Prediction]) -> Callable[..., flask.Response]:
    show = predict.error
    assert show is not None

    def view() -> flask.Response:
        request = request_of(flask.request, read=False)
        try:
            request.body = decoded(flask.request.get_data(), request.headers, LIMIT, predict.encodings)
            call = predict.decode(request)
            reply = predict.encode(request, call, run(call))
        except CallError as error:
            if isinstance(error, ModelFailed):
                _log(error.__cause__ or error, request)
            reply = show(error, request)
        return _response(reply, request)

    return view


def _answering(answer: Answer) -> Callable[..., flask.Response]:
    def view() -> flask.Response:
        request = request_of(flask.request, read=False)
        return _response(answer.reply(request), request)

    return view


def _log(error: BaseException, request: Request) -> None:
    """What the author's code raised, whole: its client sees nothing of it."""
    logger.error("request failed", exc_info=error, extra={"request_id": request.request_id, "path": request.path})


def _response(reply: Reply, request: Request) -> flask.Response:
    response = flask.Response(reply.body, reply.status, content_type=reply.media_type)
    for name, value in (*reply.headers, ("x-request-id", request.request_id)):
        response.headers[name] = value
    return response
