"""What to do: desired × observed → actions, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from dragoman_operator.build import config_map, deployment, network_policy, pod_disruption_budget, service
from dragoman_operator.difference import difference
from dragoman_operator.kinds import BY_NAME, CONFIG_MAP, CONTROLLER_REVISION, OWNED, Kind
from dragoman_operator.names import REVISION_LABEL, of_revision
from dragoman_operator.objects import Object, controller_of, label, meta
from dragoman_operator.revision import Revision, surplus
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment

Observed = Mapping[tuple[Kind, str], Object]  # a model's children, by kind and name


class Verb(Enum):
    CREATE = "create"  # it is not in the caches: made, unless something of its name is there
    APPLY = "apply"  # it is ours: put right
    REPLACE = "replace"  # it is ours, and its content cannot be changed
    DELETE = "delete"  # it is ours, and no longer wanted
    WAIT = "wait"  # one of its name is on its way out


@dataclass(frozen=True)
class Action:
    verb: Verb
    kind: Kind
    name: str
    because: str
    body: Object | None = None  # what is desired
    uid: str = ""  # of what is replaced or deleted


def desired(md: ModelDeployment, revision: Revision, settings: Settings) -> list[Object]:
    """Everything that a model is made of, in the order in which it is written: the Deployment last."""
    objects = (
        config_map(md, revision.name),
        revision.stored_as(md),
        service(md),
        network_policy(md, settings),
        pod_disruption_budget(md),
        deployment(md, revision.template),
    )
    return [one for one in objects if one is not None]


def plan(md: ModelDeployment, revision: Revision, observed: Observed, used: set[str], settings: Settings) -> list[Action]:
    """The actions that bring `observed` to what `md` asks for; none when it is so already. `used` are the revisions that pods run on."""
    wanted = desired(md, revision, settings)
    actions = [action for one in wanted if (action := _towards(md, one, observed, revision)) is not None]
    names = {(BY_NAME[one["kind"]], one["metadata"]["name"]) for one in wanted}
    return actions + list(_away(md, revision, observed, names, used))


def _towards(md: ModelDeployment, body: Object, observed: Observed, revision: Revision) -> Action | None:
    kind, name = BY_NAME[body["kind"]], body["metadata"]["name"]
    there = observed.get((kind, name))
    if there is None:
        return Action(Verb.CREATE, kind, name, "it is missing", body)
    if not controls(md, there):
        former = (controller_of(there) or {}).get("name") == md.name and (controller_of(there) or {}).get("kind") == "ModelDeployment"
        return Action(Verb.WAIT if former else Verb.CREATE, kind, name, "it belongs to another owner", body)
    if meta(there).get("deletionTimestamp"):
        return Action(Verb.WAIT, kind, name, "it is being deleted", body)
    path = difference(body, there)
    if kind is CONTROLLER_REVISION and revision.forged:
        path = "data"
    if path is None:
        return None
    return Action(Verb.REPLACE if kind.create_only else Verb.APPLY, kind, name, f"{path} differs", body, uid=meta(there)["uid"])


def _away(md: ModelDeployment, revision: Revision, observed: Observed, wanted: set[tuple[Kind, str]], used: set[str]) -> Iterable[Action]:
    stored = [one for (kind, _), one in observed.items() if kind is CONTROLLER_REVISION and controls(md, one)]
    gone = {of_revision(md, name) for name in surplus(stored, revision, used)}
    kept = {of_revision(md, label(one, REVISION_LABEL)) for one in stored} - gone
    for kind, name in observed:
        one = observed[kind, name]
        if (kind, name) in wanted or kind not in OWNED or not controls(md, one) or meta(one).get("deletionTimestamp"):
            continue
        of_a_revision = kind in (CONFIG_MAP, CONTROLLER_REVISION)
        if of_a_revision and (name in kept or label(one, REVISION_LABEL) in used):
            continue
        because = "the revision is among the last few no more" if of_a_revision else "it is not wanted any more"
        yield Action(Verb.DELETE, kind, name, because, uid=meta(one)["uid"])


def controls(md: ModelDeployment, obj: Object) -> bool:
    """Whether an object is this very ModelDeployment's: by uid, so that a namesake's is not."""
    return (controller_of(obj) or {}).get("uid") == md.uid
