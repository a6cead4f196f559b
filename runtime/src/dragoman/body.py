"""Reading a request's body: bounded before it is read whole, decompressed within the same bound, given up on at the deadline."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping

from dragoman.admission import Admission
from dragoman.asgi import Receive
from dragoman.errors import BadRequest, RequestTimeout, TooLarge, UnsupportedMediaType


class ClientLeft(Exception):
    """The client closed its connection before its request was whole: there is nobody to answer."""


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int, deadline: float, admission: Admission) -> bytes:
    """The whole body, decompressed; at most `limit` bytes before and after. `deadline` in `time.monotonic()` seconds."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _DECODERS:
        raise UnsupportedMediaType(f"content-encoding {encoding!r} is not supported: send {' or '.join(_DECODERS)}")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_rest(receive, body, limit, deadline, admission)
    elif len(body) > limit:
        raise _too_large(len(body), limit)
    return body if encoding == "identity" else _DECODERS[encoding](body, limit)


async def _read_rest(receive: Receive, first: bytes, limit: int, deadline: float, admission: Admission) -> bytes:
    parts, size, held = [first], len(first), 0
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            while True:
                admission.hold(size - held)
                held = size
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise _too_large(size, limit)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestTimeout(f"the request's body did not arrive in time: {size} bytes came before the deadline") from None
    finally:
        admission.release(held)


def _gunzip(body: bytes, limit: int) -> bytes:
    """Gzip, of one or several members, never giving more than `limit` bytes."""
    out, size = [], 0
    while body:
        decoder = zlib.decompressobj(wbits=31)
        try:
            out.append(decoder.decompress(body, limit - size + 1))
        except zlib.error as error:
            raise BadRequest(f"the body is not valid gzip: {error}") from None
        size += len(out[-1])
        if size > limit:
            raise TooLarge(f"the body is larger than {limit} bytes when decompressed (serving.limits.maxRequestBytes)")
        if not decoder.eof:
            raise BadRequest("the gzip body is cut short")
        body = decoder.unused_data
    return b"".join(out)


def _too_large(size: int, limit: int) -> TooLarge:
    error = TooLarge(f"the body is larger than {limit} bytes (serving.limits.maxRequestBytes): {size} bytes were sent")
    error.headers = (("connection", "close"),)  # the rest of the body will not be read
    return error


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {"identity": lambda body, limit: body, "gzip": _gunzip}
