"""The options of each dialect, as they stand under `spec.serving.dialects` in the manifest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Literal

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


class Certifai(Options, frozen=True):
    """Options of Certifai's predict API."""

    route: str | None = None  # the path that predicts, below the root: "bank_marketing/predict"; None: the model's name and "/predict"
    scores: Literal["none", "positive", "all"] | None = None  # None: all, of a classifier that has probabilities
    threshold: float | None = None  # with `positive`: the least score of the positive class; None: 0.5

    def problems(self) -> Iterator[str]:
        if self.route is not None and not re.fullmatch(r"/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", self.route):
            yield f"route: must be a path of letters, digits, -, _, . and ~, such as bank_marketing/predict, got {self.route!r}"
        if self.threshold is not None and self.scores != "positive":
            yield "threshold: belongs to scores: positive, and scores is another; set it, or leave threshold out"
        if self.threshold is not None and not math.isfinite(self.threshold):
            yield f"threshold: must be a finite number, got {self.threshold}"


class Dialects(Options, frozen=True):
    """The prediction APIs that are spoken; one left out is off."""

    v1: V1 | None = None
    v2: V2 | None = None
    certifai: Certifai | None = None

    def enabled(self) -> dict[str, Any]:
        """Options by dialect name, of those that are on."""
        options = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: option for name, option in options.items() if option is not None}

    def problems(self) -> Iterator[str]:
        for name, options in self.enabled().items():
            yield from (f"{name}.{problem}" for problem in options.problems())
