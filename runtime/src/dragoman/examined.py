"""What a short-lived child found out about a model by predicting with it."""

from __future__ import annotations

from typing import Any

import msgspec


class Examined(msgspec.Struct, frozen=True):
    """Crosses a pipe as JSON. `signature` is a Signature's JSON; `reason` and `message` are of a `ServeError`, where loading failed."""

    signature: bytes = b""
    format: str = ""
    rows_independent: bool = False
    versions: dict[str, str] = {}
    warnings: list[str] = []
    authored: dict[str, Any] = {}  # what the model's own code declares for a dialect
    libraries: list[str] = []  # modules of model libraries that it needed, and its parent had not imported
    reason: str = ""
    message: str = ""
