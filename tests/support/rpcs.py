"""The gRPC methods that a dialect shows."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.dialect import Rpc, Surface


def rpcs_of(surface: Surface) -> Sequence[Rpc]:
    return surface.rpcs() if surface.rpcs is not None else ()
