"""What is done, and above all what is not: desired × observed → actions."""

from __future__ import annotations

import copy
from typing import Any

from tests.unit.test_operator_build import MINIMAL, SETTINGS, deployment_of

from dragoman_operator.kinds import (
    BY_NAME,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    NETWORK_POLICY,
    OWNED,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    Kind,
)
from dragoman_operator.objects import Object
from dragoman_operator.plan import Action, Verb, desired, plan
from dragoman_operator.revision import Revision, choose
from dragoman_operator.spec import ModelDeployment

MD = deployment_of(MINIMAL | {"scale": {"replicas": 2}})
FIRST = choose(MD, (), None, SETTINGS)


def settled(md: ModelDeployment = MD, revision: Revision = FIRST) -> dict[tuple[Kind, str], Object]:
    """The cluster after everything was written."""
    found: dict[tuple[Kind, str], Object] = {}
    for number, one in enumerate(map(copy.deepcopy, desired(md, revision, SETTINGS))):
        one["metadata"] |= {"uid": f"uid-{number}", "resourceVersion": "1"}
        found[BY_NAME[one["kind"]], one["metadata"]["name"]] = one
    return found


def planned(observed: Any, md: ModelDeployment = MD, revision: Revision = FIRST, used: set[str] | None = None) -> list[Action]:
    return plan(md, revision, observed, used or set(), SETTINGS)


def test_a_settled_cluster_needs_nothing() -> None:
    assert planned(settled()) == []


def test_everything_is_made_and_the_deployment_last() -> None:
    actions = planned({})
    assert {action.verb for action in actions} == {Verb.CREATE}
    assert [action.kind for action in actions] == list(OWNED)


def test_drift_is_put_right_where_it_is() -> None:
    observed = settled()
    observed[DEPLOYMENT, "iris"]["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"
    (action,) = planned(observed)
    assert (action.verb, action.kind) == (Verb.APPLY, DEPLOYMENT)
    assert action.because == "spec.template.spec.containers[model].image differs"


def test_what_cannot_be_changed_is_replaced() -> None:
    observed = settled()
    name = f"iris-{FIRST.name}"
    observed[CONFIG_MAP, name]["data"] = {}
    observed[CONTROLLER_REVISION, name]["metadata"]["labels"].pop("app.kubernetes.io/part-of")
    assert [(a.verb, a.kind) for a in planned(observed)] == [(Verb.REPLACE, CONFIG_MAP), (Verb.REPLACE, CONTROLLER_REVISION)]


def test_a_forged_template_is_replaced() -> None:
    (action,) = planned(settled(), revision=Revision(FIRST.name, FIRST.number, FIRST.template, forged=True))
    assert (action.verb, action.kind) == (Verb.REPLACE, CONTROLLER_REVISION)


def test_an_object_of_another_owner_is_never_applied_by_force() -> None:
    observed = settled()
    observed[SERVICE, "iris"]["metadata"]["ownerReferences"][0] |= {"uid": "other", "kind": "Release", "name": "web"}
    (action,) = planned(observed)
    assert action.verb is Verb.CREATE, "which looks again, and is refused"


def test_what_a_deleted_namesake_left_is_waited_for() -> None:
    observed = settled()
    observed[SERVICE, "iris"]["metadata"]["ownerReferences"][0]["uid"] = "the former"
    (action,) = planned(observed)
    assert action.verb is Verb.WAIT


def test_what_is_being_deleted_is_waited_for() -> None:
    observed = settled()
    observed[DEPLOYMENT, "iris"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    (action,) = planned(observed)
    assert action.verb is Verb.WAIT


def test_a_budget_goes_when_one_replica_is_left() -> None:
    single = deployment_of(MINIMAL)
    actions = planned(settled(), md=single)
    assert [(a.verb, a.kind) for a in actions] == [(Verb.APPLY, DEPLOYMENT), (Verb.DELETE, POD_DISRUPTION_BUDGET)]


def test_objects_that_only_carry_our_labels_are_left_alone() -> None:
    observed = settled()
    observed[SERVICE, "iris-canary"] = {"metadata": {"name": "iris-canary", "uid": "x", "labels": {}}}
    observed[NETWORK_POLICY, "mine"] = {"metadata": {"name": "mine", "uid": "y", "ownerReferences": [{"uid": "z", "controller": True}]}}
    assert planned(observed) == []


def test_old_revisions_go_but_not_those_that_pods_still_run_on() -> None:
    observed = settled()
    for number in range(1, 8):
        old = Revision(f"old{number}", -number, FIRST.template)
        name = f"iris-{old.name}"
        for ref, one in settled(revision=old).items():
            if ref[1] == name:
                one["metadata"]["uid"] = f"{name}-{ref[0].name}"
                observed[ref] = one
    gone = {a.name for a in planned(observed, used={"old6"}) if a.verb is Verb.DELETE}
    assert gone == {"iris-old5", "iris-old7"}
    assert {a.kind for a in planned(observed, used={"old6"})} == {CONFIG_MAP, CONTROLLER_REVISION}
