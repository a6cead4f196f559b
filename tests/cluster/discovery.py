"""Finds pods for Prometheus, as its own discovery by `role: pod` does: Debian leaves that part out of the program.

A process of its own, `python -m tests.cluster.discovery KUBECTL KUBECONFIG ADDRESS PORT`, asked by Prometheus over HTTP
(prometheus.io, "HTTP service discovery"). The labels are those of the documentation of `kubernetes_sd_configs`, role pod.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

Object = dict[str, Any]


def targets(pod: Object) -> Iterator[Object]:
    """One for each declared port of a container, one without a port for a container that declares none."""
    address = pod["status"].get("podIP")
    if not address:
        return
    labels = _pod_labels(pod)
    for container in pod["spec"]["containers"]:
        of_container = labels | {"__meta_kubernetes_pod_container_name": container["name"]}
        for port in container.get("ports") or [None]:
            of_port = {} if port is None else _port_labels(port)
            yield {
                "targets": [address if port is None else f"{address}:{port['containerPort']}"],
                "labels": of_container | of_port,
            }


def _pod_labels(pod: Object) -> dict[str, str]:
    metadata, status = pod["metadata"], pod["status"]
    ready = next((each["status"] for each in status.get("conditions", []) if each["type"] == "Ready"), "unknown")
    labels = {
        "namespace": metadata["namespace"],
        "pod_name": metadata["name"],
        "pod_uid": metadata["uid"],
        "pod_ip": status["podIP"],
        "pod_host_ip": status.get("hostIP", ""),
        "pod_node_name": pod["spec"].get("nodeName", ""),
        "pod_phase": status["phase"],
        "pod_ready": ready.lower(),
    }
    for owner in metadata.get("ownerReferences", []):
        if owner.get("controller"):
            labels |= {"pod_controller_kind": owner["kind"], "pod_controller_name": owner["name"]}
    for kind in ("label", "annotation"):
        for name, value in metadata.get(f"{kind}s", {}).items():
            labels |= {f"pod_{kind}_{_word(name)}": value, f"pod_{kind}present_{_word(name)}": "true"}
    return {f"__meta_kubernetes_{name}": value for name, value in labels.items()}


def _port_labels(port: Object) -> dict[str, str]:
    return {
        "__meta_kubernetes_pod_container_port_name": port.get("name", ""),
        "__meta_kubernetes_pod_container_port_number": str(port["containerPort"]),
        "__meta_kubernetes_pod_container_port_protocol": port.get("protocol", "TCP"),
    }


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def main(kubectl: str, kubeconfig: str, address: str, port: str) -> None:
    command = (kubectl, f"--kubeconfig={kubeconfig}", "--request-timeout=5s", "get", "--raw", "/api/v1/pods")

    class Targets(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode != 0:
                self.send_error(503, explain=answer.stderr)  # Prometheus keeps the targets that it has
                return
            found = [target for pod in json.loads(answer.stdout)["items"] or [] for target in targets(pod)]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing: it is asked every second."""

    Server((address, int(port)), Targets).serve_forever()


class Server(ThreadingTCPServer):  # http.server's own asks DNS for its name, which takes seconds where there is none
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    main(*sys.argv[1:])
