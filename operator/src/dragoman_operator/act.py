"""Carries out the actions of a plan. What belongs to somebody else is never written, whatever its name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from dragoman_operator.cache import Cache
from dragoman_operator.difference import difference
from dragoman_operator.errors import Conflict, Forbidden, Invalid, NotFound, Reason, Violation
from dragoman_operator.kinds import Kind
from dragoman_operator.kube import Kube
from dragoman_operator.names import KIND
from dragoman_operator.objects import Object, controller_of, digest, version_of
from dragoman_operator.plan import Action, Verb, controls
from dragoman_operator.spec import ModelDeployment

logger = logging.getLogger(__name__)

Ref = tuple[Kind, str]


class Refusal(Exception):
    """Ends a round of actions, with what its user is to know."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass
class Outcome:
    """What came of a plan: the objects as they are now (None: gone), and what kept the rest from being done."""

    objects: dict[Ref, Object | None] = field(default_factory=dict)
    violation: Violation | None = None


class Actor:
    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache
        self._accepted: dict[str, tuple[int, str]] = {}  # by uid: (resourceVersion, digest of what was applied)

    async def act(self, md: ModelDeployment, actions: Sequence[Action]) -> Outcome:
        """One after the other; the first that is refused ends the round. Raises `KubeError` for what is worth trying again."""
        outcome = Outcome()
        for action in actions:
            try:
                result = await self._carry_out(md, action)
            except Refusal as refusal:
                outcome.violation = refusal.violation
                return outcome
            except Invalid as error:
                outcome.violation = Violation(Reason.INVALID_SPEC, f"the API server does not take the {_title(action)}: {error}")
                return outcome
            except Forbidden as error:
                outcome.violation = Violation(Reason.REFUSED, f"the API server refuses the {_title(action)}: {error}")
                return outcome
            outcome.objects[action.kind, action.name] = result
            if result is not None:
                self._cache.put(action.kind, result)
        if actions:
            done = "; ".join(f"{action.verb.value} {_title(action)}: {action.because}" for action in actions)
            logger.info("%s", done, extra={"key": str(md.key)})
        return outcome

    def accepted(self, action: Action, there: Object | None) -> bool:
        """Whether the API server was given exactly this before and stored it in its own way, unchanged since: then it is settled."""
        if there is None or action.verb is not Verb.APPLY:
            return False
        return self._accepted.get(action.uid) == (version_of(there), digest(action.body))

    async def _carry_out(self, md: ModelDeployment, action: Action) -> Object | None:
        match action.verb:
            case Verb.WAIT:
                raise Refusal(Violation(Reason.TERMINATING_FORMER, f"the {_title(action)} of a former owner is being deleted"))
            case Verb.CREATE:
                return await self._create(md, action)
            case Verb.APPLY:
                return await self._apply(action, action.uid)
            case Verb.REPLACE:
                await self._delete(md, action)
                return await self._create(md, action)
            case Verb.DELETE:
                await self._delete(md, action)
                return None

    async def _create(self, md: ModelDeployment, action: Action) -> Object:
        body = _body(action)
        if action.kind.create_only:
            try:
                return await self._kube.create(action.kind, body)
            except Conflict:
                return await self._adopt(md, action, await self._kube.get(action.kind, md.namespace, action.name))
        there = await self._look(md, action) if action.kind.look_first else None
        if there is None:
            try:
                return await self._kube.apply(action.kind, body, force=False)
            except Conflict:  # its selector, which is one value, belongs to whoever made it
                there = await self._kube.get(action.kind, md.namespace, action.name)
        return await self._adopt(md, action, there)

    async def _look(self, md: ModelDeployment, action: Action) -> Object | None:
        try:
            return await self._kube.get(action.kind, md.namespace, action.name)
        except NotFound:
            return None

    async def _adopt(self, md: ModelDeployment, action: Action, there: Object) -> Object:
        """Something of its name is there that the caches do not hold: ours again if it is ours, else left untouched."""
        if not controls(md, there):
            owner = controller_of(there) or {}
            if (owner.get("kind"), owner.get("name")) == (KIND, md.name):
                raise Refusal(Violation(Reason.TERMINATING_FORMER, f"the {_title(action)} of a former owner is being deleted"))
            raise Refusal(Violation(Reason.NAME_TAKEN, _taken(md, action, owner.get("kind", ""), owner.get("name", ""))))
        uid = there["metadata"]["uid"]
        if not action.kind.create_only:
            return await self._apply(action, uid)
        if difference(_body(action), there) is None:
            return there
        await self._kube.delete(action.kind, md.namespace, action.name, uid)
        return await self._kube.create(action.kind, _body(action))

    async def _apply(self, action: Action, uid: str) -> Object:
        """By force, but only onto the very object that is ours: the uid is a precondition."""
        body = _body(action)
        result = await self._kube.apply(action.kind, {**body, "metadata": {**body["metadata"], "uid": uid}}, force=True)
        if difference(body, result) is None:
            self._accepted.pop(uid, None)
        else:
            self._accepted[uid] = (version_of(result), digest(body))
        return result

    async def _delete(self, md: ModelDeployment, action: Action) -> None:
        try:
            await self._kube.delete(action.kind, md.namespace, action.name, action.uid)
        except (NotFound, Conflict) as error:
            logger.debug("%s is gone already: %s", _title(action), error)
        self._cache.drop(action.kind, md.key._replace(name=action.name), action.uid)


def _body(action: Action) -> Object:
    if action.body is None:
        raise ValueError(f"{action.verb} {action.name} has no body")
    return action.body


def _title(action: Action) -> str:
    return f"{action.kind.name} {action.name}"


def _taken(md: ModelDeployment, action: Action, owner_kind: str, owner: str) -> str:
    whose = f"belongs to {owner_kind} {owner}" if owner else f"is not this {KIND}'s"
    return f"a {_title(action)} is there already and {whose}: delete or rename it, or give the {KIND} another name (it is now {md.name})"
