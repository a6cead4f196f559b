"""Form fields of a request: of its query string, and of a body as browsers and HTTP libraries send forms."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from dragoman.errors import BadRequest

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MEDIA_TYPES = frozenset({URLENCODED, MULTIPART})
_MAX_FIELDS = 1000


def query_fields(query: str) -> dict[str, str]:
    """The fields of a query string; of one that is given twice, the first. `BadRequest` where it is not UTF-8."""
    return _first(query, "the query string")


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a body; none where its media type is not a form's. Files are passed over. `BadRequest` where it is malformed."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == URLENCODED:
        return _first(body.decode("latin-1"), "the form")
    return _multipart(content_type, body) if media_type == MULTIPART else {}


def _first(text: str, where: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError as error:
        raise BadRequest(f"{where} is not UTF-8: byte 0x{error.object[error.start]:02x}") from None
    except ValueError as error:
        raise BadRequest(f"{where} cannot be read: {error}") from None
    return dict(reversed(pairs))


def _multipart(content_type: str, body: bytes) -> dict[str, str]:
    from python_multipart import parse_form
    from python_multipart.exceptions import FormParserError

    found: list[tuple[bytes, bytes]] = []

    def on_field(field: Any) -> None:
        found.append((field.field_name or b"", field.value or b""))

    headers = {"Content-Type": content_type.encode("latin-1"), "Content-Length": b"%d" % len(body)}
    try:
        parse_form(headers, BytesIO(body), on_field, lambda file: file.close())
    except FormParserError as error:
        raise BadRequest(f"the form is not valid {MULTIPART}: {error}") from None
    try:
        return {name.decode(): value.decode() for name, value in reversed(found)}
    except UnicodeDecodeError as error:
        raise BadRequest(f"the form is not UTF-8: byte 0x{error.object[error.start]:02x}") from None
