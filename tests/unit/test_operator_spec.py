"""What the operator reads of a ModelDeployment and of its own environment, and what it refuses."""

from __future__ import annotations

import pytest
from tests.unit.test_operator_build import MINIMAL, SETTINGS, deployment_of, manifest

from dragoman_operator.errors import InvalidSettings, Reason, Violation
from dragoman_operator.moves import Moves
from dragoman_operator.objects import Key, Object
from dragoman_operator.settings import Settings, read
from dragoman_operator.spec import check
from dragoman_operator.spec import read as read_spec


def test_a_field_that_a_newer_crd_has_passes_unread() -> None:
    md = deployment_of(MINIMAL | {"serving": {"novel": 1}, "novel": {}})
    assert md.written["serving"] == {"novel": 1}


def test_what_cannot_be_read_is_named_by_its_path() -> None:
    found = read_spec(manifest({"model": {"uri": "s3://m"}, "scale": {"replicas": "two"}}))
    assert found == Violation(Reason.INVALID_SPEC, "expected `int`, got `str`", "spec.scale.replicas")


@pytest.mark.parametrize(
    ("pod", "path", "words"),
    [
        ({"image": "own:1"}, "spec.pod.image", "allowPodImage"),
        ({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}, "spec.pod.resources", "more than its limit 1500m"),
        ({"resources": {"requests": {"memory": "lots"}}}, "spec.pod.resources", "must be a quantity"),
        (
            {"volumes": [{"name": "a", "mountPath": "/mnt/x"}, {"name": "b", "mountPath": "/mnt/x/"}]},
            "spec.pod.volumes",
            "two volumes are mounted at /mnt/x",
        ),
    ],
)
def test_what_the_schema_cannot_catch_is_refused(pod: Object, path: str, words: str) -> None:
    found = check(deployment_of(MINIMAL | {"pod": pod}), SETTINGS)
    assert found is not None
    assert (found.reason, found.path) == (Reason.INVALID_SPEC, path)
    assert words in found.message


def test_an_own_image_is_allowed_where_the_installation_says_so() -> None:
    md = deployment_of(MINIMAL | {"pod": {"image": "own:1"}})
    assert check(md, Settings(runtime_image="x", pod_image="Allow")) is None


def test_settings_come_from_the_environment() -> None:
    found = read(
        {
            "DRAGOMAN_RUNTIME_IMAGE": "dragoman:1",
            "DRAGOMAN_NAMESPACES": "a, b",
            "DRAGOMAN_MONITORING_FROM": '[{"podSelector": {}}]',
            "DRAGOMAN_NETWORK_POLICY": "false",
            "DRAGOMAN_WORKERS": "3",
            "HOSTNAME": "operator-0",
        }
    )
    assert found == Settings(
        runtime_image="dragoman:1",
        namespaces=("a", "b"),
        monitoring_from=({"podSelector": {}},),
        network_policy=False,
        workers=3,
        identity="operator-0",
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "runtime_image"),
        ({"DRAGOMAN_UPGRADE_POLICY": "Now"}, "DRAGOMAN_UPGRADE_POLICY"),
        ({"DRAGOMAN_WORKERS": "many"}, "DRAGOMAN_WORKERS"),
        ({"DRAGOMAN_EGRESS": "{"}, "DRAGOMAN_EGRESS"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(environment: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        read({"DRAGOMAN_RUNTIME_IMAGE": "x"} | environment if environment else {})


def test_only_a_few_models_move_at_a_time_and_failing_ones_hold_up_the_others() -> None:
    a, b, c = (Key("n", name) for name in "abc")
    moves = Moves(2)
    moves.note(a, moving=True)
    moves.note(b, moving=True)
    assert not moves.may_start(c)
    assert moves.may_start(a), "one on its way goes on"
    moves.note(a, moving=False)
    assert moves.may_start(c)
