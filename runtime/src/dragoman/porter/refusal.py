"""An error that the author of a service raised on purpose, on its way to the client."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from dragoman.errors import CallError


class Refused(CallError):
    """Answered in the porter API with `code`, `name` and `messages` as they are; elsewhere as an unprocessable request."""

    status = 422
    reason = "Refused"

    def __init__(self, code: int, name: str, messages: Sequence[Any]) -> None:
        super().__init__("; ".join(map(str, messages)) or name)
        self.code, self.name, self.messages = code, name, list(messages)


def unprocessable(error: ValueError) -> Refused:
    """What `additional_checks` raised."""
    return Refused(422, "UnprocessableEntity", error.args)


def on_purpose(error: BaseException) -> Refused | None:
    """The refusal that an exception means; None for one that just happened. werkzeug's are known where it is imported."""
    werkzeug, own = sys.modules.get("werkzeug.exceptions"), sys.modules.get("dragoman.porter.exceptions")
    if own is not None and isinstance(error, own.PorterException):
        return Refused(error.code, type(error).__name__, error.args)
    if werkzeug is not None and isinstance(error, werkzeug.HTTPException):
        said = error.args or ([error.description] if error.description else [])
        return Refused(error.code or 500, type(error).__name__, said)
    return None
