"""The chart, rendered by helm as for a cluster of the oldest Kubernetes that it takes, with values that between them use all there is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

CHART = Path(__file__).resolve().parents[2] / "charts" / "dragoman"
OLDEST = "1.30.0"
MONITORING = ("monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PodMonitor")
NODES = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]}]}


@dataclass(frozen=True)
class Case:
    values: Mapping[str, Any] = field(default_factory=dict)
    kinds: Sequence[str] = ()  # that the cluster knows beside Kubernetes' own
    release: str = "dragoman"
    namespace: str = "dragoman-system"


MATRIX: Mapping[str, Case] = {
    "default": Case(),
    "namespaced": Case({"operator": {"namespaces": ["team-a", "team-b"], "replicas": 2}}, kinds=MONITORING),
    "own-namespace": Case({"operator": {"namespaces": ["serving", "team-a"]}}, namespace="serving", release="models"),
    "numbers": Case(
        {"operator": {"namespaces": ["7"]}, "serviceAccount": {"name": "9"}, "image": {"pullSecrets": ["5"]}},
        release="123",
        namespace="456",
    ),
    "bare": Case(
        {
            "crds": {"enabled": False},
            "rbac": {"create": False},
            "serviceAccount": {"create": False, "name": "made-by-others"},
            "networkPolicy": {"enabled": False},
            "monitoring": {"annotations": False, "serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": False}},
            "admissionPolicy": {"enabled": False},
            "userRoles": {"enabled": False},
            "scrapers": [],
            "image": {"pullPolicy": ""},
            "operator": {"resources": {}, "replicas": 0},
        },
        kinds=MONITORING,
    ),
    "full": Case(
        {
            "image": {
                "registry": "registry.example.com/ml/",
                "tag": "1.2.3",
                "pullPolicy": "Always",
                "pullSecrets": ["registry", "mirror"],
            },
            "crds": {"keep": False},
            "runtime": {"image": "registry.example.com/runtime@sha256:" + "ab" * 32},
            "codeFormats": "Deny",
            "allowPodImage": True,
            "upgradePolicy": "Immediate",
            "upgradeConcurrency": 10,
            "scrapers": [
                {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}},
                {"ipBlock": {"cidr": "10.0.0.0/8"}},
            ],
            "networkPolicy": {"egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}]},
            "monitoring": {"labels": {"release": "prometheus"}, "interval": "15s"},
            "serviceAccount": {"name": "operator", "annotations": {"example.com/role": "reader"}},
            "operator": {
                "replicas": 3,
                "logLevel": "DEBUG",
                "workers": 16,
                "connections": 4,
                "resyncSeconds": 300,
                "leaseSeconds": 30,
                "podAnnotations": {"example.com/owner": "platform"},
                "podLabels": {"team": "platform"},
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": NODES}},
                "priorityClassName": "system-cluster-critical",
            },
            "test": {"namespace": "team-a"},
            "fullnameOverride": "md",
        },
        kinds=MONITORING,
    ),
}


def render(helm: Path, case: Case) -> list[Object]:
    """Every object, hooks included. A failure is an AssertionError with helm's words."""
    done = template(helm, case)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def template(helm: Path, case: Case) -> subprocess.CompletedProcess[str]:
    kinds = [word for kind in case.kinds for word in ("--api-versions", kind)]
    command: list[str | Path] = [
        helm,
        "template",
        case.release,
        CHART,
        "--namespace",
        case.namespace,
        "--kube-version",
        OLDEST,
        *kinds,
        "--values",
        "-",
    ]
    return subprocess.run(command, input=json.dumps(case.values), capture_output=True, text=True, check=False, timeout=60)


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    return [found for found in objects if found["kind"] == kind]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found
