"""One model of a running server: what was fetched of it, what is known of it, who has it in memory."""

from __future__ import annotations

import asyncio

import msgspec

from dragoman.manifest import ModelDeployment
from dragoman.messages import Found, Known, Load
from dragoman.pool import NEVER_FAILED, Backoff
from dragoman.status import ModelStatus
from dragoman.storage.request import Fetched


class Stock(msgspec.Struct, frozen=True):
    """A model that was fetched, and is held on disk for as long as this is. `found`: what trying it showed; None: known from before."""

    load: Load
    fetched: Fetched
    known: Known
    found: Found | None = None


class Entry(msgspec.Struct, eq=False):
    """One model of the server."""

    manifest: ModelDeployment
    status: ModelStatus
    known: Known  # as every worker has been told
    seen: Known  # of what was loaded last, or nothing
    stock: Stock | None = None
    followed: bool = False  # a loader is told by `Follow` what became of it, and does not load it for workers to share
    told: dict[int, int] = msgspec.field(default_factory=dict)  # workers that load it on demand or have it in memory, and by which ticket
    held: set[int] = msgspec.field(default_factory=set)  # those that have it
    wanting: set[int] = msgspec.field(default_factory=set)  # those that asked for it
    backoff: Backoff = NEVER_FAILED
    turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
