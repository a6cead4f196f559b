"""kopf, for watching only: on.startup and on.event. No handler that would add finalizers, annotations, or a write for each object."""

from __future__ import annotations

from functools import partial
from typing import Any

import kopf

from dragoman_operator.engine import Engine
from dragoman_operator.kinds import CHILDREN, WATCHED, Kind
from dragoman_operator.names import MANAGED_BY, as_selector


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing: there is no handler that would want to know what has changed."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def registry_of(engine: Engine) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_via_client)
    kopf.on.startup(registry=registry)(partial(_start, engine))
    for kind in WATCHED:
        kopf.on.event(group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=registry)(
            partial(_seen, engine, kind)
        )
    return registry


async def _start(engine: Engine, settings: kopf.OperatorSettings, **_: Any) -> None:
    configure(settings)
    await engine.prime()


async def _seen(engine: Engine, kind: Kind, event: kopf.RawEvent, **_: Any) -> None:
    engine.seen(kind, event["type"], dict(event["object"]))


def configure(settings: kopf.OperatorSettings) -> None:
    """What ran, of all that was tried: docs/decisions has the measurements."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.queueing.idle_timeout = 0.05  # each object's worker holds its last event that long
    settings.watching.chunk_size = 50
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 90  # bookmarks come every minute
    settings.networking.request_timeout = 30
    for kind in CHILDREN:
        name = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        settings.watching.label_selectors[name] = as_selector(MANAGED_BY)
