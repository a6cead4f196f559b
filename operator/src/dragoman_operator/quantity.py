"""Kubernetes' quantities: `500m`, `20Gi`, `1e3`."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal("1e3"), "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"), "E": Decimal("1e18"),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(" + "|".join(_SUFFIXES) + r")")


def quantity(text: str | float) -> Decimal | None:
    """Its value; None where it is no quantity."""
    match = _FORM.fullmatch(str(text))
    return Decimal(match[1]) * _SUFFIXES[match[2]] if match else None
