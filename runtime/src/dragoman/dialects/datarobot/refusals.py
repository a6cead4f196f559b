"""Errors of this API that the core does not have, and the texts that its clients know."""

from __future__ import annotations

from dragoman.errors import CallError

NOT_FOUND = "The requested URL was not found on the server. If you entered the URL manually, please check your spelling and try again."
INVALID_TOKEN = "Invalid API token"
NO_CREDENTIALS = "Invalid Authorization header. No credentials provided."
NO_DATAROBOT_KEY = "The datarobot-key header is missing"


class Unprocessable(CallError):
    """The request is well formed, and what it asks for cannot be done: a parameter, a feature that is not there."""

    status = 422
    reason = "Unprocessable"


class InvalidParameter(Unprocessable):
    """`'<name>': <why>`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name!r}: {why}")


class ReturnError(CallError):
    """A humility rule fired whose action is to refuse the request."""

    status = 480
    reason = "HumilityReturnError"

    def __init__(self) -> None:
        super().__init__("Humility ReturnError action triggered.")
