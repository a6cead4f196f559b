"""How a call ends: gRPC's status codes, and the trailers that tell them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import quote

from dragoman.errors import CallError
from dragoman.http2.fields import block_of, literal

_MESSAGE_BYTES = 2000  # clients take header fields of 8 KiB, and one may become three
_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if c != ord("%"))


class Status(IntEnum):
    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


# HTTP status of an error to the gRPC status that stands for it; what is not here is INTERNAL.
_OF_HTTP: Mapping[int, Status] = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    408: Status.DEADLINE_EXCEEDED,
    413: Status.RESOURCE_EXHAUSTED,
    415: Status.INVALID_ARGUMENT,
    429: Status.RESOURCE_EXHAUSTED,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
}


def status_of(error: CallError) -> Status:
    """The gRPC status of an error."""
    return _OF_HTTP.get(error.status, Status.INTERNAL)


def trailers(status: Status, message: str = "", request_id: str = "") -> bytes:
    """The header block that ends a reply. The message is percent-encoded as gRPC over HTTP/2 asks, and cut where it is very long."""
    block = _OK if status is Status.OK else block_of(("grpc-status", str(int(status))))
    if message:
        block += block_of(("grpc-message", quote(message.encode(errors="replace")[:_MESSAGE_BYTES], safe=_PLAIN)))
    return block + _REQUEST_ID + literal(request_id) if request_id else block


_OK = block_of(("grpc-status", "0"))
_REQUEST_ID = b"\0" + literal("x-request-id")
