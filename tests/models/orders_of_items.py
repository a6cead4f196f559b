"""A recommender that does what its client's name says, and otherwise chooses the smallest numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dragoman.seldon import Recommender

KNOWN = range(1, 21)


class Orders(Recommender):
    def recommend(self, user: int, ids: Sequence[int], recent_interactions: Sequence[int], limit: int, client: str) -> Any:
        chosen = sorted(ids or KNOWN)
        if client == "echo":
            seen = {"user": user, "ids": list(ids), "recent": list(recent_interactions), "limit": limit}
            return [(f"{name}={value}", 10 - i) for i, (name, value) in enumerate(seen.items())]
        if client == "everything":
            return [(item, 1 / item) for item in chosen]
        if client == "negative":
            return zip(chosen, [-1.0, -3.0, -2.0], strict=False)
        if client == "alike":
            return [(item, 0.0) for item in chosen[:2]]
        if client == "nan":
            return [(1, float("nan"))]
        if client == "numpy":
            return list(zip(np.array(chosen), np.array(chosen, dtype=np.float32), strict=True))
        if client == "no-pairs":
            return [1, 2, 3]
        return [(item, 100.0 - item) for item in chosen[:limit]]
