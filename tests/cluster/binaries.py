"""The programs a cluster is made of: built from Go modules into .cache, and Debian's. Each that is missing is named with its cure."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cluster.errors import ClusterError

CACHE = Path(__file__).resolve().parents[2] / ".cache"
BUILT = CACHE / "cluster" / "bin"
TOOLS = CACHE / "tools" / "bin"

ETCD = "server"  # as its module calls it
CONTROL_PLANE = (ETCD, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE = ("kubelet", "kube-proxy", "coredns")
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
    "umount": "mount",
    "ctr": "containerd",
    "gcc": "gcc",
}


def built(name: str) -> Path:
    """A program that `make cluster-tools` has built, or `make tools`."""
    for folder in (BUILT, TOOLS):
        if (folder / name).exists():
            return folder / name
    raise ClusterError(f"{name} is not built: run `make {'tools' if name in TEST_SERVERS else 'cluster-tools'}` ({BUILT})")


def debian(command: str) -> Path:
    """A program of a Debian package, the administrator's folders included: not everybody's PATH has them."""
    found = shutil.which(command) or shutil.which(f"/usr/sbin/{command}")
    if found is None:
        raise ClusterError(f"{command} is not on this machine: apt-get install {DEBIAN[command]}")
    return Path(found)


def missing(*, node: bool) -> list[str]:
    """What is absent for a control plane, or for a node as well, in words that say how to get it."""
    wanted = (*CONTROL_PLANE, *NODE, *TEST_SERVERS) if node else CONTROL_PLANE
    absent = []
    for name in wanted:
        if not any((folder / name).exists() for folder in (BUILT, TOOLS)):
            absent.append(f"{name}: make {'tools' if name in TEST_SERVERS else 'cluster-tools'}")
    packages = sorted({package for command, package in DEBIAN.items() if node and not _has(command)})
    if packages:
        absent.append(
            f"Debian packages, with CI=true or DRAGOMAN_APT=1 installed by make cluster-tools: apt-get install {' '.join(packages)}"
        )
    return absent


def _has(command: str) -> bool:
    try:
        return bool(debian(command))
    except ClusterError:
        return False
