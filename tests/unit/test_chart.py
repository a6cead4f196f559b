"""The chart, as helm renders it: golden YAML for every case of a matrix, and what holds it to the operator's own code."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import xgboost
import yaml
from conftest import Golden
from tests.cluster.binaries import built
from tests.cluster.errors import NotHere
from tests.support.chart import CHART, MATRIX, Case, Object, named, of_kind, render, template

from dragoman.manifest import load
from dragoman_operator import build, leader, names, settings, spec
from dragoman_operator.kinds import MODEL_DEPLOYMENT, OWNED, POD, Kind

REPOSITORY = CHART.parents[1]
EVERY_CASE = pytest.mark.parametrize("case", MATRIX)


class Plain(yaml.SafeDumper):
    """Without anchors: what is the same twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@pytest.fixture(scope="module")
def helm() -> Path:
    try:
        return built("helm")
    except NotHere as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def rendered(helm: Path) -> Mapping[str, list[Object]]:
    return {name: render(helm, case) for name, case in MATRIX.items()}


@EVERY_CASE
def test_what_is_rendered_is_what_a_person_has_read(rendered: Mapping[str, list[Object]], case: str, golden: Golden) -> None:
    others = [found for found in rendered[case] if found["kind"] != "CustomResourceDefinition"]
    golden.check(f"chart/{case}.yaml", yaml.dump_all(others, Dumper=Plain, sort_keys=False, width=120))


def test_the_copy_of_the_crd_and_the_table_of_values_are_current() -> None:
    done = subprocess.run((sys.executable, REPOSITORY / "tools" / "chart.py", "--check"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_versions_are_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    dists = [tomllib.loads((REPOSITORY / dist / "pyproject.toml").read_text())["project"]["version"] for dist in ("runtime", "operator")]
    assert dists == [chart["appVersion"]] * 2


class TestDefinition:
    @pytest.mark.parametrize(("case", "policy"), [("default", {"helm.sh/resource-policy": "keep"}), ("full", {})])
    def test_it_is_the_one_in_crds(self, rendered: Mapping[str, list[Object]], case: str, policy: Object) -> None:
        (crd,) = of_kind(rendered[case], "CustomResourceDefinition")
        source = yaml.safe_load((REPOSITORY / "crds" / "modeldeployments.yaml").read_text())
        assert crd["metadata"].pop("annotations") == policy
        crd["metadata"].pop("labels")
        assert crd == source

    def test_it_can_be_left_out(self, rendered: Mapping[str, list[Object]]) -> None:
        assert of_kind(rendered["bare"], "CustomResourceDefinition") == []


class TestValues:
    def test_each_has_a_place_in_the_schema(self) -> None:
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        assert sorted(_closed(schema)) == sorted(_groups(values, _closed(schema)))
        for path, known in _closed(schema).items():
            assert set(_at(values, path)) == known - {"global"}, path

    def test_a_misspelt_key_is_refused_wherever_it_stands(self, helm: Path) -> None:
        schema = json.loads((CHART / "values.schema.json").read_text())
        for path in _closed(schema):
            values: Object = {"misspelt": 1}
            for part in reversed(path):
                values = {part: values}
            refused = template(helm, Case(values))
            assert refused.returncode != 0, path
            assert "misspelt" in refused.stderr, path

    @pytest.mark.parametrize(
        "values",
        [
            {"codeFormats": "Require"},
            {"upgradePolicy": "Always"},
            {"image": {"registry": ""}},
            {"runtime": {"image": "without-a-tag"}},
            {"operator": {"namespaces": "team-a"}},
            {"operator": {"replicas": "two"}},
            {"operator": {"leaseSeconds": 1}},
            {"scrapers": ["monitoring"]},
        ],
        ids=str,
    )
    def test_a_wrong_value_is_refused(self, helm: Path, values: Object) -> None:
        refused = template(helm, Case(values))
        assert refused.returncode != 0
        assert next(iter(values)) in refused.stderr


class TestOperatorSettings:
    @EVERY_CASE
    def test_every_variable_is_one_that_the_operator_reads(self, rendered: Mapping[str, list[Object]], case: str) -> None:
        known = {f"DRAGOMAN_{name.upper()}" for name in settings.Settings.__struct_fields__}
        assert set(_environment(rendered[case])) <= known

    def test_the_values_reach_the_operator(self, rendered: Mapping[str, list[Object]]) -> None:
        read = settings.read(_environment(rendered["full"]))
        assert read == settings.Settings(
            runtime_image="registry.example.com/runtime@sha256:" + "ab" * 32,
            runtime_image_pull_policy="Always",
            image_pull_secrets=("registry", "mirror"),
            operator_namespace="metadata.namespace",
            identity="metadata.name",
            code_formats="Deny",
            pod_image="Allow",
            upgrade_policy="Immediate",
            upgrade_concurrency=10,
            monitoring_from=tuple(MATRIX["full"].values["scrapers"]),
            egress=tuple(MATRIX["full"].values["networkPolicy"]["egress"]),
            workers=16,
            connections=4,
            resync_seconds=300,
            lease_seconds=30,
            log_level="DEBUG",
        )

    def test_left_alone_they_are_the_operators_own_defaults(self, rendered: Mapping[str, list[Object]]) -> None:
        read = settings.read(_environment(rendered["default"]))
        scrapers = ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},)
        assert read == settings.Settings(
            runtime_image="localhost/dragoman-runtime:0.1.0",
            runtime_image_pull_policy="IfNotPresent",
            operator_namespace="metadata.namespace",
            identity="metadata.name",
            monitoring_from=scrapers,
        )

    def test_namespaces_and_no_scrapers(self, rendered: Mapping[str, list[Object]]) -> None:
        assert settings.read(_environment(rendered["namespaced"])).namespaces == ("team-a", "team-b")
        bare = settings.read(_environment(rendered["bare"]))
        assert (bare.network_policy, bare.monitoring_from, bare.runtime_image_pull_policy) == (False, (), "")


class TestWhatTheOperatorExpects:
    @pytest.mark.parametrize("case", ["default", "own-namespace", "full"])
    def test_models_network_policies_let_its_pods_in(self, rendered: Mapping[str, list[Object]], case: str) -> None:
        read = settings.read(_environment(rendered[case]) | {"DRAGOMAN_OPERATOR_NAMESPACE": MATRIX[case].namespace})
        policy = build.network_policy(_model(), read)
        assert policy is not None
        (management,) = [rule for rule in policy["spec"]["ingress"] if rule.get("from")]
        peer = management["from"][0]
        assert peer["podSelector"]["matchLabels"].items() <= _operator(rendered[case])["template"]["metadata"]["labels"].items()
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": MATRIX[case].namespace}

    def test_the_pod_monitor_selects_models_and_names_their_port(self, rendered: Mapping[str, list[Object]]) -> None:
        (monitor,) = of_kind(rendered["full"], "PodMonitor")
        pod = build.pod_template(_model(), "abc", settings.Settings(runtime_image="runtime:1"))
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert set(monitor["spec"]["podTargetLabels"]) <= set(pod["metadata"]["labels"])
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]

    def test_the_service_monitor_selects_the_operators_service(self, rendered: Mapping[str, list[Object]]) -> None:
        (monitor,), (service,) = of_kind(rendered["full"], "ServiceMonitor"), of_kind(rendered["full"], "Service")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert service["spec"]["selector"].items() <= _operator(rendered["full"])["template"]["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]

    @pytest.mark.parametrize("case", ["default", "own-namespace"])
    def test_monitors_are_left_out_where_the_cluster_does_not_know_them(self, rendered: Mapping[str, list[Object]], case: str) -> None:
        assert {found["apiVersion"].partition("/")[0] for found in rendered[case]}.isdisjoint({"monitoring.coreos.com"})

    def test_the_tiny_model_answers_as_helm_test_expects(self, rendered: Mapping[str, list[Object]], tmp_path: Path) -> None:
        config = named(rendered["default"], "ConfigMap", "dragoman-test-model")
        (tmp_path / "model.json").write_text(config["data"]["model.json"])
        booster = xgboost.Booster(model_file=str(tmp_path / "model.json"))
        assert booster.predict(xgboost.DMatrix([[3.0], [30.0]], feature_names=["x"])).tolist() == [0, 1]

    @EVERY_CASE
    def test_the_tests_model_deployment_is_valid(self, rendered: Mapping[str, list[Object]], case: str, tmp_path: Path) -> None:
        (md,) = of_kind(rendered[case], "ModelDeployment")
        (tmp_path / "md.yaml").write_text(yaml.safe_dump(md))
        assert [found.name for found in load(tmp_path / "md.yaml")] == [md["metadata"]["name"]]
        served = MATRIX[case].values.get("operator", {}).get("namespaces") or [md["metadata"]["namespace"]]
        assert md["metadata"]["namespace"] in served
        read = spec.read({**md, "metadata": {**md["metadata"], "uid": "1"}})
        assert isinstance(read, spec.ModelDeployment)
        assert spec.check(read, settings.read(_environment(rendered[case]))) is None


class TestRights:
    """What the operator's code does with each kind is what its roles allow: no less, and no more."""

    def test_they_are_those_that_its_code_uses(self, rendered: Mapping[str, list[Object]]) -> None:
        allowed = _allowed(named(rendered["default"], "ClusterRole", "dragoman-dragoman-system")["rules"])
        own = {(kind.group, kind.plural): {"get", "list", "watch", "create", "patch", "delete"} for kind in OWNED}
        assert allowed == own | {
            _of(MODEL_DEPLOYMENT): {"get", "list", "watch"},
            (names.GROUP, "modeldeployments/status"): {"patch"},
            (names.GROUP, "modeldeployments/finalizers"): {"update"},
            _of(POD): {"get", "list", "watch"},
            ("", "events"): {"create"},
        }

    def test_the_lease_is_its_own_and_no_other(self, rendered: Mapping[str, list[Object]]) -> None:
        rules = named(rendered["default"], "Role", "dragoman-lease")["rules"]
        assert [(rule.get("resourceNames"), rule["verbs"]) for rule in rules] == [(None, ["create"]), ([leader.NAME], ["get", "update"])]

    def test_with_namespaces_nothing_is_allowed_in_the_cluster(self, rendered: Mapping[str, list[Object]]) -> None:
        objects = rendered["namespaced"]
        assert of_kind(objects, "ClusterRoleBinding") == []
        assert {role["metadata"]["name"].rpartition("-")[2] for role in of_kind(objects, "ClusterRole")} == {"view", "edit"}
        roles = [role for role in of_kind(objects, "Role") if not role["metadata"]["name"].endswith("-lease")]
        assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
        cluster_wide = named(rendered["default"], "ClusterRole", "dragoman-dragoman-system")["rules"]
        assert [role["rules"] for role in roles] == [cluster_wide] * 2

    @EVERY_CASE
    def test_every_binding_names_a_role_and_an_account_that_are_there(self, rendered: Mapping[str, list[Object]], case: str) -> None:
        objects = rendered[case]
        account = _operator(objects)["template"]["spec"]["serviceAccountName"]
        for binding in (*of_kind(objects, "RoleBinding"), *of_kind(objects, "ClusterRoleBinding")):
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": MATRIX[case].namespace}]
            roles = of_kind(objects, binding["roleRef"]["kind"])
            places = [(role["metadata"]["name"], role["metadata"].get("namespace")) for role in roles]
            assert (binding["roleRef"]["name"], binding["metadata"].get("namespace")) in places

    def test_the_admission_policy_is_about_all_that_the_operator_writes(self, rendered: Mapping[str, list[Object]]) -> None:
        (policy,) = of_kind(rendered["full"], "ValidatingAdmissionPolicy")
        rules = policy["spec"]["matchConstraints"]["resourceRules"]
        assert {(rule["apiGroups"][0], plural) for rule in rules for plural in rule["resources"]} == {_of(kind) for kind in OWNED}
        assert policy["spec"]["matchConditions"][0]["expression"].endswith("== 'system:serviceaccount:dragoman-system:operator'")
        text = json.dumps(policy["spec"]["variables"])
        ((label, value),) = names.MANAGED_BY.items()
        assert f"o.metadata.labels['{label}'] == '{value}'" in text
        assert f"'{names.MODEL_LABEL}' in o.metadata.labels" in text
        assert f"owner.kind == '{names.KIND}'" in text
        assert f"startsWith('{names.GROUP}/')" in text


@EVERY_CASE
def test_every_pod_satisfies_the_restricted_standard(rendered: Mapping[str, list[Object]], case: str) -> None:
    pods = [_operator(rendered[case])["template"]["spec"], *(pod["spec"] for pod in of_kind(rendered[case], "Pod"))]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert {volume_kind for volume in pod.get("volumes", ()) for volume_kind in volume if volume_kind != "name"} <= {"emptyDir"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@EVERY_CASE
def test_the_selector_never_changes(rendered: Mapping[str, list[Object]], case: str) -> None:
    selector = _operator(rendered[case])["selector"]["matchLabels"]
    assert selector == {"app.kubernetes.io/name": "dragoman-operator", "app.kubernetes.io/instance": MATRIX[case].release}
    assert selector.items() <= _operator(rendered[case])["template"]["metadata"]["labels"].items()


def _operator(objects: list[Object]) -> Object:
    (deployment,) = of_kind(objects, "Deployment")
    spec: Object = deployment["spec"]
    return spec


def _environment(objects: list[Object]) -> dict[str, str]:
    """The operator's variables; one that comes from a field of the pod has the field's path."""
    (container,) = _operator(objects)["template"]["spec"]["containers"]
    return {one["name"]: one["value"] if "value" in one else one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]}


def _model() -> spec.ModelDeployment:
    metadata = {"name": "iris", "namespace": "science", "uid": "1"}
    read = spec.read({"metadata": metadata, "spec": {"model": {"uri": "s3://models/iris.joblib"}}})
    assert isinstance(read, spec.ModelDeployment)
    return read


def _allowed(rules: list[Object]) -> dict[tuple[str, str], set[str]]:
    return {(group, plural): set(rule["verbs"]) for rule in rules for group in rule["apiGroups"] for plural in rule["resources"]}


def _of(kind: Kind) -> tuple[str, str]:
    return kind.group, kind.plural


def _closed(schema: Object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], set[str]]:
    """The objects of a schema that take no other keys, and the keys that each takes. Every object that names its keys must be one."""
    found: dict[tuple[str, ...], set[str]] = {}
    if "properties" in schema:
        assert schema.get("additionalProperties") is False, path
        found[path] = set(schema["properties"])
        for name, below in schema["properties"].items():
            found |= _closed(below, (*path, name))
    return found


def _groups(values: Object, closed: Mapping[tuple[str, ...], set[str]]) -> Iterator[tuple[str, ...]]:
    return (path for path in closed if isinstance(_at(values, path), dict))


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        values = values[part]
    return values
