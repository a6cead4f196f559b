"""Replies: results, and errors with their place, text and type."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from dragoman import json
from dragoman.call import Call, Prediction
from dragoman.dialects.dialect import Reply, Request
from dragoman.dialects.mlup.refusals import Detail, TransformFailed, Unprocessable
from dragoman.errors import (
    BadRequest,
    CallError,
    DeadlineExceeded,
    InvalidInput,
    MethodNotAllowed,
    ModelFailed,
    NotFound,
    Overloaded,
    QueueFull,
    TooManyRows,
    WaitedTooLong,
)
from dragoman.mlup_options import Mlup
from dragoman.table import Array

PREDICT_PATH = "/predict"
RESULT_PATH = "/get-predict/"
_HEADER = "x-predict-id"


def predict_id(request: Request) -> str:
    """Of a request to /predict: a uuid4, the same for whatever is answered to it."""
    if request.noted is None:
        request.noted = str(uuid.uuid4())
    return str(request.noted)


def encoder(options: Mlup) -> Callable[[Request, Call, Prediction], Reply]:
    bare = options.is_long_predict and options.compatibility is not None  # as /get-predict of 0.4 gives it
    framed = options.data_transformer_for_predicted == "pandas"
    name = options.predict_method_name

    def encode(request: Request, call: Call, prediction: Prediction) -> Reply:
        answer = prediction.outputs[name]
        result = _records(answer, (prediction.columns or {}).get(name)) if framed else json.writable(answer)
        return Reply(200, json.encode(result if bare else {"predict_result": result}), headers=_identified(request))

    return encode


def accepted(request: Request) -> Reply:
    """To a request whose result is to be fetched later."""
    identity = predict_id(request)
    return Reply(200, json.encode({"predict_id": identity, "predict_result": {"predict_id": identity}}), headers=_identified(request))


def error_reply(error: CallError, request: Request) -> Reply:
    headers = (*error.headers, *(_identified(request) if request.path == PREDICT_PATH else ()))
    if isinstance(error, NotFound):
        return Reply(404, b'{"detail":"Not Found"}', headers=headers)
    if isinstance(error, MethodNotAllowed):
        return Reply(405, b'{"detail":"Method Not Allowed"}', headers=headers)
    status, details = _described(error)
    return Reply(status, json.encode({"detail": details, "predict_id": _asked_for(request)}), headers=headers)


def _described(error: CallError) -> tuple[int, Any]:
    if isinstance(error, Unprocessable):
        return error.status, error.details
    for kinds, status, msg, type_ in _ERRORS:
        if isinstance(error, kinds):
            return status, [_detail(msg or _own_text(error), type_)]
    return error.status, [_detail(error.message, "request_error")]


def _detail(msg: str, type_: str) -> Detail:
    return {"loc": [], "msg": msg, "type": type_}


def _own_text(error: CallError) -> str:
    """What the model raised, in its own words."""
    cause = error.__cause__ if isinstance(error, ModelFailed) else None
    return error.message if cause is None else str(cause) or type(cause).__name__


# The first that an error is an instance of: its status, text (None: the error's own) and type.
_ERRORS: tuple[tuple[Any, int, str | None, str], ...] = (
    (
        TooManyRows,
        429,
        "The query exceeded the limit on the number of rows for the predict. Please downsize your request.",
        "throttling_error",
    ),
    (QueueFull, 500, "Queue is full. Please try later.", "predict_error"),
    (Overloaded, 429, "Max requests in app. Please try again later.", "throttling_error"),
    ((WaitedTooLong, DeadlineExceeded), 408, "Response timed out. Repeat request please.", "predict_wait_result_error"),
    (TransformFailed, 500, None, "predict_transform_data_error"),
    ((ModelFailed, InvalidInput), 500, None, "predict_error"),
    (BadRequest, 422, None, "validation_error"),
)


def _identified(request: Request) -> tuple[tuple[str, str], ...]:
    return ((_HEADER, predict_id(request)),)


def _asked_for(request: Request) -> str | None:
    """Which predict an error is about."""
    if request.path == PREDICT_PATH:
        return predict_id(request)
    return request.path.removeprefix(RESULT_PATH) if request.path.startswith(RESULT_PATH) else None


def _records(answer: Array, columns: tuple[str, ...] | None) -> list[dict[str, Any]]:
    """A row as an object: by the data frame's own columns, else by their numbers."""
    rows = answer.reshape(len(answer), -1)
    names = columns if columns is not None and len(columns) == rows.shape[1] else tuple(map(str, range(rows.shape[1])))
    return [dict(zip(names, row, strict=True)) for row in rows.tolist()]
