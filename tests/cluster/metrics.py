"""metrics-server: what pods use, from which autoscalers decide. A process beside the node; a Service leads the API server to it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.binaries import built
from tests.cluster.place import Place
from tests.cluster.process import await_ready, inside, start

NAME = "metrics-server"
PORT = 4443
RESOLUTION_SECONDS = 10  # the least that it takes


def start_metrics_server(place: Place, address: str) -> None:
    """Starts it and waits for the first figures; nothing to do where the cluster has them already."""
    kubeconfig = place.kubeconfig
    kubectl = (*inside(place), str(built("kubectl")), f"--kubeconfig={kubeconfig}")

    def has_figures() -> bool:
        return subprocess.run((*kubectl, "top", "nodes"), capture_output=True, check=False).returncode == 0

    if has_figures():
        return
    command: list[str | Path] = [
        built(NAME),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--cert-dir={place.state / 'pki' / NAME}",
        f"--bind-address={address}",
        f"--secure-port={PORT}",
        f"--metric-resolution={RESOLUTION_SECONDS}s",
        "--kubelet-request-timeout=5s",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
    ]
    process = start(place, NAME, command)
    apply = (*kubectl, "apply", "--server-side", "-f", "-")
    subprocess.run(apply, input=json.dumps(_registration(address)), text=True, check=True, capture_output=True)
    await_ready(process, has_figures, place, within_seconds=90, pause_seconds=1)


def _registration(address: str) -> dict[str, Any]:
    """The API and the way to it."""
    metadata = {"name": NAME, "namespace": "kube-system"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]},
    }
    way = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata | {"labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": PORT}],
        "endpoints": [{"addresses": [address]}],
    }
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": metadata,
        },
    }
    return {"apiVersion": "v1", "kind": "List", "items": [service, way, api]}
