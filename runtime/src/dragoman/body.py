"""Reading a request's body: bounded before it is read whole, decompressed within the same bound, given up on at the deadline."""

from __future__ import annotations

import asyncio
import bz2
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from dragoman.admission import Admission
from dragoman.asgi import Receive
from dragoman.dialects.dialect import ENCODINGS
from dragoman.errors import BadRequest, RequestTimeout, TooLarge, UnsupportedEncoding


class ClientLeft(Exception):
    """The client closed its connection before its request was whole: there is nobody to answer."""


class BodyLimit(msgspec.Struct, frozen=True):
    """How large a body may be, compressed and decompressed, and what says so."""

    bytes: int
    said_by: str = "serving.limits.maxRequestBytes"


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    limit: BodyLimit,
    deadline: float,
    admission: Admission,
    encodings: Collection[str] = ENCODINGS,
    *,
    arriving: bool = True,
) -> bytes:
    """The whole body, decompressed. `deadline` in `time.monotonic()` seconds. Not `arriving`: it is here whole, which spares the timer."""
    encoding = _encoding(headers, encodings)
    refuse_large(headers, 0, limit)
    if arriving:
        body = await _read_arriving(receive, limit, deadline, admission)
    else:
        body, _ = await _next_part(receive)
        refuse_large({}, len(body), limit)
    return body if encoding == "identity" else _DECODERS[encoding](body, limit)


def late(came: int) -> RequestTimeout:
    """Of a body of which so many bytes have come."""
    error = RequestTimeout(f"the request's body did not arrive in time: {came} bytes came before the deadline")
    error.headers = _CLOSE
    return error


def refuse_large(headers: Mapping[str, str], size: int, limit: BodyLimit) -> None:
    """`TooLarge` where a body is, or was announced to be, larger than its limit."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit.bytes:
        raise _too_large(limit, f"{int(declared)} bytes were announced")
    if size > limit.bytes:
        raise _too_large(limit, f"{size} bytes were sent")


def decoded(body: bytes, headers: Mapping[str, str], limit: BodyLimit, encodings: Collection[str] = ENCODINGS) -> bytes:
    """A body that another server read, decompressed as `read_body` does."""
    encoding = _encoding(headers, encodings)
    refuse_large({}, len(body), limit)
    return body if encoding == "identity" else _DECODERS[encoding](body, limit)


def _encoding(headers: Mapping[str, str], encodings: Collection[str]) -> str:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in encodings:
        raise UnsupportedEncoding(encoding, [known for known in _DECODERS if known in encodings])
    return encoding


async def _read_arriving(receive: Receive, limit: BodyLimit, deadline: float, admission: Admission) -> bytes:
    parts: list[bytes] = []
    size, held = 0, 0
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            while True:
                part, more = await _next_part(receive)
                parts.append(part)
                size += len(part)
                if size > limit.bytes:
                    raise _too_large(limit, f"{size} bytes and more were sent")
                if not more:
                    return b"".join(parts)
                admission.hold(size - held)
                held = size
    except TimeoutError:
        raise late(size) from None
    finally:
        admission.release(held)


async def _next_part(receive: Receive) -> tuple[bytes, bool]:
    """The bytes that have come, and whether more are to come."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message.get("body", b""), message.get("more_body", False)


def _gunzip(body: bytes, limit: BodyLimit) -> bytes:
    return _decompressed(body, limit, "gzip", zlib.MAX_WBITS | 16)


def _inflate(body: bytes, limit: BodyLimit) -> bytes:
    return _decompressed(body, limit, "deflate", zlib.MAX_WBITS)  # RFC 9110: deflate means the zlib format


def _bunzip(body: bytes, limit: BodyLimit) -> bytes:
    return _members(body, limit, "bzip2", bz2.BZ2Decompressor)


def _decompressed(body: bytes, limit: BodyLimit, name: str, wbits: int) -> bytes:
    return _members(body, limit, name, lambda: zlib.decompressobj(wbits))


def _members(body: bytes, limit: BodyLimit, name: str, begin: Callable[[], Any]) -> bytes:
    """Of one or several members, never giving more than `limit`."""
    out: list[bytes] = []
    size = at = members = 0
    view = memoryview(body)
    decoder = begin()
    while at < len(body):
        if decoder.eof:
            members += 1
            if members == _GZIP_MEMBERS:
                raise BadRequest(f"the {name} body has more than {_GZIP_MEMBERS} members")
            decoder = begin()
        piece = view[at : at + _GZIP_PIECE_BYTES]  # what follows a member is copied by zlib: not the whole body each time
        try:
            out.append(decoder.decompress(piece, limit.bytes - size + 1))
        except (zlib.error, OSError) as error:  # bz2 raises OSError
            raise BadRequest(f"the body is not valid {name}: {error}") from None
        size += len(out[-1])
        if size > limit.bytes:
            raise _too_large(limit, "it is when decompressed")
        at += len(piece) - len(decoder.unused_data)
    if body and not decoder.eof:
        raise BadRequest(f"the {name} body is cut short")
    return b"".join(out)


def _too_large(limit: BodyLimit, why: str) -> TooLarge:
    error = TooLarge(f"the body is larger than {limit.bytes} bytes ({limit.said_by}): {why}")
    error.headers = _CLOSE  # the rest of the body will not be read
    return error


_CLOSE = (("connection", "close"),)
_GZIP_MEMBERS = 4096  # `bgzip` makes one of every 64 KiB
_GZIP_PIECE_BYTES = 64 * 1024
_DECODERS: dict[str, Callable[[bytes, BodyLimit], bytes]] = {
    "identity": lambda body, limit: body,
    "gzip": _gunzip,
    "deflate": _inflate,
    "bz2": _bunzip,
}
