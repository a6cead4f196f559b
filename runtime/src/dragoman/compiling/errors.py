"""Why a model is not compiled."""

from __future__ import annotations


class NotCompiled(Exception):
    """The text says which part stands against it; the model is served as it is."""

    @classmethod
    def because(cls, what: str, error: Exception) -> NotCompiled:
        """What a library raised, cut short. A `MemoryError` says nothing of the model: it is raised itself."""
        if isinstance(error, MemoryError):
            raise error
        return cls(f"{what}: {' '.join(str(error).split())[:200]}")
