"""What the watches have told: every watched object, as JSON, by kind, namespace and name.

Kept encoded: a decoded Deployment takes ten times the memory, and is needed for a moment only. What is never looked at
(managedFields, most of a pod) is not kept. A copy that is older than the one held is ignored, whichever way it comes: by a watch, by a
list, or as the answer to a write of our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from dragoman_operator.kinds import MODEL_DEPLOYMENT, POD, WATCHED, Kind
from dragoman_operator.names import MODEL_LABEL
from dragoman_operator.objects import Key, Object, label, meta, version_of

_GRAVES = 4096  # deleted objects that are remembered, so that a late copy does not bring one back


class Entry(NamedTuple):
    version: int
    uid: str
    owner: Key
    encoded: bytes


class Cache:
    def __init__(self) -> None:
        self._entries: dict[Kind, dict[Key, Entry]] = {kind: {} for kind in WATCHED}
        self._children: dict[Key, set[tuple[Kind, Key]]] = {}
        self._graves: dict[str, None] = {}

    def put(self, kind: Kind, obj: Object) -> Key | None:
        """Keep an object if it is news: the ModelDeployment that it belongs to; None when it was known, or is outdated."""
        key, version, uid = Key(meta(obj).get("namespace", ""), meta(obj)["name"]), version_of(obj), meta(obj)["uid"]
        held = self._entries[kind].get(key)
        if uid in self._graves or (held is not None and version <= held.version):
            return None
        owner = owner_of(kind, obj)
        if owner is None:
            return None
        if held is not None and held.owner != owner:
            self._forget(kind, key)
        trimmed = _trimmed(kind, obj)
        encoded = msgspec.json.encode(trimmed)
        self._entries[kind][key] = Entry(version, uid, owner, encoded)
        if kind is not MODEL_DEPLOYMENT:
            self._children.setdefault(owner, set()).add((kind, key))
        return owner

    def drop(self, kind: Kind, key: Key, uid: str) -> Key | None:
        """Forget a deleted object: the ModelDeployment that it belonged to; None when it was not held."""
        self._bury(uid)
        held = self._entries[kind].get(key)
        if held is None or held.uid != uid:
            return None
        self._forget(kind, key)
        return held.owner

    def get(self, kind: Kind, key: Key) -> Object | None:
        held = self._entries[kind].get(key)
        return None if held is None else msgspec.json.decode(held.encoded)

    def children(self, owner: Key) -> Iterator[tuple[Kind, Object]]:
        """What carries a ModelDeployment's label, whoever made it."""
        for kind, key in sorted(self._children.get(owner, ()), key=lambda one: (one[0].plural, one[1])):
            yield kind, msgspec.json.decode(self._entries[kind][key].encoded)

    def keys(self, kind: Kind) -> Iterable[Key]:
        return list(self._entries[kind])

    def versions(self, kind: Kind) -> dict[Key, tuple[str, int]]:
        """(uid, resourceVersion) of every object of a kind."""
        return {key: (entry.uid, entry.version) for key, entry in self._entries[kind].items()}

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def _forget(self, kind: Kind, key: Key) -> None:
        held = self._entries[kind].pop(key)
        children = self._children.get(held.owner)
        if children is not None:
            children.discard((kind, key))
            if not children:
                del self._children[held.owner]

    def _bury(self, uid: str) -> None:
        self._graves[uid] = None
        if len(self._graves) > _GRAVES:
            del self._graves[next(iter(self._graves))]


def owner_of(kind: Kind, obj: Object) -> Key | None:
    """The ModelDeployment that an object concerns; None when it concerns none."""
    if kind is MODEL_DEPLOYMENT:
        return Key(meta(obj)["namespace"], meta(obj)["name"])
    name = label(obj, MODEL_LABEL)
    return Key(meta(obj)["namespace"], name) if name else None


_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_METADATA_OF_PODS = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels")


def _trimmed(kind: Kind, obj: Object) -> Object:
    metadata = meta(obj)
    if kind is POD:
        return {"metadata": {name: metadata[name] for name in _METADATA_OF_PODS if name in metadata}, "status": obj.get("status") or {}}
    kept = {name: metadata[name] for name in (*_METADATA, "labels", "annotations", "ownerReferences") if name in metadata}
    return {**obj, "apiVersion": kind.api_version, "kind": kind.name, "metadata": kept}  # the items of a list say neither
