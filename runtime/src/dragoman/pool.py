"""Which models are in memory, as values: who goes out for another, when one that failed is tried again, which state that makes."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from dragoman.manifest import State

_PAUSE_SECONDS = (1.0, 60.0)  # after the first failure in a row, and the longest


class Shelf:
    """The names of at most `size` models, in the order in which they were last used."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used: dict[str, None] = {}  # the last one was used last

    def __contains__(self, name: str) -> bool:
        return name in self._used

    @property
    def names(self) -> list[str]:
        """Least recently used first."""
        return list(self._used)

    def use(self, name: str) -> bool:
        """Whether it is there; if so, it is the one used last from now on."""
        if name not in self._used:
            return False
        del self._used[name]
        self._used[name] = None
        return True

    def admit(self, name: str) -> list[str]:
        """Put it there, as used last. Gives those that have to go out for it, least recently used first."""
        self._used.pop(name, None)
        out = self.names[: max(0, len(self._used) + 1 - self._size)]
        for other in out:
            del self._used[other]
        self._used[name] = None
        return out

    def remove(self, name: str) -> None:
        self._used.pop(name, None)


class Backoff(msgspec.Struct, frozen=True):
    """When a model that failed may be tried again. Times are `time.monotonic()` seconds."""

    failures: int = 0  # in a row
    due: float = 0.0

    def failed(self, now: float) -> Backoff:
        """After one more failure: twice the pause of the one before."""
        shortest, longest = _PAUSE_SECONDS
        return Backoff(self.failures + 1, now + min(longest, shortest * 2.0 ** min(self.failures, 16)))

    def wait(self, now: float) -> float:
        """Seconds until it may be tried."""
        return max(0.0, self.due - now)


NEVER_FAILED = Backoff()


def state_of(*, off: bool, failed: bool, on_its_way: State | None, told: Collection[int], held: Collection[int]) -> State:
    """The state of a model that is loaded on demand.

    `off`: an administrator unloaded it; `on_its_way`: Fetching or Loading, on behalf of all workers; `told`: workers that load it or
    have it in memory; `held`: those that have it.
    """
    if off:
        return "Unloaded"
    if failed:
        return "Failed"
    if held:
        return "Loaded"
    if on_its_way is not None:
        return on_its_way
    return "Loading" if told else "Unloaded"
