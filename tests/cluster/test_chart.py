"""The chart against a real API server: everything it renders is valid, its roles and its policy hold, and it comes, changes and goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.binaries import built
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.operating import Models, await_crd, eventually, operator
from tests.cluster.schemas import write_schemas
from tests.support.chart import CHART, MATRIX, Object, render

MONITORING = "monitoring.coreos.com"
NAMESPACE = "chart"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:dragoman"
LABELS = {"app.kubernetes.io/managed-by": "dragoman-operator", "dragoman.dev/modeldeployment": "iris"}
MODEL: Object = {
    "apiVersion": "dragoman.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "iris", "namespace": NAMESPACE},
    "spec": {"model": {"uri": "s3://models/iris.onnx"}},
}


@pytest.fixture(scope="module")
def schemas(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the API server says of its kinds, as kubeconform reads it."""
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(json.loads(control_plane.kubectl("get", "--raw", "/openapi/v2")), folder)
    return folder


@pytest.fixture(scope="module")
def installed(control_plane: Cluster) -> Iterator[Cluster]:
    """The chart with its defaults; there is no node, so its pods stay away."""
    control_plane.helm("install", "dragoman", str(CHART), "--namespace", NAMESPACE, "--create-namespace")
    await_crd(control_plane)
    control_plane.apply(json.dumps(MODEL))
    yield control_plane
    control_plane.kubectl("delete", "crd", "modeldeployments.dragoman.dev", "--ignore-not-found", "--wait=false")
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_helm_has_nothing_to_say_against_it(control_plane: Cluster) -> None:
    control_plane.helm("lint", "--strict", str(CHART), "--kube-version", "1.30.0")


@pytest.mark.parametrize("case", MATRIX)
def test_every_object_is_as_its_schema_says(control_plane: Cluster, schemas: Path, case: str) -> None:
    objects = [found for found in render(built("helm"), MATRIX[case]) if not found["apiVersion"].startswith(MONITORING)]
    skipped = "CustomResourceDefinition,ModelDeployment"  # the first has a schema of schemas; the second's is in the first
    command = (
        built("kubeconform"),
        "-strict",
        "-summary",
        "-skip",
        skipped,
        "-schema-location",
        f"{schemas}/{{{{.ResourceKind}}}}.json",
        "-",
    )
    control_plane.run(*command, stdin=yaml.safe_dump_all(objects))


def test_a_misspelt_field_would_be_found(control_plane: Cluster, schemas: Path) -> None:
    (service,) = [found for found in render(built("helm"), MATRIX["default"]) if found["kind"] == "Service"]
    service["spec"]["port"] = 1
    with pytest.raises(ClusterError, match="exit code 1"):
        control_plane.run(
            built("kubeconform"), "-strict", "-schema-location", f"{schemas}/{{{{.ResourceKind}}}}.json", "-", stdin=json.dumps(service)
        )


@pytest.mark.parametrize("case", MATRIX)
def test_the_api_server_takes_every_object(installed: Cluster, case: str) -> None:
    objects = [found for found in render(built("helm"), MATRIX[case]) if not found["apiVersion"].startswith(MONITORING)]
    for namespace in {found["metadata"].get("namespace") for found in objects} - {None, NAMESPACE}:
        installed.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
    told = installed.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects)
    )
    assert len(told.splitlines()) == len(objects)


def test_the_notes_name_the_next_commands(installed: Cluster) -> None:
    notes = installed.helm("get", "notes", "dragoman", "-n", NAMESPACE)
    assert "helm test dragoman -n chart" in notes
    assert "dragoman digest ./model.joblib" in notes
    assert "kubectl wait -n chart --for=condition=Ready md/iris" in notes


@pytest.mark.parametrize("what", ["secrets", "serviceaccounts/token", "pods/exec", "pods/log", "nodes", "roles.rbac.authorization.k8s.io"])
@pytest.mark.parametrize("verb", ["get", "list", "create", "update", "patch", "delete"])
def test_the_operator_may_not(installed: Cluster, verb: str, what: str) -> None:
    assert _may(installed, ACCOUNT, f"{verb} {what}") == "no"


@pytest.mark.parametrize(
    "what", ["create modeldeployments", "patch modeldeployments", "create pods", "delete pods", "update deployments.apps"]
)
def test_nor_may_it(installed: Cluster, what: str) -> None:
    assert _may(installed, ACCOUNT, what) == "no"


@pytest.mark.parametrize(
    "what", ["list deployments.apps", "watch pods", "create controllerrevisions.apps", "patch modeldeployments/status"]
)
def test_the_operator_may(installed: Cluster, what: str) -> None:
    assert _may(installed, ACCOUNT, what) == "yes"


@pytest.mark.parametrize(
    ("role", "what", "answer"),
    [
        ("view", "get modeldeployments", "yes"),
        ("view", "create modeldeployments", "no"),
        ("view", "patch modeldeployments/scale", "no"),
        ("edit", "create modeldeployments", "yes"),
        ("edit", "patch modeldeployments/scale", "yes"),
        ("edit", "watch modeldeployments", "yes"),
        ("edit", "patch modeldeployments/status", "no"),
        ("admin", "delete modeldeployments", "yes"),
    ],
)
def test_the_clusters_roles_know_model_deployments(installed: Cluster, role: str, what: str, answer: str) -> None:
    installed.kubectl("create", "rolebinding", f"{role}-user", f"--clusterrole={role}", f"--user={role}-user", "-n", NAMESPACE, check=False)
    eventually(lambda: _may(installed, f"{role}-user", what) == answer, what="a controller has put the roles together")


class TestAdmissionPolicy:
    """Written as the operator's account, as a stolen token of its could."""

    @pytest.fixture
    def owner(self, installed: Cluster) -> list[Object]:
        uid = installed.get("md", "iris", "-n", NAMESPACE)["metadata"]["uid"]
        return [{"apiVersion": MODEL["apiVersion"], "kind": MODEL["kind"], "name": "iris", "uid": uid, "controller": True}]

    def test_ours_is_written_changed_and_deleted(self, installed: Cluster, owner: list[Object]) -> None:
        _as_operator(installed, "create", _config_map("ours", labels=LABELS, ownerReferences=owner))
        _as_operator(installed, "apply", _config_map("ours", labels=LABELS, ownerReferences=owner, annotations={"changed": "yes"}))
        installed.kubectl("delete", "configmap", "ours", "-n", NAMESPACE, f"--as={ACCOUNT}")

    @pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/managed-by": "Helm", "dragoman.dev/modeldeployment": "iris"}])
    def test_without_our_labels_nothing_is_created(self, installed: Cluster, owner: list[Object], labels: dict[str, str]) -> None:
        with pytest.raises(ClusterError, match="writes only objects that carry its labels"):
            _as_operator(installed, "create", _config_map("other", labels=labels, ownerReferences=owner))

    def test_without_a_model_deployment_nothing_is_created(self, installed: Cluster) -> None:
        with pytest.raises(ClusterError, match="that a ModelDeployment controls"):
            _as_operator(installed, "create", _config_map("other", labels=LABELS))

    def test_somebody_elses_is_neither_changed_nor_deleted(self, installed: Cluster, owner: list[Object]) -> None:
        installed.apply(json.dumps(_config_map("theirs")))
        with pytest.raises(ClusterError, match="leaves alone what is not labelled as its own"):
            _as_operator(installed, "apply", _config_map("theirs", labels=LABELS, ownerReferences=owner))
        with pytest.raises(ClusterError, match="leaves alone what is not labelled as its own"):
            installed.kubectl("delete", "configmap", "theirs", "-n", NAMESPACE, f"--as={ACCOUNT}")
        assert "labels" not in installed.get("configmap", "theirs", "-n", NAMESPACE)["metadata"]

    def test_labels_that_somebody_took_away_are_put_back(self, installed: Cluster, owner: list[Object]) -> None:
        installed.apply(json.dumps(_config_map("bare", ownerReferences=owner)))
        _as_operator(installed, "apply", _config_map("bare", labels=LABELS, ownerReferences=owner))
        assert installed.get("configmap", "bare", "-n", NAMESPACE)["metadata"]["labels"] == LABELS

    def test_others_are_not_held_to_it(self, installed: Cluster) -> None:
        installed.apply(json.dumps(_config_map("anybodys")))


class TestTheOperatorWithTheseRights:
    """A real one, as the account that the chart makes, and held by the policy."""

    @pytest.fixture(params=["cluster", "namespaced"])
    def release(self, installed: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
        """(The release's namespace, the operator's value of DRAGOMAN_NAMESPACES.)"""
        if request.param == "cluster":
            yield NAMESPACE, ""
            return
        installed.kubectl("create", "namespace", "served", check=False)
        values = "crds.enabled=false,operator.namespaces={served}"
        installed.helm("install", "dragoman", str(CHART), "--namespace", "narrow", "--create-namespace", "--set", values)
        yield "narrow", "served"
        installed.helm("uninstall", "dragoman", "--namespace", "narrow")

    def test_it_makes_and_mends_and_takes_away(self, installed: Cluster, release: tuple[str, str], tmp_path: Path) -> None:
        home, served = release
        namespace = served or NAMESPACE
        models = Models(installed, namespace)
        models.apply("rights", {"model": {"uri": "s3://models/iris.onnx"}, "scale": {"replicas": 2}})
        settings = {"NAMESPACES": served, "OPERATOR_NAMESPACE": home}
        account = _kubeconfig(installed, home, tmp_path)
        with operator(installed, namespace, tmp_path / "log", settings=settings, kubeconfig=account) as running:
            models.await_reason("rights", "WaitingForPods", 30)
            assert models.get("deployment", "rights")
            models.patch("service", "rights", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
            eventually(lambda: _managed(models.get("service", "rights")), 15, what="the Service has its label back")
            models.patch("md", "rights", {"spec": {"scale": {"replicas": 1}}})
            eventually(lambda: models.get("poddisruptionbudget", "rights") is None, 15, what="no budget for a single pod")
            assert running.running
        refused = [line for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines() if "orbidden" in line or "denied" in line]
        assert refused == []
        models.delete("md", "rights")


def test_it_is_upgraded_and_uninstalled_and_models_stay(installed: Cluster) -> None:
    before = installed.get("md", "iris", "-n", NAMESPACE)["metadata"]["uid"]
    installed.helm("upgrade", "dragoman", str(CHART), "--namespace", NAMESPACE, "--set", "operator.logLevel=DEBUG,allowPodImage=true")
    deployment = installed.get("deployment", "dragoman", "-n", NAMESPACE)
    environment = {one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (environment["DRAGOMAN_LOG_LEVEL"], environment["DRAGOMAN_POD_IMAGE"]) == ("DEBUG", "Allow")

    installed.helm("uninstall", "dragoman", "--namespace", NAMESPACE)
    assert installed.get("md", "iris", "-n", NAMESPACE)["metadata"]["uid"] == before
    assert (
        installed.kubectl("get", "clusterroles,validatingadmissionpolicies", "-l", "app.kubernetes.io/part-of=dragoman", "-o", "name") == ""
    )

    installed.helm("install", "dragoman", str(CHART), "--namespace", NAMESPACE)
    assert installed.get("md", "iris", "-n", NAMESPACE)["metadata"]["uid"] == before


def _may(cluster: Cluster, user: str, what: str) -> str:
    """Whether somebody may do something, `patch modeldeployments/scale`, in the namespace: yes or no."""
    asked, _, subresource = what.partition("/")
    options = (f"--subresource={subresource}",) if subresource else ()
    return cluster.kubectl("auth", "can-i", *asked.split(), *options, "-n", NAMESPACE, f"--as={user}", check=False).strip()


def _config_map(name: str, **metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE, **metadata}}


def _as_operator(cluster: Cluster, verb: str, body: Object) -> None:
    options = ("--server-side", "--force-conflicts", "--field-manager=dragoman-operator") if verb == "apply" else ()
    cluster.kubectl(verb, *options, "-f", "-", f"--as={ACCOUNT}", stdin=json.dumps(body))


def _managed(found: Object | None) -> bool:
    return found is not None and found["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "dragoman-operator"


def _kubeconfig(cluster: Cluster, namespace: str, folder: Path) -> Path:
    """The operator's account's."""
    found = json.loads(cluster.kubeconfig.read_text(encoding="utf-8"))
    found["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "dragoman", "-n", namespace).strip()}
    file = folder / "kubeconfig"
    file.write_text(json.dumps(found), encoding="utf-8")
    return file
