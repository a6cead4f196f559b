"""Builds or installs what tests/cluster is made of: `PYTHONPATH=tools python tools/cluster/install.py apt|kubernetes|tools|kwok|metrics`.

Standard library only: it runs before anything is installed. See docs/testing-cluster.md.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain import REPOSITORY, go

MODULES = REPOSITORY / "tools" / "cluster"
INSTALLED = REPOSITORY / ".cache" / "cluster"
BIN = INSTALLED / "bin"


@dataclass(frozen=True)
class DebianPackage:
    name: str
    program: str  # a command, or the path of a file
    needed_for: str


DEBIAN_PACKAGES = (
    DebianPackage("containerd", "containerd", "running the pods"),
    DebianPackage("runc", "runc", "running the pods"),
    DebianPackage("containernetworking-plugins", "/usr/lib/cni/bridge", "the pods' network"),
    DebianPackage("iptables", "iptables", "Services"),
    DebianPackage("conntrack", "conntrack", "Services"),
    DebianPackage("iproute2", "ip", "the cluster's network"),
    DebianPackage("procps", "sysctl", "the cluster's network"),
    DebianPackage("buildah", "buildah", "building images"),
    DebianPackage("debootstrap", "debootstrap", "the images' base"),
    DebianPackage("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", "the images' base"),
    DebianPackage("gcc", "gcc", "the pause image"),
    DebianPackage("libc6-dev", "/usr/include/stdio.h", "the pause image"),
    DebianPackage("prometheus", "prometheus", "the tests of metrics"),
)


def build_kubernetes() -> None:
    """Without a version in the binaries, clients and kubelet take them for v0.0.0 and misbehave."""
    version = _version("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    _build("kubernetes", *(f"-X {package}.{name}={value}" for package in packages for name, value in stamps.items()))


def build_tools() -> None:
    _build("tools", f"-X helm.sh/helm/v3/internal/version.version={_version('tools', 'helm.sh/helm/v3')}")


def build_kwok() -> None:
    """kwok, and beside it the stages that its module brings along."""
    _build("kwok")
    module = subprocess.run(
        (*go(), "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"), cwd=MODULES / "kwok", check=True, capture_output=True, text=True
    ).stdout.strip()
    stages = Path(module) / "kustomize" / "stage"
    for file in stages.rglob("*.yaml"):
        copy = INSTALLED / "kwok-stages" / file.relative_to(stages)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())


def build_metrics() -> None:
    """metrics-server, from whose figures autoscalers decide."""
    _build("metrics", f"-X sigs.k8s.io/metrics-server/pkg/version.gitVersion={_version('metrics', 'sigs.k8s.io/metrics-server')}")


def install_debian_packages() -> None:
    """Installs the Debian packages that are missing when it may (root, and CI=true or DRAGOMAN_APT=1); else says what is missing."""
    missing = [package for package in DEBIAN_PACKAGES if not _is_here(package.program)]
    if not missing:
        return
    names = [package.name for package in missing]
    wanted = os.environ.get("CI") == "true" or os.environ.get("DRAGOMAN_APT") == "1"
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        apt_get = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run((*apt_get, "update"), env=environment, check=True)
        subprocess.run((*apt_get, "install", "--no-install-recommends", *names), env=environment, check=True)
        return
    for package in missing:
        sys.stderr.write(f"not on this machine: {package.name}, for {package.needed_for}\n")
    sys.stderr.write(f"to have them, on Debian: apt-get install {' '.join(names)} (or, as root, make cluster-tools DRAGOMAN_APT=1)\n")


def _is_here(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return bool(shutil.which(program) or shutil.which(f"/usr/sbin/{program}"))


def _build(module: str, *link_flags: str) -> None:
    """Builds the `tool`s of a module into .cache/cluster/bin."""
    command = ("nice", *go(), "install", "-trimpath", "-ldflags", " ".join(("-s -w", *link_flags)), "tool")
    environment = os.environ | {"GOBIN": str(BIN), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    subprocess.run(command, cwd=MODULES / module, env=environment, check=True)


def _version(module: str, dependency: str) -> str:
    go_mod = (MODULES / module / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^\s+{re.escape(dependency)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        sys.exit(f"{module}/go.mod does not require {dependency}")
    return found[1]


KINDS: dict[str, Callable[[], None]] = {"kubernetes": build_kubernetes, "tools": build_tools, "kwok": build_kwok, "metrics": build_metrics}


def main(kind: str) -> None:
    """What is built stays until its module changes: the stamp is the module's text, so a fresh checkout with a cache builds nothing."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    stamp = INSTALLED / f"{kind}.stamp"
    pins = b"".join((MODULES / kind / name).read_bytes() for name in ("go.mod", "go.sum"))
    with (INSTALLED / f"{kind}.lock").open("w") as lock:  # two at once would build into each other's folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == pins:
            return
        KINDS[kind]()
        stamp.write_bytes(pins)


if __name__ == "__main__":
    for word in sys.argv[1:]:
        if word == "apt":
            install_debian_packages()
        elif word in KINDS:
            main(word)
        else:
            sys.exit(f"usage: PYTHONPATH=tools python tools/cluster/install.py {'|'.join((*KINDS, 'apt'))}")
