"""Whether what is observed already covers what is desired: leaf by leaf, lists by their merge keys.

So an apply that would change nothing is not sent, and that is also how drift is seen. What others own (sidecars, annotations, the
API server's defaults) is beside the question: only what is desired is looked for.
"""

from __future__ import annotations

from typing import Any

from dragoman_operator.quantity import quantity

# Lists that the API server merges by key (x-kubernetes-list-map-keys), by their field's name. Every other list is one value.
_MERGE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "env": (("name",),),
    "imagePullSecrets": (("name",),),
    "ownerReferences": (("uid",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeMounts": (("mountPath",),),
    "volumes": (("name",),),
}
# Maps that are one value (x-kubernetes-map-type: atomic): a key more would select other pods, or other nodes.
_ATOMIC = {"selector", "matchLabels", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector"}
# Left out when false by most of Kubernetes' types; in these, a missing one means true.
_TRUE_WHEN_ABSENT = {"automountServiceAccountToken", "enableServiceLinks", "allowPrivilegeEscalation"}
# Their values are compared as quantities: 0.5 is stored as 500m.
_QUANTITIES = {"limits", "requests", "sizeLimit"}


def difference(desired: Any, observed: Any) -> str | None:
    """The first place where `observed` lacks what `desired` says, as a path; None when it covers all of it."""
    found = _differs(desired, observed, "", "")
    return None if found is None else found.lstrip(".") or "."


def _differs(desired: Any, observed: Any, field: str, parent: str) -> str | None:
    """The rest of the path to the first difference. `field` is where the values stand, `parent` the field above it."""
    if desired == observed:  # by far the most frequent case, and decided in C
        return None
    if observed is None:
        return None if _is_empty(desired, field) else ""
    if isinstance(desired, dict):
        return _of_objects(desired, observed, field)
    if isinstance(desired, list | tuple):
        return _of_lists(list(desired), observed, field)
    if (parent in _QUANTITIES or field in _QUANTITIES) and quantity(desired) == quantity(observed) is not None:
        return None
    return ""


def _of_objects(desired: dict[str, Any], observed: Any, field: str) -> str | None:
    if not isinstance(observed, dict) or (field in _ATOMIC and not observed.keys() <= desired.keys()):
        return ""
    for name, value in desired.items():
        found = _differs(value, observed.get(name), name, field)
        if found is not None:
            return f".{name}{found}"
    return None


def _of_lists(desired: list[Any], observed: Any, field: str) -> str | None:
    if not isinstance(observed, list):
        return ""
    for keys in _MERGE_KEYS.get(field, ()):
        if all(isinstance(one, dict) and all(key in one for key in keys) for one in (*desired, *observed)):
            return _by_key(desired, observed, keys)
    if len(desired) != len(observed):
        return ""
    for index, (one, there) in enumerate(zip(desired, observed, strict=True)):
        found = _differs(one, there, "", "")
        if found is not None:
            return f"[{index}]{found}"
    return None


def _by_key(desired: list[Any], observed: list[Any], keys: tuple[str, ...]) -> str | None:
    there = {tuple(one[key] for key in keys): one for one in observed}
    for one in desired:
        key = tuple(one[key] for key in keys)
        found = _differs(one, there.get(key), "", "")
        if found is not None:
            return f"[{','.join(map(str, key))}]{found}"
    return None


def _is_empty(value: Any, field: str) -> bool:
    if value is False:
        return field not in _TRUE_WHEN_ABSENT
    return value is None or value == "" or (isinstance(value, dict | list | tuple) and not value)
