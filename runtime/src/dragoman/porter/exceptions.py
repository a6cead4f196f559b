"""Errors that an author raises on purpose: their code, name and arguments reach the client.

Raised by a hook, a model or a route: `raise UnprocessableEntity("feature1 must not be 0")` is a 422. Any other exception is a 500
that tells the client nothing of the code's inside. werkzeug's own are understood just as well: some of them are here by their names.
"""

from __future__ import annotations

from typing import Any

from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    UnprocessableEntity,
    UnsupportedMediaType,
)


class PorterException(Exception):
    """The root of the API's own. `code`: the reply's status."""

    code: int = 500

    def __init__(self, *args: Any, code: int | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code


PorterError = PorterException  # its earlier name


class ModelContextError(PorterException):
    """Of one model."""


class PredictionError(ModelContextError):
    """The prediction cannot be made."""


class InvalidModelInput(ModelContextError):
    """The rows are not what the model takes."""

    code = 400


__all__ = [
    "BadRequest",
    "Forbidden",
    "HTTPException",
    "InternalServerError",
    "InvalidModelInput",
    "MethodNotAllowed",
    "ModelContextError",
    "NotFound",
    "PorterError",
    "PorterException",
    "PredictionError",
    "ServiceUnavailable",
    "UnprocessableEntity",
    "UnsupportedMediaType",
]
