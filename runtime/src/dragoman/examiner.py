"""Asks the loader to try models in children of its own, whichever loader there is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from dragoman.errors import ModelLoadFailed
from dragoman.messages import Examine, Found, Load, Message

_LOADERS = 2  # that may end while they try one model


class Examiner:
    """`tell_loader` sends a message to the loader that there is."""

    def __init__(self, tell_loader: Callable[[Message], None]) -> None:
        self._tell_loader = tell_loader
        self._tickets = itertools.count(1)
        self._asked: dict[int, tuple[Examine, asyncio.Future[Found]]] = {}
        self._ended: dict[int, int] = {}  # loaders that have ended meanwhile

    async def examined(self, load: Load, timeout_seconds: float) -> Found:
        """What loading the model, and predicting with it, shows. Raises `ModelLoadFailed` where loaders end over it."""
        ticket = next(self._tickets)
        asked = Examine(ticket=ticket, load=load, timeout_seconds=timeout_seconds)
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._asked[ticket] = asked, answer
        self._tell_loader(asked)
        try:
            return await answer
        finally:
            del self._asked[ticket]
            self._ended.pop(ticket, None)

    def on_found(self, found: Found) -> None:
        _, answer = self._asked.get(found.ticket, (None, None))
        if answer is not None and not answer.done():
            answer.set_result(found)

    def on_loader_replaced(self) -> None:
        """What the old one was trying, the new one tries again; not for ever: the model itself may be what ends it."""
        for ticket, (asked, answer) in list(self._asked.items()):
            self._ended[ticket] = self._ended.get(ticket, 0) + 1
            if self._ended[ticket] < _LOADERS:
                self._tell_loader(asked)
            elif not answer.done():
                answer.set_exception(ModelLoadFailed(f"{asked.load.name}: the process that loaded it ended with its loader"))
