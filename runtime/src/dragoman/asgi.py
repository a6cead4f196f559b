"""The few names of ASGI that the servers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TASK = "dragoman.task"  # in a request's scope: the task to cancel when its client leaves
BODY_ARRIVING = "dragoman.body_arriving"  # in a request's scope: its body was not whole when its handler started
