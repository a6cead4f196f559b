"""Whether this thread is loading an author's file for a server: what the file would do as a script of its own is then not done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Hosting(threading.local):
    on = False


_hosting = _Hosting()


@contextmanager
def hosted() -> Iterator[None]:
    """While a server loads the file, and serves what it finds in it."""
    before, _hosting.on = _hosting.on, True
    try:
        yield
    finally:
        _hosting.on = before


def hosting() -> bool:
    return _hosting.on
