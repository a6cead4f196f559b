"""What can go wrong with one answer of an HTTP server, as values; `tests.servers.hostile` acts them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """One answer. With nothing set it is a good one: ranges, ETag, preconditions, keep-alive."""

    status: int | None = None  # answered in place of the object
    headers: Mapping[str, str] = field(default_factory=dict)  # added to the answer's own
    sends: int | None = None  # bytes of the body, after which `then` happens; None: all of them
    then: Literal["close", "reset", "stall"] = "close"
    length_error: int = 0  # bytes by which Content-Length is wrong: positive promises too much
    ranges: bool = True  # False: Range is ignored, and the whole object is sent, with 200

    @property
    def in_the_body(self) -> bool:
        """Whether it shows only in a body, so that a HEAD request has no part in it."""
        return self.status is None and (self.sends is not None or self.length_error != 0 or not self.ranges)


GOOD = Behaviour()


def breaks(*, after: int, reset: bool = False) -> Behaviour:
    """The connection ends after so many bytes of the body. With `reset` it is torn down, and the last of the bytes may be lost."""
    return Behaviour(sends=after, then="reset" if reset else "close")


def stalls(*, after: int) -> Behaviour:
    """Nothing comes after so many bytes of the body, until the server is told to `resume`."""
    return Behaviour(sends=after, then="stall")


def lies(by: int) -> Behaviour:
    """Content-Length is wrong by so many bytes: positive promises bytes that never come, negative says less than is sent."""
    return Behaviour(length_error=by)


def ignores_ranges() -> Behaviour:
    return Behaviour(ranges=False)


def answers(status: int, headers: Mapping[str, str] | None = None) -> Behaviour:
    """A status in place of the object, as it may be 403, 404, 500 or 503 with `{"Retry-After": "1"}`."""
    return Behaviour(status=status, headers=headers or {})


def redirects(to: str, status: int = 302) -> Behaviour:
    """Elsewhere: `to` is a URL, or a path of this server."""
    return Behaviour(status=status, headers={"Location": to})
