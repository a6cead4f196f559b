"""What the other tests here rely on: that this is a real Kubernetes, and that they can reach what runs on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.prometheus import Prometheus
from tests.cluster.s3 import S3

Object = dict[str, Any]

CONTAINER: Object = {
    "imagePullPolicy": "IfNotPresent",
    "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    "resources": {"requests": {"memory": "32Mi", "cpu": "20m"}, "limits": {"memory": "128Mi", "cpu": "500m"}},  # there are two cores
}
POD: Object = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
}
# ends at once when it is told to, as process 1 does only if it says so
SERVER = """
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.test(http.server.SimpleHTTPRequestHandler, http.server.ThreadingHTTPServer, port=8000)
"""


def test_a_restricted_deployment_becomes_ready_and_answers_through_its_service(cluster: Cluster, namespace: str, base_image: str) -> None:
    cluster.apply(_web(namespace, base_image, replicas=2))
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")

    node = cluster.get("nodes")["items"][0]
    assert {each["type"]: each["status"] for each in node["status"]["conditions"]}["Ready"] == "True"
    pods = cluster.get("pods", "-n", namespace)["items"]
    assert [pod["status"]["containerStatuses"][0]["ready"] for pod in pods] == [True, True]
    assert httpx.get(f"http://{cluster.service('web', namespace)}/").status_code == 200


def test_a_pod_finds_services_by_name(cluster: Cluster, namespace: str, base_image: str) -> None:
    cluster.apply(_web(namespace, base_image))
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")

    ask = "import socket, urllib.request as r; print(socket.gethostbyname('web'), r.urlopen('http://web/').status)"
    printed = cluster.kubectl("exec", "-n", namespace, "deployment/web", "--", "python3", "-c", ask)

    assert printed.split() == [cluster.service("web", namespace), "200"]


def test_logs_of_a_pod_are_read(cluster: Cluster, namespace: str, base_image: str) -> None:
    cluster.apply(_job_pod(namespace, base_image, "print('seen in the logs')"))

    assert _ended(cluster, namespace)["exitCode"] == 0
    assert cluster.kubectl("logs", "-n", namespace, "job").strip() == "seen in the logs"


def test_a_pod_beyond_its_memory_limit_is_killed_and_says_so(cluster: Cluster, namespace: str, base_image: str) -> None:
    cluster.apply(_job_pod(namespace, base_image, "held = b'x' * 1_000_000_000"))

    state = _ended(cluster, namespace)

    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


def test_a_pod_goes_on_answering_for_its_prestop_sleep_after_it_left_its_service(cluster: Cluster, namespace: str, base_image: str) -> None:
    cluster.apply(_web(namespace, base_image))
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    pod = cluster.get("pods", "-n", namespace)["items"][0]

    cluster.kubectl("delete", "pod", "-n", namespace, pod["metadata"]["name"], "--wait=false")

    def left_its_service() -> bool:
        slices = cluster.get("endpointslices", "-n", namespace)["items"]
        endpoints = [each for piece in slices for each in piece["endpoints"] or [] if pod["status"]["podIP"] in each["addresses"]]
        return all(not each["conditions"]["ready"] for each in endpoints)

    _wait(left_its_service)
    assert httpx.get(f"http://{pod['status']['podIP']}:8000/").status_code == 200


def test_a_pod_reads_from_the_s3_server_with_credentials_from_a_secret(cluster: Cluster, namespace: str, base_image: str, s3: S3) -> None:
    (s3.bucket("models") / "greeting.txt").write_text("from S3", encoding="utf-8")
    cluster.apply(
        json.dumps(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-read", "namespace": namespace}, "stringData": s3.env},
        )
    )
    # without a client library in the image: an unsigned request is refused by the server itself, which proves that it was reached
    ask = """
import os, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/models/greeting.txt')
except urllib.error.HTTPError as refused:
    print(refused.code, os.environ['AWS_ACCESS_KEY_ID'])
"""
    cluster.apply(_job_pod(namespace, base_image, ask, envFrom=[{"secretRef": {"name": "s3-read"}}]))

    assert _ended(cluster, namespace)["exitCode"] == 0
    assert cluster.kubectl("logs", "-n", namespace, "job").split() == ["403", s3.access_key]


def test_prometheus_scrapes_a_pod_whose_annotations_say_so(
    cluster: Cluster, namespace: str, base_image: str, prometheus: Prometheus
) -> None:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "8000", "prometheus.io/path": "/metrics"}
    page = SERVER.replace("http.server.SimpleHTTPRequestHandler", "Page").replace("import http.server, os, signal", METRICS_PAGE)
    cluster.apply(_web(namespace, base_image, program=page, annotations=annotations))
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")

    _wait(lambda: bool(prometheus.query(f'answer{{namespace="{namespace}"}}')))
    ((labels, value),) = prometheus.query(f'answer{{namespace="{namespace}"}}')
    assert value == 42
    assert labels["pod"] == cluster.get("pods", "-n", namespace)["items"][0]["metadata"]["name"]


def test_an_autoscaler_has_figures_to_decide_from(cluster: Cluster, namespace: str, base_image: str) -> None:
    cluster.apply(_web(namespace, base_image, program="while True: pass", probed=False))
    cluster.kubectl("autoscale", "deployment", "web", "--cpu=50%", "--min=1", "--max=2", "-n", namespace)

    cluster.start_metrics_server()

    _wait(lambda: cluster.get("deployment", "web", "-n", namespace)["spec"]["replicas"] == 2, within_seconds=120)


def test_the_api_server_forgets_nothing_when_it_is_restarted(control_plane: Cluster) -> None:
    control_plane.kubectl("create", "configmap", "kept", "--from-literal=a=b")

    control_plane.restart("kube-apiserver")

    assert control_plane.get("configmap", "kept")["data"] == {"a": "b"}


def test_an_api_server_that_hangs_says_nothing_until_it_goes_on(control_plane: Cluster) -> None:
    with control_plane.paused("kube-apiserver"), pytest.raises(ClusterError, match=r"context deadline exceeded|Timeout"):
        control_plane.kubectl("get", "namespaces", "--request-timeout=1s")

    assert "default" in control_plane.kubectl("get", "namespaces")


def test_a_spec_that_admission_refuses_is_an_error_with_the_servers_words(cluster: Cluster, namespace: str, base_image: str) -> None:
    privileged = json.loads(_job_pod(namespace, base_image, "pass", securityContext={"privileged": True}))

    with pytest.raises(ClusterError, match='violates PodSecurity "restricted:latest"'):
        cluster.apply(json.dumps(privileged))


METRICS_PAGE = """
import http.server, os, signal
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/plain')
        self.end_headers()
        self.wfile.write(b'answer 42\\n')
"""


def _web(
    namespace: str,
    image: str,
    *,
    replicas: int = 1,
    program: str = SERVER,
    probed: bool = True,
    annotations: dict[str, str] | None = None,
) -> str:
    container = CONTAINER | {
        "name": "web",
        "image": image,
        "command": ["python3", "-c", program],
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    }
    if probed:
        container["readinessProbe"] = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": annotations or {}},
                "spec": POD | {"containers": [container]},
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment, service]})


def _job_pod(namespace: str, image: str, program: str, **fields: Any) -> str:
    """A pod that runs a program once."""
    container = CONTAINER | {"name": "job", "image": image, "command": ["python3", "-c", program]} | fields
    spec = POD | {"restartPolicy": "Never", "containers": [container]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": namespace}, "spec": spec})


def _ended(cluster: Cluster, namespace: str) -> Object:
    """The state in which the container of the pod `job` ended."""

    def states() -> list[Object]:
        statuses = cluster.get("pod", "job", "-n", namespace)["status"].get("containerStatuses", [])
        return [each["state"]["terminated"] for each in statuses if "terminated" in each["state"]]

    _wait(lambda: bool(states()))
    return states()[0]


def _wait(condition: Callable[[], bool], within_seconds: float = 60) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.2)
