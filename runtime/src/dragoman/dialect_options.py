"""The options of each dialect, as they stand under `spec.serving.dialects` in the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """What the options of every dialect share."""

    def problems(self) -> Iterator[str]:
        """What types alone do not say, each led by its path below these options: `windowSeconds: must be greater than 0, got 0`."""
        return iter(())


class V1(Options, frozen=True):
    """Options of the Open Inference Protocol v1 dialect: none."""


class V2(Options, frozen=True):
    """Options of the Open Inference Protocol v2 dialect, REST and gRPC: none."""


class Dialects(Options, frozen=True):
    """The prediction APIs that are spoken; one left out is off."""

    v1: V1 | None = None
    v2: V2 | None = None

    def enabled(self) -> dict[str, Any]:
        """Options by dialect name, of those that are on."""
        options = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: option for name, option in options.items() if option is not None}

    def problems(self) -> Iterator[str]:
        for name, options in self.enabled().items():
            yield from (f"{name}.{problem}" for problem in options.problems())
