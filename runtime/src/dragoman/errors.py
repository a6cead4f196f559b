"""Every error that a caller, an operator or a terminal can see: each has a reason, a message and a status or exit code.

Two families. A `CallError` answers one request: it carries an HTTP status, and the dialect renders it in its own shape.
A `ServeError` ends (or prevents) serving a model: it carries a reason from the documented vocabulary and an exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class DragomanError(Exception):
    """The root. `str(error)` is one sentence that names the thing, the value and the mend."""

    reason: ClassVar[str] = "InternalError"

    @property
    def message(self) -> str:
        return str(self)


# --- one request -------------------------------------------------------------------------------------------------


class CallError(DragomanError):
    """Answers one request; `status` is its HTTP status, `headers` go on the reply whatever its dialect."""

    status: ClassVar[int] = 500
    headers: tuple[tuple[str, str], ...] = ()


class BadRequest(CallError):
    """The request cannot be understood: malformed, truncated, or not in the dialect's shape."""

    status = 400
    reason = "BadRequest"


class InvalidInput(BadRequest):
    """The request is well formed, but its rows are not what the model takes."""

    reason = "InvalidInput"


class Unauthorized(CallError):
    """No token, or none that can be understood. A dialect may say so in words of its own."""

    status = 401
    reason = "Unauthorized"
    headers = (("www-authenticate", "Bearer"),)


class UnknownToken(Unauthorized):
    """A token was presented, and it is not one that is accepted here."""


class Forbidden(CallError):
    """Understood, and not allowed to this caller, or not switched on."""

    status = 403
    reason = "Forbidden"


class NotFound(CallError):
    status = 404
    reason = "NotFound"


class MethodNotAllowed(CallError):
    status = 405
    reason = "MethodNotAllowed"

    def __init__(self, message: str, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.headers = (("allow", ", ".join(allow)),)


class RequestTimeout(CallError):
    """The client took longer to send its request than the deadline allows."""

    status = 408
    reason = "RequestTimeout"


class NotAcceptable(CallError):
    """The caller's Accept names nothing that the path can answer with."""

    status = 406
    reason = "NotAcceptable"


class WaitedTooLong(CallError):
    """The client has waited for its answer as long as its path lets it; what it waited for may still come."""

    status = 408
    reason = "WaitedTooLong"


class TooLarge(CallError):
    status = 413
    reason = "TooLarge"


class UriTooLong(CallError):
    """The request line is longer than the dialect takes."""

    status = 414
    reason = "UriTooLong"


class UnsupportedMediaType(CallError):
    status = 415
    reason = "UnsupportedMediaType"


class UnsupportedEncoding(UnsupportedMediaType):
    """`encoding`: what the request's Content-Encoding names, in lower case."""

    def __init__(self, encoding: str, supported: Sequence[str]) -> None:
        super().__init__(f"content-encoding {encoding!r} is not supported: send {' or '.join(supported)}")
        self.encoding = encoding


class Overloaded(CallError):
    """As many requests are in flight as `serving.limits.maxConcurrency` allows."""

    status = 429
    reason = "Overloaded"
    headers: tuple[tuple[str, str], ...] = (("retry-after", "1"),)


class Throttled(Overloaded):
    """As many requests are being answered on this path as its own limit allows."""

    reason = "Throttled"


class TooManyRows(Overloaded):
    """One request has more rows than its path takes."""

    reason = "TooManyRows"
    headers = ()  # the same request will not do better later


class QueueFull(Overloaded):
    """As many calls wait before the model as the path's queue holds."""

    reason = "QueueFull"


class ModelFailed(CallError):
    """The model raised, or answered with something that is not one value a row."""

    status = 500
    reason = "ModelFailed"


class InvalidData(CallError):
    """What a request packs for a model's own data handler cannot be unpacked; over gRPC INTERNAL, which its clients check for."""

    status = 500
    reason = "InvalidData"


class NotReady(CallError):
    status = 503
    reason = "NotReady"
    headers = (("retry-after", "1"),)


class StoreUnavailable(CallError):
    """A store beside the server that a request needs (memcached) is down, or does not answer in time."""

    status = 503
    reason = "StoreUnavailable"
    headers = (("retry-after", "1"),)


class DeadlineExceeded(CallError):
    """No answer within `serving.limits.timeoutSeconds`."""

    status = 504
    reason = "DeadlineExceeded"


# --- serving a model ---------------------------------------------------------------------------------------------


class ServeError(DragomanError):
    """Ends serving a model. `transient` errors may pass by themselves and are retried; the others need a change."""

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False


class InvalidSpec(ServeError):
    """The manifest, or a command's arguments, cannot be used as they are."""

    reason = "InvalidSpec"
    exit_code = 10


class ModelNotFound(ServeError):
    reason = "ModelNotFound"
    exit_code = 11


class AccessDenied(ServeError):
    reason = "AccessDenied"
    exit_code = 12


class DigestMismatch(ServeError):
    reason = "DigestMismatch"
    exit_code = 13


class UnsupportedFormat(ServeError):
    reason = "UnsupportedFormat"
    exit_code = 14


class MissingLibrary(ServeError):
    """The format needs a package that is not installed; the message names the extra that brings it."""

    reason = "MissingLibrary"
    exit_code = 15


class PolicyViolation(ServeError):
    reason = "PolicyViolation"
    exit_code = 16


class ModelLoadFailed(ServeError):
    reason = "ModelLoadFailed"
    exit_code = 17


class OutOfMemory(ServeError):
    reason = "OutOfMemory"
    exit_code = 18


class SignatureMismatch(ServeError):
    """What the manifest declares is not what the model is."""

    reason = "SignatureMismatch"
    exit_code = 19


class StorageUnavailable(ServeError):
    """The storage did not answer, or broke off, more often than is retried."""

    reason = "StorageUnavailable"
    exit_code = 20
    transient = True


class DiskFull(ServeError):
    reason = "DiskFull"
    exit_code = 21


class AddressInUse(ServeError):
    reason = "AddressInUse"
    exit_code = 22


class LoadTimeout(ServeError):
    """The model was not loaded within `serving.limits.loadTimeoutSeconds`."""

    reason = "LoadTimeout"
    exit_code = 23


class WorkerFailed(ServeError):
    """Workers die again and again before they can serve."""

    reason = "WorkerFailed"
    exit_code = 24


def serve_error(reason: str, message: str) -> ServeError:
    """The error that another process reported as (reason, message)."""
    for kind in ServeError.__subclasses__():
        if kind.reason == reason:
            return kind(message)
    return ModelLoadFailed(message)
