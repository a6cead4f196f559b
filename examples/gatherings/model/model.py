"""A recommender: gatherings are alike if the same women came to both, and a woman may come to what is like those that she came to."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dragoman.seldon import Recommender


class SharedCompany(Recommender):
    """Items by the cosine of who chose them. User and item ids count from 1."""

    def fit(self, chosen: np.ndarray) -> "SharedCompany":
        """`chosen`, shape (users, items): 1 where a user chose an item."""
        self.chosen = chosen
        lengths = np.linalg.norm(chosen, axis=0)
        self.alike = (chosen.T @ chosen) / np.outer(lengths, lengths)
        np.fill_diagonal(self.alike, 0.0)
        return self

    def save(self, folder: Path) -> None:
        np.save(folder / "chosen.npy", self.chosen)

    def load(self, folder: Path) -> None:
        self.fit(np.load(folder / "chosen.npy"))

    def recommend(
        self, user: int, ids: Sequence[int], recent_interactions: Sequence[int], limit: int, client: str
    ) -> list[tuple[int, float]]:
        """Of the candidates, or of all that the user did not choose yet. A user who is not known is judged by the recent items alone."""
        users, items = self.chosen.shape
        liked = self.chosen[user - 1].copy() if 1 <= user <= users else np.zeros(items)
        for item in recent_interactions:
            if 1 <= item <= items:
                liked[item - 1] = 1.0
        scores = self.alike @ liked if liked.any() else self.chosen.mean(axis=0)  # nothing known: what most chose
        candidates = ids or [item for item in range(1, items + 1) if not liked[item - 1]]
        scored = [(item, float(scores[item - 1])) for item in candidates if 1 <= item <= items]
        return sorted(scored, key=lambda pair: -pair[1])[:limit]
