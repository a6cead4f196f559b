"""Standard output and standard error, as a person at a terminal and as a pipe want them.

Results go to standard output; everything else goes to standard error. Bars are drawn there, on a terminal only, once something has taken
long enough to wonder about.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from dragoman.storage.request import Event, OnEvent, Progress
from dragoman.storage.uri import redacted

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn

_PATIENCE_SECONDS = 0.5


def note(message: str) -> None:
    """Something worth knowing, beside the result."""
    print(f"note: {message}", file=sys.stderr, flush=True)  # noqa: T201


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)  # noqa: T201


def done(message: str) -> None:
    """What was done: for a person only."""
    if sys.stderr.isatty():
        print(message, file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def reserved_stdout() -> Iterator[IO[bytes]]:
    """Standard output for the result alone: what a model or a library prints meanwhile goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "wb") as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def fetching(uri: str) -> Iterator[OnEvent]:
    """Tells of a fetch: its warnings, and how far it is."""
    with _bar(f"fetching {_short(redacted(uri))}") as update:

        def tell(event: Event) -> None:
            if isinstance(event, Progress):
                update(event.bytes, event.total_bytes, "")
            else:
                warn(event.message)

        yield tell


@contextlib.contextmanager
def predicting(total_bytes: int | None, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Tells of rows predicted: called with the bytes read so far and the rows done. `shown` is False where it would be in the way."""
    with _bar("predicting", shown=shown) as update:
        yield lambda done, rows: update(done, total_bytes, f"{rows:,} rows")


_Update = Callable[[int, int | None, str], None]


@contextlib.contextmanager
def _bar(what: str, *, shown: bool = True) -> Iterator[_Update]:
    if not shown or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda done, total, count: None
        return
    drawn: RichProgress | None = None
    began = time.monotonic()

    def update(done: int, total: int | None, count: str) -> None:
        nonlocal drawn
        if drawn is None:
            if time.monotonic() - began < _PATIENCE_SECONDS:
                return
            drawn = _drawn(what)
        drawn.update(drawn.task_ids[0], completed=done, total=total, count=count)

    try:
        yield update
    finally:
        if drawn is not None:
            drawn.stop()


def _drawn(what: str) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Drawn

    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]}"),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(compact=True),
    ]
    drawn = Drawn(*columns, console=Console(stderr=True), transient=True, expand=True)
    drawn.add_task(what, total=None, count="")
    drawn.start()
    return drawn


def _short(text: str, width: int = 32) -> str:
    return text if len(text) <= width else "…" + text[1 - width :]
