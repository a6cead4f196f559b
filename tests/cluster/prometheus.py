"""A real Prometheus that watches the cluster, at an address beside the node's."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from tests.cluster.binaries import built, debian
from tests.cluster.errors import ClusterError
from tests.cluster.network import in_namespace
from tests.cluster.place import Place
from tests.cluster.process import await_ready, recorded, start, stop
from tests.cluster.s3 import answers

PORT = 9090
DISCOVERY_PORT = 9091
NAME = "prometheus"
DISCOVERY = "prometheus-discovery"

# What the field's charts agree on: a pod says in its annotations that, where and how it is scraped.
ANNOTATED_PODS = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs: [{role: pod}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], action: replace, target_label: __metrics_path__, regex: (.+)}
  - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
    action: replace
    target_label: __address__
    regex: (.+);(.+)
    replacement: $1:$2
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
"""


@dataclass(frozen=True)
class Prometheus:
    place: Place
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}"

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The instant vector of a PromQL expression: labels and value of each series."""
        result = self._get(f"/api/v1/query?query={quote(expression)}")["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def targets(self) -> list[dict[str, Any]]:
        """The active targets, with their labels, health and last error."""
        found: list[dict[str, Any]] = self._get("/api/v1/targets?state=active")["activeTargets"]
        return found

    def _get(self, path: str) -> Any:
        with in_namespace(self.place), closing(HTTPConnection(self.address, PORT, timeout=10)) as connection:
            connection.request("GET", path)
            reply = json.loads(connection.getresponse().read())
        if reply["status"] != "success":
            raise ClusterError(f"Prometheus says to {path}: {reply['error']}")
        return reply["data"]


def start_prometheus(place: Place, address: str, settings: str = ANNOTATED_PODS) -> Prometheus:
    """Starts it with settings as a Prometheus in the cluster would read them; `kubernetes_sd_configs` of role pod are answered for it."""
    folder = place.state / "prometheus"
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_with_our_discovery(yaml.safe_load(settings), address)), encoding="utf-8")
    words = (built("kubectl"), place.kubeconfig, address, str(DISCOVERY_PORT))
    # by its path, because the component's folder is not ours; with this interpreter's own settings only
    discovery = start(place, DISCOVERY, [sys.executable, "-I", Path(__file__).with_name("discovery.py"), *words])
    await_ready(discovery, lambda: answers(place, address, DISCOVERY_PORT), place)
    command: list[str | Path] = [
        debian("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}:{PORT}",
        "--log.level=warn",
    ]
    process = start(place, NAME, command)
    await_ready(process, lambda: answers(place, address, PORT, "/-/ready"), place)
    return Prometheus(place, address)


def stop_prometheus(place: Place) -> None:
    """Its data goes too: the next one starts empty."""
    for each in list(recorded(place)):
        if each.name in (NAME, DISCOVERY):
            stop(place, each.name)
    shutil.rmtree(place.state / "prometheus", ignore_errors=True)


def _with_our_discovery(settings: dict[str, Any], address: str) -> dict[str, Any]:
    for job in settings.get("scrape_configs", []):
        roles = [each["role"] for each in job.pop("kubernetes_sd_configs", [])]
        if unknown := set(roles) - {"pod"}:
            raise ClusterError(f"discovery.py knows the role pod, not {', '.join(sorted(unknown))}")
        if roles:
            job["http_sd_configs"] = [{"url": f"http://{address}:{DISCOVERY_PORT}/", "refresh_interval": "1s"}]
    return settings
