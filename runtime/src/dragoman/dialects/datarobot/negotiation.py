"""What a request says that its body is, and what it accepts as the reply."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Literal

from dragoman.errors import BadRequest, NotAcceptable, UnsupportedMediaType

Form = Literal["csv", "json", "multipart"]
FORMS: dict[str, Form] = {
    "text/csv": "csv",
    "text/plain": "csv",
    "application/json": "json",
    "text/json": "json",
    "multipart/form-data": "multipart",
}
JSON, CSV = "application/json", "text/csv"
_TYPES = "text/csv, text/plain, application/json, text/json or multipart/form-data"
_UNSUITABLE = frozenset({"idna", "punycode", "undefined"})  # no encodings of documents; slow beyond measure on long ones


@dataclass(frozen=True, slots=True)
class Content:
    """`charset` is Python's name of a codec; `boundary` is multipart's."""

    form: Form
    charset: str = "utf-8"
    boundary: str = ""


@lru_cache(maxsize=256)
def content_of(header: str) -> Content:
    """Of a Content-Type. Raises `UnsupportedMediaType`, and `BadRequest` for multipart without a boundary."""
    media_type, parameters = _parsed(header)
    form = FORMS.get(media_type)
    if form is None:
        raise UnsupportedMediaType(f"Content-Type must be {_TYPES}, got {header!r}" if header else f"Content-Type must be {_TYPES}")
    boundary = parameters.get("boundary", "")
    if form == "multipart" and not 1 <= len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise BadRequest("Content-Type multipart/form-data needs a boundary of 1 to 70 characters")
    return Content(form, codec_of(parameters.get("charset", "utf-8")), boundary)


def codec_of(charset: str) -> str:
    """Python's name of the codec. Raises `UnsupportedMediaType`."""
    try:
        codec = codecs.lookup(charset)
        "".encode(codec.name)  # raises for what is no encoding of text: zlib, hex, rot13
    except (LookupError, UnicodeError, ValueError):
        raise UnsupportedMediaType(f"charset {charset!r} is not known: name one of Python's standard encodings") from None
    if codec.name in _UNSUITABLE:
        raise UnsupportedMediaType(f"charset {charset!r} is no encoding of documents")
    return codec.name


def as_utf8(body: bytes, charset: str) -> bytes:
    """The text in UTF-8, without a byte order mark. Raises `BadRequest`, which names the byte that is none of the charset's."""
    if charset in ("utf-8", "utf-8-sig"):
        if not body.isascii():
            _decoded(body, "utf-8")
        return body.removeprefix(codecs.BOM_UTF8)
    try:
        return _decoded(body, charset).removeprefix("\ufeff").encode()
    except UnicodeEncodeError:
        raise BadRequest(f"the body holds half a surrogate pair, which is no text (charset {charset})") from None


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not {charset}: byte {error.start} is 0x{body[error.start : error.start + 1].hex()}") from None
    except (UnicodeError, ValueError) as error:
        raise BadRequest(f"the body is not {charset}: {error}") from None


@lru_cache(maxsize=256)
def accepted(header: str) -> str:
    """The media type of the reply: JSON, or CSV where the Accept header prefers it. Raises `NotAcceptable`."""
    if not header.strip():
        return JSON
    weights: dict[str, tuple[float, int]] = {}
    for offered in (JSON, CSV):
        matching = [(_specific(range_), quality) for range_, quality in _ranges(header) if _matches(range_, offered)]
        if matching:
            specific, quality = max(matching)  # the most specific range decides (RFC 9110, 12.5.1)
            weights[offered] = (quality, specific)
    best = max(weights, key=lambda offered: weights[offered], default="")
    if not best or weights[best][0] <= 0:
        raise NotAcceptable(f"Accept must allow {JSON} or {CSV}, got {header!r}")
    return best


def _ranges(header: str) -> list[tuple[str, float]]:
    found = []
    for part in header.split(","):
        range_, *parameters = (item.strip().lower() for item in part.split(";"))
        quality = next((p.partition("=")[2].strip() for p in parameters if p.startswith("q=")), "1")
        try:
            found.append((range_, float(quality)))
        except ValueError:
            found.append((range_, 0.0))
    return found


def _matches(range_: str, offered: str) -> bool:
    return range_ in ("*/*", offered) or (range_.endswith("/*") and offered.startswith(range_[:-1]))


def _specific(range_: str) -> int:
    return 0 if range_ == "*/*" else 1 if range_.endswith("/*") else 2


def _parsed(header: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["content-type"] = header.replace("\r", " ").replace("\n", " ")
    parameters = message.get_params(failobj=[])
    return (
        header.partition(";")[0].strip().lower(),
        {name.lower(): value if isinstance(value, str) else str(value[-1]) for name, value in parameters[1:]},
    )


def header_parameters(header: str) -> tuple[str, dict[str, str]]:
    """The value of a header such as Content-Disposition, in lower case, and its parameters by name."""
    return _parsed(header)
