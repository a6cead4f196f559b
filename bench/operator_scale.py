"""The operator with many ModelDeployments, against a real API server: time, CPU, memory, writes, and how soon one change is acted on.

Deployments are made ready by kwok, without pods, so that the operator is measured and not the control plane. The operator has one core.
CPU-seconds, their ratio to a bare loop (operator_floor.py), and numbers of writes are what to trust; times depend on the machine.

With --pods, real pods' objects: controllers and a scheduler make them, and kwok runs them on a node of its own.

Run: python -m bench.operator_scale [--models 1000] [--pods]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kubernetes
import urllib3
from bench.operator_floor import lines_of
from tests.cluster import process
from tests.cluster.binaries import built
from tests.cluster.cluster import Cluster, control_plane
from tests.cluster.operating import Operator, install_crd, operator

from dragoman_operator.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, Kind
from dragoman_operator.kube import Kube
from dragoman_operator.metrics import Metrics
from dragoman_operator.objects import Object

KWOK = Path(__file__).parent / "kwok"
TICKS = os.sysconf("SC_CLK_TCK")
NAMESPACE = "bench"
PATIENT = "--node-monitor-grace-period=1h"  # kwok's node sends no heartbeats
UNBOUNDED = ("--kube-api-qps=1000", "--kube-api-burst=1000")  # else Kubernetes' own controllers send 20 requests a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--rest-seconds", type=int, default=60)
    parser.add_argument("--pods", action="store_true", help="with pods' objects; only the time until all are Ready")
    options = parser.parse_args()
    with control_plane("bench") as cluster:
        install_crd(cluster)
        for namespace in (NAMESPACE, "floor"):
            cluster.kubectl("create", "namespace", namespace)
        if options.pods:
            start_kwok(cluster, "pods")
            start_node(cluster, options.models)
            found = asyncio.run(measure_pods(cluster, options.models))
        else:
            process.stop(cluster.place, "kube-controller-manager")
            start_kwok(cluster, "deployment-ready")
            found = asyncio.run(measure(cluster, options.models, options.changes, options.rest_seconds))
    print(json.dumps(found, indent=2))


def start_kwok(cluster: Cluster, stages: str) -> None:
    process.start(
        cluster.place,
        "kwok",
        [built("kwok"), f"--kubeconfig={cluster.kubeconfig}", "--manage-all-nodes", f"--config={KWOK / stages}.yaml"],
    )


def start_node(cluster: Cluster, pods: int) -> None:
    """A scheduler, and a node that has room for all."""
    controllers = process.find(cluster.place, "kube-controller-manager")
    process.stop(cluster.place, controllers.name)
    process.start(cluster.place, controllers.name, [*controllers.command, *UNBOUNDED, PATIENT], controllers.env)
    scheduler: list[str | Path] = [built("kube-scheduler"), f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
    process.start(cluster.place, "kube-scheduler", [*scheduler, *UNBOUNDED])
    room = {"cpu": str(4 * pods), "memory": f"{4 * pods}Gi", "ephemeral-storage": f"{100 * pods}Gi", "pods": str(2 * pods)}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kwok"}, "status": {"capacity": room, "allocatable": room}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(node))


async def measure_pods(cluster: Cluster, models: int) -> dict[str, float]:
    kube = connect(cluster)
    with tempfile.TemporaryDirectory() as folder, one_core(cluster, Path(folder) / "operator.log") as running:
        await asyncio.to_thread(until, lambda: running.leads)
        ready = Watch(kube, MODEL_DEPLOYMENT, is_ready)
        began = time.monotonic()
        await make(kube, models, NAMESPACE)
        applied = time.monotonic()
        await asyncio.to_thread(until, lambda: len(ready.seen) >= models, 600)
        now = time.monotonic()
        return {
            "models": models,
            "apply_seconds": round(applied - began, 1),
            "ready_after_last_apply_seconds": round(now - applied, 1),
            "ready_cpu_seconds": cpu_seconds(running),
            "ready_writes": running.writes,
            "ready_peak_mb": peak_mb(running),
        }


async def measure(cluster: Cluster, models: int, changes: int, rest_seconds: int) -> dict[str, float]:
    found: dict[str, float] = {"models": models}
    kube = connect(cluster)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "operator.log"
        with one_core(cluster, log) as running:
            await asyncio.to_thread(until, lambda: running.leads)
            ready = Watch(kube, MODEL_DEPLOYMENT, is_ready)
            idle = cpu_seconds(running)
            began = time.monotonic()
            await make(kube, models, NAMESPACE)
            applied = time.monotonic()
            await asyncio.to_thread(until, lambda: len(ready.seen) >= models, 600)
            found["apply_seconds"] = round(applied - began, 1)
            found["ready_after_last_apply_seconds"] = round(time.monotonic() - applied, 1)
            await asyncio.sleep(2)
            found["ready_cpu_seconds"] = round(cpu_seconds(running) - idle, 2)
            found["ready_writes"] = running.writes
            found["ready_peak_mb"] = peak_mb(running)
            before, writes = cpu_seconds(running), running.writes
            await asyncio.sleep(rest_seconds)
            found["rest_cpu_percent"] = round((cpu_seconds(running) - before) / rest_seconds * 100, 2)
            found["rest_writes"] = running.writes - writes
            found |= await latency(kube, models, changes, "change")
            running.stop()
        with one_core(cluster, log) as running:
            await asyncio.to_thread(until, lambda: running.metric("dragoman_operator_reconciles_total") >= models, 300)
            await asyncio.sleep(5)
            found["restart_cpu_seconds"] = round(cpu_seconds(running), 2)
            found["restart_writes"] = running.writes
            found["restart_peak_mb"] = peak_mb(running)
            running.stop()
        with one_core(cluster, log, RESYNC_SECONDS="5") as running:
            await asyncio.to_thread(until, lambda: running.metric("dragoman_operator_reconciles_total") >= models, 300)
            found |= await latency(kube, models, changes, "change_during_resync")
            running.stop()
        await make(kube, models, "floor")
        done = await asyncio.to_thread(
            subprocess.run,
            ["taskset", "-c", "0", sys.executable, "-m", "bench.operator_floor", "floor"],
            env=cluster.env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found["floor_cpu_seconds"] = round(json.loads(done.stdout)["cpu_seconds"], 2)
        found["ready_cpu_ratio"] = round(found["ready_cpu_seconds"] / found["floor_cpu_seconds"], 2)
    kube.close()
    return found


@contextmanager
def one_core(cluster: Cluster, log: Path, **settings: str) -> Iterator[Operator]:
    command = ("taskset", "-c", "0", sys.executable, "-m", "dragoman_operator")
    chosen = {"AUDIT_SECONDS": "20", "LEASE_SECONDS": "15"} | settings
    with operator(cluster, NAMESPACE, log, settings=chosen, command=command) as running:
        yield running


def connect(cluster: Cluster) -> Kube:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    configuration.connection_pool_maxsize = 9
    return Kube(kubernetes.client.ApiClient(configuration), 8, Metrics())


async def make(kube: Kube, count: int, namespace: str) -> None:
    gate = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        body = {
            "apiVersion": "dragoman.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": f"model-{number}", "namespace": namespace},
            "spec": {"model": {"uri": f"s3://models/{number}.onnx"}, "scale": {"replicas": 1}},
        }
        async with gate:
            await kube.create(MODEL_DEPLOYMENT, body)

    await asyncio.gather(*map(one, range(count)))


async def latency(kube: Kube, models: int, changes: int, name: str) -> dict[str, float]:
    """From the answer to a change of a ModelDeployment until its Deployment has it."""
    deployments = Watch(kube, DEPLOYMENT, lambda one: True)
    await asyncio.sleep(1)
    times: list[float] = []
    for count in range(changes):
        number = random.randrange(models)
        replicas = 2 + count
        asked = time.monotonic()
        body = {"spec": {"scale": {"replicas": replicas}}}
        path = MODEL_DEPLOYMENT.path(NAMESPACE, f"model-{number}")
        await kube._ask("PATCH", path, {}, json.dumps(body).encode(), "application/merge-patch+json")
        while deployments.replicas.get(f"model-{number}", (0, 0.0))[0] != replicas:
            await asyncio.sleep(0.001)
            if time.monotonic() - asked > 30:
                raise TimeoutError(f"model-{number} was not scaled")
        times.append(deployments.replicas[f"model-{number}"][1] - asked)
        await asyncio.sleep(random.uniform(0, 0.05))
    deployments.close()
    times.sort()
    return {
        f"{name}_p50_seconds": round(statistics.median(times), 3),
        f"{name}_p99_seconds": round(times[int(len(times) * 0.99) - 1], 3),
    }


class Watch:
    """A watch in a thread of its own: which objects were seen to satisfy a condition, and their replicas with the time of the news."""

    def __init__(self, kube: Kube, kind: Kind, condition) -> None:  # type: ignore[no-untyped-def]
        self.seen: set[str] = set()
        self.replicas: dict[str, tuple[int, float]] = {}
        self._condition = condition
        self._pool = kubernetes.client.ApiClient(kube._client.configuration).rest_client.pool_manager
        url = f"{kube._host}{kind.path(NAMESPACE)}?watch=true&timeoutSeconds=3600"
        self._answer: urllib3.BaseHTTPResponse = self._pool.request("GET", url, preload_content=False, timeout=3600)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._answer.shutdown()

    def _run(self) -> None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # it ends with the cluster
            self._read()

    def _read(self) -> None:
        for line in lines_of(self._answer):
            found = json.loads(line)["object"]
            name = found["metadata"]["name"]
            self.replicas[name] = found["spec"].get("replicas", 0), time.monotonic()
            if self._condition(found):
                self.seen.add(name)


def is_ready(obj: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in obj.get("status", {}).get("conditions", ()))


def cpu_seconds(running: Operator) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(running: Operator) -> float:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


def until(condition, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
