"""One ModelDeployment: observe → desired → plan → act → status → when to look again.

Level-triggered: it looks at the world as it is, whatever woke it, and is right to run at any time, any number of times.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dragoman_operator.act import Actor, Outcome
from dragoman_operator.cache import Cache
from dragoman_operator.errors import KubeError, NotFound, Reason, Violation
from dragoman_operator.kinds import DEPLOYMENT, EVENT, MODEL_DEPLOYMENT
from dragoman_operator.kube import Kube, event
from dragoman_operator.moves import Moves
from dragoman_operator.objects import Key, Object, asked_of, meta
from dragoman_operator.observe import World, observe
from dragoman_operator.plan import Action, Verb, plan
from dragoman_operator.probe import Prober
from dragoman_operator.revision import Revision, choose
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment, check, read
from dragoman_operator.status import Seen, merge_patch, refusal, status

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = {Reason.TERMINATING_FORMER: 2.0, Reason.NAME_TAKEN: 15.0, Reason.REFUSED: 30.0, Reason.INVALID_SPEC: 120.0}
"""When to look again, where nothing that is watched would say that the cause is gone."""
_HELD_SECONDS = 10.0
_SETTLE_SECONDS = 0.2  # after acting: controllers answer within that time, and a status written before would be outdated at once


class Reconciler:
    def __init__(self, kube: Kube, cache: Cache, prober: Prober, settings: Settings, now: Callable[[], str]) -> None:
        self._kube, self._cache, self._prober, self._settings, self._now = kube, cache, prober, settings, now
        self._actor = Actor(kube, cache)
        self._moves = Moves(settings.upgrade_concurrency)
        self._settling: set[Key] = set()  # acted on, and not told yet: once in a row, so that whoever works against us delays no status

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until it should be looked at again; None when it is no more. Raises `KubeError` for what is worth trying again."""
        obj = self._cache.get(MODEL_DEPLOYMENT, key)
        if obj is None or meta(obj).get("deletionTimestamp"):
            self._prober.watch(key, ())
            self._moves.forget(key)
            self._settling.discard(key)
            return None
        md = read(obj)
        if isinstance(md, Violation):
            current = await self._tell(obj, refusal(obj, md, self._now()), ())
            return self._settings.resync_seconds if current else 0.0
        world = observe(self._cache, key)
        self._prober.watch(key, world.pods)
        revision, actions, outcome = await self._bring_about(md, obj, world)
        corrections = _corrections(obj, actions) if outcome.violation is None else ()
        if actions and outcome.violation is None and not corrections and key not in self._settling:
            self._settling.add(key)
            return _SETTLE_SECONDS
        self._settling.discard(key)
        seen = Seen(
            revision=revision,
            deployment=world.with_objects(outcome.objects).deployment(md.name),
            pods=world.pods,
            reports=self._prober.reports(world.pods),
            violation=outcome.violation,
        )
        found = status(md, seen, obj.get("status") or {}, self._now())
        self._moves.note(key, moving=_moved(md, revision) and not _is_ready(found))
        current = await self._tell(obj, found, corrections)
        return self._when(outcome.violation, revision) if current else 0.0

    async def _bring_about(self, md: ModelDeployment, obj: Object, world: World) -> tuple[Revision | None, Sequence[Action], Outcome]:
        """Choose the revision and do what is lacking. A spec that cannot be acted on leaves everything as it is."""
        violation = check(md, self._settings)
        if violation is not None:
            return None, (), Outcome(violation=violation)
        told = obj.get("status") or {}
        revision = choose(
            md,
            world.stored_revisions,
            world.deployment(md.name),
            self._settings,
            known=(told.get("revision", ""), told.get("revisionHash", "")),
            may_move=self._moves.may_start(md.key),
        )
        if _moved(md, revision) and not world.has_revision(revision.name):
            self._moves.note(md.key, moving=True)
        actions = [
            action
            for action in plan(md, revision, world.objects, world.used_revisions, self._settings)
            if not self._actor.accepted(action, world.objects.get((action.kind, action.name)))
        ]
        return revision, actions, await self._actor.act(md, actions)

    async def _tell(self, obj: Object, found: Object, corrections: Sequence[Object]) -> bool:
        """One patch, if anything changed; then events, of transitions only. Whether what was reconciled is still what is asked for:

        the answer to a patch may hold a change of the spec, and then no watch and no audit will bring it as news.
        """
        current = True
        previous = obj.get("status") or {}
        patch = merge_patch(previous, found)
        if patch:
            body = {"metadata": {"uid": meta(obj)["uid"]}, "status": patch}
            try:
                stored = await self._kube.patch_status(MODEL_DEPLOYMENT, *_place(obj), body)
            except NotFound:
                return True
            self._cache.put(MODEL_DEPLOYMENT, stored)
            current = asked_of(stored) == asked_of(obj)
        for one in (*_transition(previous, found), *corrections):
            await self._post(obj, **one)
        return current

    async def _post(self, obj: Object, *, warning: bool, reason: str, message: str) -> None:
        reporter, now = self._settings.identity, self._now()
        body = event(obj, MODEL_DEPLOYMENT, warning=warning, reason=reason, message=message, now=now, reporter=reporter)
        try:
            await self._kube.create(EVENT, body)
        except KubeError as error:  # an event is a courtesy: status has said it
            logger.warning("the event %s could not be posted: %s", reason, error, extra={"key": "/".join(_place(obj))})

    def _when(self, violation: Violation | None, revision: Revision | None) -> float:
        if violation is not None and violation.reason in _AGAIN_SECONDS:
            return _AGAIN_SECONDS[violation.reason]
        if revision is not None and revision.held:
            return _HELD_SECONDS
        return self._settings.resync_seconds * random.uniform(0.8, 1.2)


def _moved(md: ModelDeployment, revision: Revision | None) -> bool:
    """Whether the upgrade policy, and not the user, asked for this revision."""
    return revision is not None and revision.name != md.asked


def _place(obj: Object) -> tuple[str, str]:
    return meta(obj)["namespace"], meta(obj)["name"]


def _ready_condition(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((one for one in told.get("conditions") or () if one["type"] == "Ready"), {})


def _is_ready(told: Mapping[str, Any]) -> bool:
    return _ready_condition(told).get("status") == "True"


def _is_failing(told: Mapping[str, Any]) -> bool:
    failed = bool((told.get("model") or {}).get("failure"))
    return failed or any(one["type"] == "Stalled" and one["status"] == "True" for one in told.get("conditions") or ())


def _transition(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Object]:
    """The event of becoming ready, or of failing for another reason than before; steps on the way are in status only."""
    was, is_now = _ready_condition(before), _ready_condition(after)
    if (was.get("status"), was.get("reason")) == (is_now["status"], is_now["reason"]):
        return []
    if is_now["status"] == "True":
        return [{"warning": False, "reason": is_now["reason"], "message": is_now["message"]}]
    return [{"warning": True, "reason": is_now["reason"], "message": is_now["message"]}] if _is_failing(after) else []


def _corrections(obj: Object, actions: Sequence[Action]) -> list[Object]:
    """Events of what was put right though nobody had changed the ModelDeployment: somebody is working against the operator."""
    told = obj.get("status") or {}
    if told.get("observedGeneration") != meta(obj).get("generation") or not _is_ready(told):
        return []
    found: list[Object] = []
    for action in actions:
        if action.verb is Verb.DELETE:
            continue
        message = f"{action.kind.name} {action.name} was put right: {action.because}"
        if action.kind is DEPLOYMENT and action.because.startswith("spec.replicas "):
            message += "; a HorizontalPodAutoscaler must aim at the ModelDeployment, not at its Deployment"
        found.append({"warning": True, "reason": "Corrected", "message": message})
    return found
