"""Many models at start: some are fetched at once, each by a process of its own, and the others wait for their turn."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dragoman import manifest
from dragoman.fetching import fetch_model
from dragoman.settings import Settings
from dragoman.status import ModelStatus

AT_ONCE = 2


def test_no_more_are_fetched_at_once_than_there_are_turns(tmp_path: Path) -> None:
    for i in range(6):
        (tmp_path / f"m{i}.joblib").write_bytes(b"%d" % i)
    at_once, digests = asyncio.run(_fetched(tmp_path))
    assert max(at_once) == AT_ONCE
    assert len(digests) == 6


async def _fetched(folder: Path) -> tuple[list[int], set[str]]:
    """How many were being fetched each time that one began, and what came."""
    turns, settings = asyncio.Semaphore(AT_ONCE), Settings(cache_dir=str(folder / "cache"))
    models = [ModelStatus(name=f"m{i}", uri=str(folder / f"m{i}.joblib")) for i in range(6)]
    at_once: list[int] = []

    async def fetch(model: ModelStatus) -> str:
        fetched = await fetch_model(model, manifest.from_uri(model.uri, model.name), settings, turns)
        at_once.append(sum(one.state == "Fetching" for one in models))
        model.step("Loading")
        return fetched.digest

    return at_once, set(await asyncio.gather(*map(fetch, models)))
