"""Whether a worker still lives: a pure judgement of its pulse."""

from __future__ import annotations

from dragoman.heartbeat import Pulse

GRACE_SECONDS = 5.0


def overdue(pulse: Pulse, now: float, timeout_seconds: float) -> str | None:
    """Why a worker is to be killed, or None. Times are `time.monotonic()` seconds.

    A predict may run until `GRACE_SECONDS` after the latest deadline among its requests: nobody waits for it any more then. A loop
    that has not turned for the same time without a predict to blame is stuck, too. While a model is loaded beside serving, neither says
    anything: unpickling holds the interpreter. That has a bound of its own.
    """
    if not pulse.pid or not pulse.ticked:
        return None
    if pulse.loading_until:
        late = now - pulse.loading_until
        return f"loading a model takes {late:.1f} s longer than serving.limits.loadTimeoutSeconds" if late > GRACE_SECONDS else None
    if pulse.predict_started:
        late = now - pulse.deadline
        return f"a predict runs since {now - pulse.predict_started:.1f} s, {late:.1f} s past its deadline" if late > GRACE_SECONDS else None
    silent = now - pulse.ticked
    return f"its event loop has not turned for {silent:.1f} s" if silent > timeout_seconds + GRACE_SECONDS else None
