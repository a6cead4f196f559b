"""multipart/form-data (RFC 7578): the one file of a request. The body is here whole, so it is searched and not streamed."""

from __future__ import annotations

from dataclasses import dataclass

from dragoman.dialects.datarobot.negotiation import FORMS, Content, Form, codec_of, header_parameters
from dragoman.errors import BadRequest, UnsupportedMediaType

FIELD = "file"
_HEAD_BYTES = 16 * 1024
_MOST_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its headers, names in lower case, and what it holds."""

    headers: dict[str, str]
    content: bytes

    @property
    def disposition(self) -> dict[str, str]:
        return header_parameters(self.headers.get("content-disposition", ""))[1]


def file_of(body: bytes, boundary: str) -> tuple[bytes, Content]:
    """The content of the field `file`, and what it is. Raises `BadRequest`, and `UnsupportedMediaType` for a charset that is none."""
    files = [part for part in parts_of(body, boundary) if part.disposition.get("name") == FIELD]
    if not files:
        raise BadRequest(f"the form has no field {FIELD!r}: send the data set in it, as curl -F {FIELD}=@dataset.csv does")
    if len(files) > 1:
        raise BadRequest(f"the form has {len(files)} fields {FIELD!r}: send one data set")
    return files[0].content, _content_of(files[0])


def parts_of(body: bytes, boundary: str) -> list[Part]:
    """Every part. Raises `BadRequest` where the body is no multipart of that boundary, or is cut short."""
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        raise BadRequest("the multipart body does not have the boundary that its Content-Type names")
    parts: list[Part] = []
    while True:
        start = _line_after(body, at + len(delimiter))
        if start is None:
            return parts
        end = body.find(b"\r\n" + delimiter, start - 2)
        if end < 0:
            raise BadRequest("the multipart body is cut short: its last boundary is missing")
        if len(parts) == _MOST_PARTS:
            raise BadRequest(f"the multipart body has more than {_MOST_PARTS} parts")
        parts.append(_part(body, start, end))
        at = end + 2


def _line_after(body: bytes, at: int) -> int | None:
    """Where the line after a delimiter begins; None after the last one, which has two more dashes."""
    if body[at : at + 2] == b"--":
        return None
    end = body.find(b"\r\n", at)
    if end < 0 or body[at:end].strip(b" \t"):
        raise BadRequest("the multipart body is cut short or has a line that only begins as its boundary")
    return end + 2


def _part(body: bytes, start: int, end: int) -> Part:
    if body[start : start + 2] == b"\r\n":
        return Part({}, body[start + 2 : end])
    head = body.find(b"\r\n\r\n", start, start + _HEAD_BYTES)
    if head < 0 or head > end:
        raise BadRequest("a part of the multipart body has no end of its headers")
    headers = {}
    for line in body[start:head].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon:
            raise BadRequest("a part of the multipart body has a line in its headers that is none")
        headers[name.strip().lower()] = value.strip()
    return Part(headers, body[head + 4 : max(end, head + 4)])


def _content_of(part: Part) -> Content:
    media_type, parameters = header_parameters(part.headers.get("content-type", ""))
    charset = codec_of(parameters.get("charset", "utf-8"))
    known = FORMS.get(media_type)
    if known == "multipart":
        raise UnsupportedMediaType(f"the field {FIELD!r} must be CSV or JSON, got {media_type}")
    if known == "json" or part.disposition.get("filename", "").lower().endswith(".json"):
        return Content("json", charset)
    form: Form = known or ("json" if part.content.lstrip()[:1] in (b"[", b"{") else "csv")
    return Content(form, charset)
