"""The programs a cluster is made of: built from Go modules into .cache, and Debian's. Each that is missing is named with its cure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.cluster.errors import NotHere

CACHE = Path(__file__).resolve().parents[2] / ".cache"
BUILT = CACHE / "cluster" / "bin"
TOOLS = CACHE / "tools" / "bin"

ETCD = "server"  # as its module calls it
CONTROL_PLANE = (ETCD, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE = ("kubelet", "kube-proxy", "coredns", "metrics-server", "helm")
TEST_SERVERS = ("versitygw",)
DEBIAN = {  # command: package
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "prometheus": "prometheus",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "sysctl": "procps",
    "mount": "mount",
    "umount": "mount",
    "ctr": "containerd",
    "gcc": "gcc",
}


def built(name: str) -> Path:
    """A program that `make cluster-tools` has built, or `make tools`."""
    for folder in (BUILT, TOOLS):
        if (folder / name).exists():
            return folder / name
    raise NotHere(f"{name} is not built: run `make {_target(name)}`")


def debian(command: str) -> Path:
    """A program of a Debian package, the administrator's folders included: not everybody's PATH has them."""
    found = shutil.which(command) or shutil.which(f"/usr/sbin/{command}")
    if found is None:
        raise NotHere(f"{command} is not on this machine: apt-get install {DEBIAN[command]}")
    return Path(found)


def require(*, node: bool) -> None:
    """NotHere, with all that is absent for a control plane, or for a node as well."""
    wanted = (*CONTROL_PLANE, *NODE, *TEST_SERVERS) if node else CONTROL_PLANE
    targets = {_target(name) for name in wanted if not any((folder / name).exists() for folder in (BUILT, TOOLS))}
    absent = [f"make {target}" for target in sorted(targets)]
    packages = sorted({package for command, package in DEBIAN.items() if node and not _has(command)})
    if packages:
        absent.append(f"apt-get install {' '.join(packages)}")
    if node and os.geteuid() != 0:
        absent.append("root, for a node needs namespaces, mounts and cgroups")
    if absent:
        raise NotHere(f"a cluster of our own needs: {'; '.join(absent)}")


def _target(name: str) -> str:
    return "tools" if name in TEST_SERVERS else "cluster-tools"


def _has(command: str) -> bool:
    try:
        return bool(debian(command))
    except NotHere:
        return False
