"""Which pod template a model runs on, and when it is rendered anew."""

from __future__ import annotations

import copy

from tests.unit.test_operator_build import FULL, MINIMAL, SETTINGS, deployment_of

from dragoman_operator.build import deployment
from dragoman_operator.names import REVISION_LABEL
from dragoman_operator.objects import Object, label
from dragoman_operator.revision import KEPT, Revision, choose, surplus
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment

UPGRADED = Settings(runtime_image="registry.example/dragoman:2.0.0")
IMMEDIATE = Settings(runtime_image="registry.example/dragoman:2.0.0", upgrade_policy="Immediate")
MD = deployment_of(MINIMAL)


def stored(md: ModelDeployment, revision: Revision) -> Object:
    return revision.stored_as(md)


def image_of(revision: Revision) -> str:
    return str(revision.template["spec"]["containers"][0]["image"])


FIRST = choose(MD, (), None, SETTINGS)


def test_an_upgrade_of_the_operator_changes_no_template() -> None:
    kept = choose(MD, [stored(MD, FIRST)], None, UPGRADED)
    assert kept == FIRST


def test_a_change_of_the_model_is_rendered_as_the_operator_is_now() -> None:
    changed = deployment_of({"model": {"uri": "s3://models/other.joblib"}})
    after = choose(changed, [stored(MD, FIRST)], None, UPGRADED)
    assert (after.number, image_of(after)) == (2, UPGRADED.runtime_image)
    assert after.name != FIRST.name


def test_scale_and_rollout_make_no_revision() -> None:
    for spec in ({"scale": {"replicas": 9}}, {"rollout": {"maxSurge": 2}}):
        assert deployment_of(MINIMAL | spec).asked == MD.asked


def test_every_part_of_model_serving_and_pod_makes_one() -> None:
    asked = {
        deployment_of(spec).asked for spec in (MINIMAL, FULL, MINIMAL | {"serving": {"workers": 2}}, MINIMAL | {"pod": {"image": "x"}})
    }
    assert len(asked) == 4


def test_going_back_takes_the_template_as_it_was() -> None:
    changed = deployment_of({"model": {"uri": "s3://models/other.joblib"}})
    second = choose(changed, [stored(MD, FIRST)], None, UPGRADED)
    back = choose(MD, [stored(MD, FIRST), stored(changed, second)], None, UPGRADED)
    assert (back.name, back.template, back.number) == (FIRST.name, FIRST.template, 1)


def test_a_refresh_renders_one_model_anew_and_its_removal_goes_back() -> None:
    refreshed = deployment_of(MINIMAL, annotations={"dragoman.dev/refresh": "2026-01-01"})
    second = choose(refreshed, [stored(MD, FIRST)], None, UPGRADED)
    assert image_of(second) == UPGRADED.runtime_image
    assert choose(refreshed, [stored(MD, FIRST), stored(refreshed, second)], None, UPGRADED) == second
    assert choose(MD, [stored(MD, FIRST), stored(refreshed, second)], None, UPGRADED).template == FIRST.template


def test_immediate_moves_a_model_once_and_then_lets_it_be() -> None:
    moved = choose(MD, [stored(MD, FIRST)], None, IMMEDIATE)
    assert moved.name != FIRST.name
    assert image_of(moved) == IMMEDIATE.runtime_image
    assert label(moved.template, REVISION_LABEL) == moved.name
    both = [stored(MD, FIRST), stored(MD, moved)]
    assert choose(MD, both, None, IMMEDIATE) == moved
    assert choose(MD, both, None, UPGRADED) == moved, "going back to OnChange must not go back to the template before"


def test_immediate_waits_while_others_are_moving() -> None:
    held = choose(MD, [stored(MD, FIRST)], None, IMMEDIATE, may_move=False)
    assert held.held
    assert held.template == FIRST.template


def test_immediate_moves_nothing_when_nothing_would_change() -> None:
    same = Settings(runtime_image=SETTINGS.runtime_image, upgrade_policy="Immediate")
    assert choose(MD, [stored(MD, FIRST)], None, same) == FIRST


def test_a_lost_template_is_rebuilt_from_the_live_deployment() -> None:
    live = copy.deepcopy(deployment(MD, FIRST.template))
    live["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"  # a default of the API server's
    rebuilt = choose(MD, (), live, UPGRADED)
    assert rebuilt.name == FIRST.name
    assert image_of(rebuilt) == SETTINGS.runtime_image, "its pods must not restart"


def test_a_lost_template_that_is_rendered_alike_today_is_rebuilt_without_defaults() -> None:
    live = copy.deepcopy(deployment(MD, FIRST.template))
    live["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    assert choose(MD, (), live, SETTINGS).template == FIRST.template


def test_the_live_deployment_of_another_spec_is_not_taken_for_a_lost_template() -> None:
    live = deployment(MD, FIRST.template)
    changed = deployment_of({"model": {"uri": "s3://models/other.joblib"}})
    assert image_of(choose(changed, (), live, UPGRADED)) == UPGRADED.runtime_image


def test_a_replaced_template_is_not_applied() -> None:
    forged = stored(MD, FIRST)
    forged["data"] = {"template": {**FIRST.template, "spec": {"hostNetwork": True, "containers": []}}}
    found = choose(MD, [forged], deployment(MD, FIRST.template), SETTINGS, known=(FIRST.name, FIRST.hash))
    assert found.forged
    assert found.template == FIRST.template


def test_the_last_few_revisions_are_kept_and_those_in_use() -> None:
    all_of_them = [stored(MD, Revision(f"r{number}", number, {})) for number in range(1, 11)]
    current = Revision("r10", 10, {})
    gone = surplus(all_of_them, current, used={"r2"})
    assert set(gone) == {"r1", "r3", "r4", "r5"}
    assert KEPT == 5
