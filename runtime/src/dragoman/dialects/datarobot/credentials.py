"""Who is asking: the token that a request presents, and the datarobot-key header."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable

from dragoman.dialects.datarobot.refusals import NO_CREDENTIALS, NO_DATAROBOT_KEY
from dragoman.dialects.dialect import Request
from dragoman.errors import Unauthorized


def credentials(request: Request) -> str:
    """The token of `Authorization: Bearer <token>`, `Token <token>` or `Basic <user:token>`, in base64 or, as old clients send it, plain.

    Raises `Unauthorized` where there is none.
    """
    scheme, _, given = request.headers.get("authorization", "").strip().partition(" ")
    token = given.strip()
    reader = _SCHEMES.get(scheme.lower())
    found = reader(token) if reader is not None and token else ""
    if not found:
        raise Unauthorized(NO_CREDENTIALS)
    return found


def check_key(request: Request, key: str | None) -> None:
    """The datarobot-key header, where the deployment has a key. Compared in constant time. Raises `Unauthorized`."""
    if key is None:
        return
    given = request.headers.get("datarobot-key", "").strip()
    if not given:
        raise Unauthorized(NO_DATAROBOT_KEY)
    if not hmac.compare_digest(given.encode("latin-1", "replace"), key.encode()):
        raise Unauthorized("The datarobot-key header is not that of this deployment")


def _basic(given: str) -> str:
    """The part after the user's name: RFC 7617, and `user:token` as it is."""
    if ":" not in given:
        try:
            given = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, ValueError):
            return ""
    return given.partition(":")[2]


_SCHEMES: dict[str, Callable[[str], str]] = {"bearer": str, "token": str, "basic": _basic}
