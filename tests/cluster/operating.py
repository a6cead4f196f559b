"""The operator as a process of its own, against an API server: started, stopped, killed, asked for its metrics."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError

from tests.cluster.cluster import Cluster

CRD = Path(__file__).parents[2] / "crds" / "modeldeployments.yaml"
T = TypeVar("T")
Object = dict[str, Any]


def install_crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    await_crd(cluster)


def await_crd(cluster: Cluster) -> None:
    """Until the API server serves it; `kubectl wait` gives up on a CRD that has no conditions yet."""
    established = "jsonpath={.status.conditions[?(@.type=='Established')].status}"
    crd = ("get", "crd", "modeldeployments.dragoman.dev", "-o", established)
    eventually(lambda: cluster.kubectl(*crd, check=False) == "True", 30, what="the CRD is established")


def eventually(look: Callable[[], T], seconds: float = 20.0, *, what: str = "") -> T:
    """Asks again until the answer is truthy, and gives it."""
    give_up = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds:.0f} s: {what or look}")
        time.sleep(0.1)


@dataclass
class Operator:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def get(self, path: str) -> str:
        """What the health port answers; "" while nothing does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except (URLError, OSError):
            return ""

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(float(line.rpartition(" ")[2]) for line in self.get("/metrics").splitlines() if re.match(rf"{name}[ {{]", line))

    @property
    def leads(self) -> bool:
        return self.metric("dragoman_operator_leader") == 1

    @property
    def writes(self) -> float:
        """Writes sent, the lease's aside."""
        lines = [one for one in self.get("/metrics").splitlines() if one.startswith("dragoman_operator_writes_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if 'kind="Lease"' not in line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """As Kubernetes does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextmanager
def operator(
    cluster: Cluster,
    namespace: str,
    log: Path,
    *,
    settings: Mapping[str, str] | None = None,
    kubeconfig: Path | None = None,
    command: tuple[str, ...] = (sys.executable, "-m", "dragoman_operator"),
) -> Iterator[Operator]:
    """In namespaced mode, so that several tests share a cluster. `settings` are DRAGOMAN_… variables without that prefix."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    chosen = {
        "RUNTIME_IMAGE": "registry.example/dragoman:1.0.0",
        "NAMESPACES": namespace,
        "OPERATOR_NAMESPACE": namespace,
        "IDENTITY": f"operator-{port}",
        "HEALTH_PORT": str(port),
        "AUDIT_SECONDS": "5",
        **(settings or {}),
    }
    environment = cluster.env | {f"DRAGOMAN_{name}": value for name, value in chosen.items()}
    if kubeconfig is not None:
        environment["KUBECONFIG"] = str(kubeconfig)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment | {"PYTHONUNBUFFERED": "1"}, stdout=output, stderr=output, cwd=Path(__file__).parents[2]
        )
    running = Operator(process, port, log)
    try:
        yield running
    finally:
        if running.running:
            running.kill()


class Models:
    """ModelDeployments of one namespace, as a user with kubectl has them."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def apply(self, name: str, spec: Object, **metadata: Any) -> None:
        """Raises `ClusterError` with the API server's message when it is refused."""
        body = {
            "apiVersion": "dragoman.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": spec,
        }
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))

    def get(self, kind: str, name: str) -> Object | None:
        text = self.cluster.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found")
        found: Object | None = json.loads(text) if text.strip() else None
        return found

    def uid(self, kind: str, name: str) -> str:
        """ "" while there is none."""
        return str((self.get(kind, name) or {"metadata": {"uid": ""}})["metadata"]["uid"])

    def is_replaced(self, kind: str, name: str, uid: str) -> bool:
        return self.uid(kind, name) not in ("", uid)

    def every(self, kind: str) -> list[Object]:
        found: list[Object] = json.loads(self.cluster.kubectl("get", kind, "-n", self.namespace, "-o", "json"))["items"]
        return found

    def status(self, name: str) -> Object:
        return (self.get("md", name) or {}).get("status") or {}

    def condition(self, name: str, kind: str = "Ready") -> tuple[str, str]:
        """(status, reason), of the current generation; ("", "") before."""
        found = self.get("md", name) or {}
        status = found.get("status") or {}
        if status.get("observedGeneration") != found.get("metadata", {}).get("generation"):
            return "", ""
        return next(((c["status"], c["reason"]) for c in status.get("conditions", ()) if c["type"] == kind), ("", ""))

    def await_reason(self, name: str, reason: str, seconds: float = 20.0) -> Object:
        """Until Ready has this reason; the status then."""
        try:
            eventually(lambda: self.condition(name)[1] == reason, seconds)
        except AssertionError:
            raise AssertionError(f"{name} is {self.condition(name)}, not {reason}: {self.status(name)}") from None
        return self.status(name)

    def patch(self, kind: str, name: str, patch: Object, *arguments: str) -> None:
        self.cluster.kubectl("patch", kind, name, "-n", self.namespace, "--type=merge", "-p", json.dumps(patch), *arguments)

    def delete(self, kind: str, name: str) -> None:
        self.cluster.kubectl("delete", kind, name, "-n", self.namespace, "--wait=false")

    def pods(self, name: str) -> list[Object]:
        text = self.cluster.kubectl("get", "pods", "-n", self.namespace, "-l", f"dragoman.dev/modeldeployment={name}", "-o", "json")
        found: list[Object] = json.loads(text)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def run_pods(self, name: str, container: Object | None = None, *, ready: bool = True, address: str = "", only: str = "") -> None:
        """Stand in for the kubelet: what it would say of every pod that there is. Where there is no node, nobody else does."""
        for pod in [pod for pod in self.pods(name) if only in ("", pod["metadata"]["name"])]:
            told = {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}] if address else [],
                "conditions": [
                    {"type": kind, "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
                    for kind in ("Ready", "ContainersReady")
                ],
                "containerStatuses": [
                    {
                        "name": "model",
                        "image": "dragoman",
                        "imageID": "dragoman",
                        "ready": ready,
                        "restartCount": 0,
                        "containerID": f"test://{pod['metadata']['uid']}",
                        "state": {"running": {}},
                        **(container or {}),
                    }
                ],
            }
            name_, patch = pod["metadata"]["name"], json.dumps({"status": told})
            self.cluster.kubectl(  # unchecked: the pod may be gone by now
                "patch", "pod", name_, "-n", self.namespace, "--type=merge", "-p", patch, "--subresource=status", check=False
            )

    def await_pods(self, name: str, count: int, seconds: float = 20.0) -> list[Object]:
        eventually(lambda: len(self.pods(name)) == count, seconds, what=f"{count} pods of {name}")
        return self.pods(name)

    def make_ready(self, name: str, seconds: float = 30.0) -> Object:
        """Run every pod that comes until the model is Ready; its status then."""

        def ready() -> bool:
            if self.condition(name)[0] == "True":
                return True
            waiting = [pod for pod in self.pods(name) if not _is_ready(pod)]
            if waiting:
                self.run_pods(name)
            return False

        eventually(ready, seconds, what=f"{name} Ready: {self.status(name)}")
        return self.status(name)

    def versions(self) -> dict[tuple[str, str], str]:
        """resourceVersion of everything of ours."""
        kinds = "md,deployments,services,configmaps,controllerrevisions,poddisruptionbudgets,networkpolicies"
        objects = json.loads(self.cluster.kubectl("get", kinds, "-n", self.namespace, "-o", "json"))["items"]
        return {(one["kind"], one["metadata"]["name"]): one["metadata"]["resourceVersion"] for one in objects}

    def events(self, reason: str) -> list[Object]:
        return [one for one in self.every("events") if one["reason"] == reason and one["involvedObject"]["kind"] == "ModelDeployment"]


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def faulty(at: int, after: bool) -> tuple[str, ...]:
    """The command of an operator that is killed before, or after, its write number `at` (the lease's aside)."""
    program = f"""
import os
from dragoman_operator import __main__, kube
write, count = kube.Kube._write, 0

async def killed(self, method, kind, *rest, **more):
    global count
    if kind.name == "Lease":
        return await write(self, method, kind, *rest, **more)
    count += 1
    if count == {at} and not {after}:
        os.kill(os.getpid(), 9)
    answer = await write(self, method, kind, *rest, **more)
    if count == {at}:
        os.kill(os.getpid(), 9)
    return answer

kube.Kube._write = killed
__main__.main()
"""
    return sys.executable, "-c", program


__all__ = ["CRD", "Models", "Operator", "eventually", "faulty", "install_crd", "operator"]
