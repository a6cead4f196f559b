"""Kubernetes objects as they come: decoded JSON. The few things that are asked of any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

Object = dict[str, Any]

_encoder = msgspec.json.Encoder(order="sorted")


class Key(NamedTuple):
    """A ModelDeployment: what is reconciled."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def meta(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = obj.get("metadata") or {}
    return found


def label(obj: Mapping[str, Any], name: str) -> str:
    """A label's value; "" where there is none."""
    return str((meta(obj).get("labels") or {}).get(name, ""))


def key_of(obj: Mapping[str, Any]) -> Key:
    return Key(meta(obj)["namespace"], meta(obj)["name"])


def version_of(obj: Mapping[str, Any]) -> int:
    """resourceVersion as a number, by which the newer of two copies is told (documented as comparable since Kubernetes 1.35)."""
    return int(meta(obj).get("resourceVersion") or 0)


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference of the controller, of which there is at most one."""
    return next((owner for owner in meta(obj).get("ownerReferences") or () if owner.get("controller")), None)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _encoder.encode(value)


def digest(*values: Any) -> str:
    """The SHA-256 of values, in hex."""
    return hashlib.sha256(b"\n".join(canonical(value) for value in values)).hexdigest()


def asked_of(obj: Object) -> tuple[Any, ...]:
    """What of a ModelDeployment its user has a say in: its generation changes with the spec."""
    return tuple(meta(obj).get(name) for name in ("uid", "generation", "annotations", "deletionTimestamp"))
