"""What the installed operator can and cannot do: as its own account, against the API server that it works with."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cluster.errors import ClusterError
from tests.cluster.installed import NAMESPACE, Release, Store, await_ready, enter_storage, install
from tests.cluster.operating import Models, Object
from tests.cluster.s3 import S3

OF_TEAM = "team-a-system"
SERVED, ELSEWHERE = "team-a", "team-b"


def may(release: Release, verb: str, what: str, *where: str) -> str:
    """`kubectl auth can-i`, of the operator's account."""
    return release.cluster.kubectl("auth", "can-i", verb, what, *where, f"--as={release.account}", check=False).strip()


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "patch", "delete"])
def test_the_operator_has_no_way_to_secrets(release: Release, models: Models, verb: str) -> None:
    for where in (("-A",), ("-n", models.namespace), ("-n", release.namespace)):
        assert may(release, verb, "secrets", *where) == "no"
    assert may(release, "create", "pods/exec", "-n", models.namespace) == "no"


def test_its_account_cannot_change_what_is_not_ours(release: Release, models: Models) -> None:
    """Not even with its whole rights on Deployments, Services and ConfigMaps."""
    assert may(release, "patch", "deployments.apps", "-n", models.namespace) == "yes"
    theirs = _config_map(models.namespace)
    models.cluster.apply(json.dumps(theirs))
    as_operator = ("-n", models.namespace, f"--as={release.account}")
    with pytest.raises(ClusterError, match="leaves alone what is not labelled as its own"):
        models.cluster.kubectl("delete", "configmap/theirs", *as_operator)
    with pytest.raises(ClusterError, match="writes only objects that carry its labels"):
        models.cluster.kubectl("annotate", "configmap/theirs", "a=b", *as_operator)
    theirs["metadata"]["name"] = "made-by-a-thief"
    with pytest.raises(ClusterError, match="writes only objects that carry its labels"):
        models.cluster.kubectl("create", "-f", "-", *as_operator, stdin=json.dumps(theirs))
    assert (models.get("configmap", "theirs") or {})["data"] == {"whose": "theirs"}


def test_pods_hold_no_token_and_run_as_restricted_asks(release: Release, models: Models, store: Store) -> None:
    models.apply("held", store.twice().spec())
    await_ready(models, ["held"])
    look = """
import os
print(os.getuid() != 0, os.path.exists('/var/run/secrets/kubernetes.io'), os.access('/', os.W_OK))
print([name for name in os.environ if name.endswith('_SERVICE_HOST')])
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')))
"""
    printed = models.cluster.kubectl("exec", "-n", models.namespace, "deployment/held", "--", "python", "-c", look).splitlines()
    user, services, capabilities = printed
    assert user.split() == ["True", "False", "False"]
    assert services == "['KUBERNETES_SERVICE_HOST']"  # which Kubernetes always sets; its own Service's is not there
    assert int(capabilities, 16) == 0


@pytest.fixture
def team(release: Release, s3: S3) -> Iterator[Release]:
    """Another release, for one namespace; the other one rests meanwhile."""
    cluster = release.cluster
    for namespace in (SERVED, ELSEWHERE):
        cluster.make_namespace(namespace)
        enter_storage(cluster, namespace, s3)
    release.scale(0)
    try:
        installed = install(cluster, "dragoman", OF_TEAM, {"operator": {"namespaces": [SERVED]}, "crds": {"enabled": False}})
        yield installed
        installed.uninstall()
    finally:
        release.scale(1)
        cluster.kubectl("delete", "namespace", SERVED, ELSEWHERE, OF_TEAM, "--wait=false")


def test_in_namespaced_mode_it_stays_in_its_namespace(team: Release, release: Release, store: Store) -> None:
    assert may(team, "create", "deployments.apps", "-n", SERVED) == "yes"
    for namespace in (ELSEWHERE, "default", NAMESPACE, "kube-system"):
        assert may(team, "create", "deployments.apps", "-n", namespace) == "no"
        assert may(team, "list", "modeldeployments", "-n", namespace) == "no"
    served, elsewhere = Models(team.cluster, SERVED), Models(team.cluster, ELSEWHERE)
    for models in (elsewhere, served):
        models.apply("iris", store.twice().spec())
    await_ready(served, ["iris"])
    assert elsewhere.status("iris") == {}
    assert elsewhere.get("deployment", "iris") is None

    release.scale(1)  # the one of the whole cluster sees at its return what was asked for meanwhile
    await_ready(elsewhere, ["iris"])


def _config_map(namespace: str) -> Object:
    metadata = {"name": "theirs", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"whose": "theirs"}}
