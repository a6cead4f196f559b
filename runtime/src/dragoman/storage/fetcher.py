"""The fetch process: `python -m dragoman.storage.fetcher`. Its memory and its threads end with it.

In: one line of JSON, `Request.to_json`. Out: one line of JSON an event: `{"progress": {"bytes", "totalBytes"}}`, `{"warning"}`, and at
the end `{"result": {"path", "name", "digest", "bytes"}}` or `{"error": {"reason", "message"}}`, with the error's exit code.
After a result it waits for the end of its input before it lets go of the cache entry, so that its parent can take hold first.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

from dragoman.errors import InvalidSpec, ModelLoadFailed, OutOfMemory, ServeError
from dragoman.storage.fetch import fetch
from dragoman.storage.request import Event, Progress, Request


def main(requests: IO[str], events: IO[str]) -> int:
    """Answers one request; gives the exit code."""

    def tell(**event: Any) -> None:
        print(json.dumps(event), file=events, flush=True)

    def relay(event: Event) -> None:
        if isinstance(event, Progress):
            tell(progress={"bytes": event.bytes, "totalBytes": event.total_bytes})
        else:
            tell(warning=event.message)

    try:
        try:
            fetched = fetch(_request(requests.readline()), relay)
        except BrokenPipeError:
            raise
        except MemoryError as error:
            raise OutOfMemory("the process that fetches the model ran out of memory; give the pod more") from error
        except OSError as error:
            raise ModelLoadFailed(f"the fetch failed: {error}") from error
        tell(result={"path": str(fetched.path), "name": fetched.name, "digest": fetched.digest, "bytes": fetched.bytes})
        requests.read()
    except ServeError as error:
        tell(error={"reason": error.reason, "message": error.message})
        return error.exit_code
    return 0


def _request(line: str) -> Request:
    try:
        return Request.from_json(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidSpec(f"a fetch request must be one line of JSON as Request.to_json writes it: {error}") from error


if __name__ == "__main__":
    try:
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as events:
            os.dup2(2, 1)  # what a library prints is no event
            code = main(sys.stdin, events)
    except BrokenPipeError:  # whoever asked has gone
        code = 1
    os._exit(code)  # without waiting for streams that are stuck in a read
