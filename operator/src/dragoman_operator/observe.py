"""What the cluster holds for one ModelDeployment: from the caches, not from requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dragoman_operator.cache import Cache
from dragoman_operator.kinds import CONTROLLER_REVISION, DEPLOYMENT, POD, Kind
from dragoman_operator.names import REVISION_LABEL
from dragoman_operator.objects import Key, Object, label, meta


@dataclass(frozen=True)
class World:
    """A ModelDeployment's children."""

    objects: Mapping[tuple[Kind, str], Object] = field(default_factory=dict)  # by kind and name, pods aside
    pods: tuple[Object, ...] = ()  # as pods go: created first, first

    def deployment(self, name: str) -> Object | None:
        return self.objects.get((DEPLOYMENT, name))

    @property
    def stored_revisions(self) -> list[Object]:
        return [one for (kind, _), one in self.objects.items() if kind is CONTROLLER_REVISION]

    def has_revision(self, name: str) -> bool:
        return any(label(one, REVISION_LABEL) == name for one in self.stored_revisions)

    @property
    def used_revisions(self) -> set[str]:
        return {label(pod, REVISION_LABEL) for pod in self.pods}

    def with_objects(self, changed: Mapping[tuple[Kind, str], Object | None]) -> World:
        """After writes: what they returned laid over what was observed."""
        objects = {ref: one for ref, one in {**self.objects, **changed}.items() if one is not None}
        return World(objects, self.pods)


def observe(cache: Cache, key: Key) -> World:
    objects: dict[tuple[Kind, str], Object] = {}
    pods: list[Object] = []
    for kind, obj in cache.children(key):
        if kind is POD:
            pods.append(obj)
        else:
            objects[kind, meta(obj)["name"]] = obj
    pods.sort(key=lambda pod: (meta(pod).get("creationTimestamp", ""), meta(pod)["name"]))
    return World(objects, tuple(pods))
