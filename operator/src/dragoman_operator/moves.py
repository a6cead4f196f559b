"""How many models the upgrade policy Immediate moves at a time: a few, and no further while those fail."""

from __future__ import annotations

from dragoman_operator.objects import Key


class Moves:
    def __init__(self, at_a_time: int) -> None:
        self._at_a_time = at_a_time
        self._moving: set[Key] = set()

    def may_start(self, key: Key) -> bool:
        """Whether this one may be moved now. One that is on its way may always go on."""
        return key in self._moving or len(self._moving) < self._at_a_time

    def note(self, key: Key, *, moving: bool) -> None:
        """Whether a model was moved and is not ready: it takes a place until it is. One that fails keeps it, and so holds up the others."""
        if moving:
            self._moving.add(key)
        else:
            self._moving.discard(key)

    def forget(self, key: Key) -> None:
        self._moving.discard(key)
