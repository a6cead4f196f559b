"""Installs what the tests need beyond Python's packages: `python tools/install.py go|node|apt`. See tools/README.md.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain import INSTALLED, REPOSITORY, go, node_and_npm

BIN = INSTALLED / "bin"


@dataclass(frozen=True)
class DebianPackage:
    name: str
    commands: tuple[str, ...]  # any of these will do
    needed_for: str


DEBIAN_PACKAGES = (
    DebianPackage("chromium", ("chromium", "chromium-browser", "google-chrome"), "the test of the docs page in a browser"),
    DebianPackage("wrk", ("wrk",), "the benchmarks' load"),
    DebianPackage("memcached", ("memcached",), "the tests of what is kept in memcached"),
)


def install_go_tools() -> None:
    """Builds the `tool`s of tools/go/go.mod into .cache/tools/bin."""
    command = ("nice", *go(), "install", "-trimpath", "-ldflags", "-s -w", "tool")
    environment = os.environ | {"GOBIN": str(BIN), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    subprocess.run(command, cwd=REPOSITORY / "tools" / "go", env=environment, check=True)


def install_node_tools() -> None:
    """Installs tools/node/package-lock.json into .cache/tools/node, and links the Node that runs it as .cache/tools/bin/node."""
    node, npm = node_and_npm()
    folder = INSTALLED / "node"
    folder.mkdir(exist_ok=True)
    for name in (".npmrc", "package.json", "package-lock.json"):
        shutil.copyfile(REPOSITORY / "tools" / "node" / name, folder / name)
    path = f"{Path(node[0]).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(("nice", *npm, "ci", "--ignore-scripts", "--loglevel", "error"), cwd=folder, env=os.environ | {"PATH": path}, check=True)
    link = BIN / "node"
    link.unlink(missing_ok=True)
    link.symlink_to(node[0])


def install_debian_packages() -> None:
    """Installs the Debian packages that are missing when it may (root, and CI=true or DRAGOMAN_APT=1); else says what is missing."""
    missing = [package for package in DEBIAN_PACKAGES if not any(shutil.which(command) for command in package.commands)]
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
    sys.stderr.write(f"to have them, on Debian: apt-get install {' '.join(names)} (or, as root, make tools DRAGOMAN_APT=1)\n")


@dataclass(frozen=True)
class Kind:
    install: Callable[[], None]
    pins: tuple[str, ...] = ()  # under tools/; what is installed stays until one of them changes. None: looked at each time


KINDS = {
    "go": Kind(install_go_tools, ("go/go.mod", "go/go.sum")),
    "node": Kind(install_node_tools, ("node/package.json", "node/package-lock.json")),
    "apt": Kind(install_debian_packages),
}


def main(name: str) -> None:
    kind = KINDS[name]
    BIN.mkdir(parents=True, exist_ok=True)
    stamp = INSTALLED / f"{name}.stamp"
    with (INSTALLED / f"{name}.lock").open("w") as lock:  # two at once would build into each other's folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kind.pins and _newest([stamp]) > _newest([REPOSITORY / "tools" / pin for pin in kind.pins]):
            return
        kind.install()
        if kind.pins:
            stamp.touch()


def _newest(files: list[Path]) -> float:
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: python tools/install.py {'|'.join(KINDS)}")
    main(sys.argv[1])
