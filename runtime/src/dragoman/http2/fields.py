"""Header fields of HTTP/2: HPACK (RFC 7541) of what comes by the library `hpack`, of what goes by the plainest form that there is.

Clients repeat themselves: after its first request a client's header block is the same few bytes each time. What such a block means is
worked out once for as long as the connection's dynamic table stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hpack import Decoder, HPACKError, OversizedHeaderListError

from dragoman.http2.frames import Code, ConnectionFault, StreamFault

MAX_BYTES = 16 * 1024  # of all fields of a request, as SETTINGS_MAX_HEADER_LIST_SIZE counts them
MAX_DECODED_BYTES = 4 * MAX_BYTES  # of a request that is refused for its size; with more of them the connection ends
_KNOWN_BLOCKS, _KNOWN_BYTES = 64, 1024  # how many are kept, and how long they may be
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_REQUIRED = frozenset({":method", ":scheme", ":path"})
_PSEUDO = _REQUIRED | {":authority"}
_OF_A_CONNECTION = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})


class Blocks:
    """The header blocks of one connection's requests, and what `understand` makes of their fields."""

    def __init__(self, understand: Callable[[Mapping[str, str]], Any]) -> None:
        self._understand = understand
        self._decoder = Decoder(MAX_DECODED_BYTES)
        self._known: dict[bytes, tuple[Any, int]] = {}

    def request(self, block: bytes) -> tuple[Any, int]:
        """What a request's fields mean, and the length of its body (-1: they do not say).

        Raises `ConnectionFault`; `StreamFault` where the fields are no request's.
        """
        found = self._known.get(block)
        if found is None:
            fields, again = self._decoded(block)
            named = request_fields(fields)
            found = self._understand(named), _length_of_body(named)
            if again and len(block) <= _KNOWN_BYTES and len(self._known) < _KNOWN_BLOCKS:
                self._known[block] = found
        return found

    def decoded(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Of a block that is no request's: it may change the table as well. Raises `ConnectionFault`."""
        return self._decoded(block)[0]

    def _decoded(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """And whether the same bytes would mean the same again, and change nothing."""
        table = self._decoder.header_table.dynamic_entries
        size, newest = len(table), table[0] if table else None
        try:
            fields = [(field[0], field[1]) for field in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"header fields of more than {MAX_DECODED_BYTES} bytes") from None
        except HPACKError as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, f"header fields that cannot be decoded: {error}") from None
        if len(table) != size or (table and table[0] is not newest):
            self._known.clear()  # a block's indices may stand for other fields now
            return fields, False
        return fields, block[:1] < b"\x20" or block[:1] >= b"\x40"  # 001xxxxx: a new size of the table (RFC 7541, 6.3)


def request_fields(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The fields of a request, checked as RFC 9113, 8.2 and 8.3, asks; of one that repeats, all values. Raises `StreamFault`."""
    if sum(len(name) + len(value) + 32 for name, value in fields) > MAX_BYTES:
        raise StreamFault(Code.ENHANCE_YOUR_CALM, f"header fields of more than {MAX_BYTES} bytes")
    found: dict[str, str] = {}
    plain = False
    for name, value in fields:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        if "\0" in text or "\r" in text or "\n" in text:
            raise _malformed(f"the header field {key!r} has a value of more than a line")
        if key.startswith(":"):
            if plain or key not in _PSEUDO or key in found:
                raise _malformed(f"the pseudo-header field {key!r} is unknown, twice there or after others")
        else:
            plain = True
            if not _NAME.fullmatch(key) or key in _OF_A_CONNECTION or (key == "te" and text != "trailers"):
                raise _malformed(f"the header field {key!r} has no place in HTTP/2")
            if key in found:
                text = f"{found[key]},{text}"
        found[key] = text
    missing = _REQUIRED - found.keys()
    if missing or not found[":path"]:
        raise _malformed(f"{', '.join(sorted(missing)) or ':path'} is missing")
    return found


def _length_of_body(fields: Mapping[str, str]) -> int:
    length = fields.get("content-length", "-1")
    if length != "-1" and not (length.isascii() and length.isdecimal() and len(length) < 16):
        raise _malformed(f"content-length is {length!r}")
    return int(length)


def trailer_fields(fields: list[tuple[bytes, bytes]]) -> None:
    """What follows a request's body: nobody here reads it, but it has to be well-formed. Raises `StreamFault`."""
    if any(name.startswith(b":") for name, _ in fields):
        raise _malformed("a pseudo-header field in trailers")


def block_of(*fields: tuple[str, str]) -> bytes:
    """Fields as literals without indexing (RFC 7541, 6.2.2), names lower case: it needs no table, so it may be made beforehand."""
    return b"".join(b"\0" + literal(name) + literal(value) for name, value in fields)


def literal(text: str) -> bytes:
    """A name or a value, not Huffman coded (RFC 7541, 5.2)."""
    encoded = text.encode("latin-1")
    return _length(len(encoded)) + encoded


def _length(number: int) -> bytes:
    """An integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if number < 127:
        return bytes((number,))
    out, rest = bytearray((127,)), number - 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)


def _malformed(why: str) -> StreamFault:
    return StreamFault(Code.PROTOCOL_ERROR, why)
