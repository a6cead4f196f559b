"""The headers that every reply has, errors too."""

from __future__ import annotations

import hashlib
import re
import time

from dragoman.dialects.dialect import Request

Headers = tuple[tuple[str, str], ...]

CROSS_ORIGIN: Headers = (
    ("Access-Control-Allow-Methods", "OPTIONS, POST"),
    ("Access-Control-Allow-Credentials", "true"),
    (
        "Access-Control-Expose-Headers",
        "Content-Type,Content-Length,X-DataRobot-Execution-Time,X-DataRobot-Model-Cache-Hit,X-DataRobot-Model-Id,X-DataRobot-Request-Id",
    ),
    ("Access-Control-Allow-Headers", "Content-Type,Authorization,datarobot-key"),
)
_HEX = re.compile(r"[0-9a-f]{32}")


def headers_of(request: Request, model_id: str = "", cache_hit: bool = False) -> Headers:
    """`model_id` is empty, and the cache was not hit, where the path names no deployment."""
    milliseconds = round((time.monotonic() - request.started) * 1000) if request.started else 0
    return (
        ("X-DataRobot-Execution-Time", str(milliseconds)),
        ("X-DataRobot-Model-Cache-Hit", "true" if cache_hit else "false"),
        ("X-DataRobot-Model-Id", model_id),
        ("X-DataRobot-Request-ID", request_id(request.request_id)),
        *CROSS_ORIGIN,
    )


def request_id(identity: str) -> str:
    """32 hex digits: the request's own id where it has that form, as a UUID too; else a digest of it."""
    plain = identity.replace("-", "").lower()
    return plain if _HEX.fullmatch(plain) else hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
