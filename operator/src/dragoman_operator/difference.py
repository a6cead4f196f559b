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


def difference(desired: Any, observed: Any, path: str = "") -> str | None:
    """The first place where `observed` lacks what `desired` says, as a path; None when it covers all of it."""
    field = path.rpartition(".")[2]
    if observed is None and _is_empty(desired, field):
        return None
    if isinstance(desired, dict):
        return _of_objects(desired, observed, path)
    if isinstance(desired, list | tuple):
        return _of_lists(list(desired), observed, path, field)
    if desired == observed and isinstance(desired, bool) == isinstance(observed, bool):
        return None
    if _is_quantity(path) and observed is not None and quantity(desired) == quantity(observed) is not None:
        return None
    return path or "."


def _of_objects(desired: dict[str, Any], observed: Any, path: str) -> str | None:
    if not isinstance(observed, dict):
        return path or "."
    if path.rpartition(".")[2] in _ATOMIC and not observed.keys() <= desired.keys():
        return path
    for name, value in desired.items():
        found = difference(value, observed.get(name), f"{path}.{name}" if path else name)
        if found is not None:
            return found
    return None


def _of_lists(desired: list[Any], observed: Any, path: str, field: str) -> str | None:
    if not isinstance(observed, list):
        return path
    for keys in _MERGE_KEYS.get(field, ()):
        if all(isinstance(one, dict) and all(key in one for key in keys) for one in (*desired, *observed)):
            return _by_key(desired, observed, keys, path)
    if len(desired) != len(observed):
        return path
    return next((d for i, pair in enumerate(zip(desired, observed, strict=True)) if (d := difference(*pair, f"{path}[{i}]"))), None)


def _by_key(desired: list[Any], observed: list[Any], keys: tuple[str, ...], path: str) -> str | None:
    there = {tuple(one[key] for key in keys): one for one in observed}
    for one in desired:
        key = tuple(one[key] for key in keys)
        found = difference(one, there.get(key), f"{path}[{','.join(map(str, key))}]")
        if found is not None:
            return found
    return None


def _is_empty(value: Any, field: str) -> bool:
    if value is False:
        return field not in _TRUE_WHEN_ABSENT
    return value is None or value == "" or (isinstance(value, dict | list | tuple) and not value)


def _is_quantity(path: str) -> bool:
    *_, parent, field = ["", *path.split(".")]
    return parent in _QUANTITIES or field in _QUANTITIES
