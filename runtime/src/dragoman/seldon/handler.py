"""Data handlers: how a row comes out of a protobuf message of the author's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class BadDataError(Exception):
    """What a handler raises for a message that it cannot unpack; the client sees INTERNAL, `Invalid data`."""


class CustomDataHandler:
    """Subclass it, write `get_data` (`getData` will do as well), and give one to a `Pipeline`."""

    def get_data(self, request: Any) -> pd.DataFrame:
        """The row that a `ClassificationRequest` packs (`request.data`, an `Any`), as a data frame whose columns are the model's inputs."""
        older = getattr(self, "getData", None)
        if older is None:
            raise NotImplementedError(f"{type(self).__name__} has no get_data method")
        found: pd.DataFrame = older(request)
        return found
