"""A part of the manifest: what its structs share."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """camelCase names, and no unknown fields."""

    def problems(self) -> Iterator[str]:
        """What types alone do not say, each led by its path below this part: `windowSeconds: must be greater than 0, got 0`."""
        return iter(())
