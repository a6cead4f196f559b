"""Replies: bodies, and what an error looks like to a client."""

from __future__ import annotations

import gzip
import json as standard
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman import json
from dragoman.dialects.dialect import Reply, Request
from dragoman.dialects.porter.reading import identity, parse
from dragoman.errors import (
    BadRequest,
    CallError,
    InvalidInput,
    MethodNotAllowed,
    ModelFailed,
    NotFound,
    UnsupportedEncoding,
)
from dragoman.porter.description import Switches
from dragoman.porter.refusal import Refused
from dragoman.table import Array

HTML = "text/html; charset=utf-8"


def written(request: Request, body: Any, switches: Switches, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """As JSON; a 200 is compressed where that is switched on and the client takes it."""
    reply = Reply(status, encoded(body), headers=headers)
    if status == 200 and switches.support_response_gzip and _takes_gzip(request.headers.get("accept-encoding", "")):
        reply.body = gzip.compress(reply.body, compresslevel=6, mtime=0)
        reply.headers = (*headers, ("content-encoding", "gzip"), ("vary", "Accept-Encoding"))
    return reply


def encoded(body: Any) -> bytes:
    try:
        return json.encode(body)
    except ModelFailed:
        # integers beyond 64 bits, which the fast encoder does not write: ids come back as they were sent
        try:
            return standard.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            pass
        raise


def plain(array: Array) -> list[Any]:
    """One item a row, as Python's own values."""
    values = json.plain_array(array)
    return values if isinstance(values, list) else values.tolist()


def error_reply(error: CallError, request: Request, switches: Switches, context: Mapping[str, Any] | None = None) -> Reply:
    """`{"error": {…}, "model_context": {…}, "request_id": "…"}`; without a context where no model is concerned."""
    status, name, messages = told(error)
    described: dict[str, Any] = {"name": name}
    if switches.return_message_on_error:
        described["messages"] = messages
    if switches.return_traceback_on_error:
        described["traceback"] = "".join(traceback.format_exception(error.__cause__ or error))
    if switches.return_user_data_on_error:
        described["user_data"] = sent(request)
    body: dict[str, Any] = {"error": described}
    if context is not None:
        body["model_context"] = context
    if switches.return_request_id:
        body["request_id"] = identity(request)
    try:
        return Reply(status, encoded(body), headers=error.headers)
    except ModelFailed:  # what the author raised holds something that JSON does not
        described["messages"] = [message if isinstance(message, str) else repr(message) for message in messages]
        return Reply(status, encoded(body), headers=error.headers)


def told(error: CallError) -> tuple[int, str, Sequence[Any]]:
    """Status, name and messages of an error."""
    if isinstance(error, Refused):
        return error.code, error.name, error.messages
    for kind in type(error).__mro__:
        if kind in _FIXED:
            status, name, text = _FIXED[kind]
            return status, name, [error.message if text is None else text]
    if isinstance(error, UnsupportedEncoding):
        return 415, "UnsupportedMediaType", [f'unsupported encoding: "{error.encoding}"']
    return error.status, _NAMES.get(error.status, "HTTPException"), [error.message]


def sent(request: Request) -> Any:
    """What the request holds, if that is JSON."""
    try:
        return parse(request.body)
    except BadRequest:
        return None


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


# None: the error's own message
_FIXED: dict[type, tuple[int, str, str | None]] = {
    InvalidInput: (422, "UnprocessableEntity", None),
    BadRequest: (400, "BadRequest", "The browser (or proxy) sent a request that this server could not understand."),
    NotFound: (
        404,
        "NotFound",
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.",
    ),
    MethodNotAllowed: (405, "MethodNotAllowed", "The method is not allowed for the requested URL."),
    ModelFailed: (500, "InternalServerError", "Could not serve model results successfully."),
}
_NAMES = {
    401: "Unauthorized",
    403: "Forbidden",
    408: "RequestTimeout",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "UnprocessableEntity",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
