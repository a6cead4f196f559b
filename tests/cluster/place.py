"""Where one cluster lives: its name, its state folder, its network namespace, its cgroup. Everything else is derived from the name."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "dragoman-cluster-"


@dataclass(frozen=True)
class Place:
    name: str  # short: it is part of unix sockets' paths and of a network interface's name space

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", self.name):
            raise ValueError(f"a cluster's name is 1 to 20 of a-z, 0-9 and '-', not {self.name!r}")

    @property
    def state(self) -> Path:
        """All files of the cluster, removed with it."""
        return Path(tempfile.gettempdir()) / f"{PREFIX}{self.name}"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def netns(self) -> Path:
        """A link to the network namespace that control plane, node and tests share; absent when they are in this process's own."""
        return self.state / "netns"

    @property
    def cgroup(self) -> str:
        """Holds every process of the node, pods and shims included: what is left of a killed run is found there."""
        return f"dragoman-{self.name}"


def places() -> Iterator[Place]:
    """Every cluster of this machine that has left a state folder."""
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        yield Place(folder.name.removeprefix(PREFIX))
