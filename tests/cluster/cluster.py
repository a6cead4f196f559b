"""A running cluster, and where it comes from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import process
from tests.cluster.binaries import BUILT, built, missing
from tests.cluster.controlplane import API_SERVER, is_ready, start_control_plane
from tests.cluster.errors import ClusterError
from tests.cluster.network import in_namespace, make_namespace
from tests.cluster.node import start_node
from tests.cluster.place import Place
from tests.cluster.process import inside
from tests.cluster.remains import end_cluster, note_owner, remove_stale


@dataclass(frozen=True)
class Cluster:
    """`kubectl`, `run` and the like work from anywhere; a test's own sockets reach pods and Services within `with cluster.inside():`."""

    place: Place

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; complete in itself."""
        return self.place.kubeconfig

    @property
    def env(self) -> dict[str, str]:
        """For a subprocess that is to talk to the cluster: KUBECONFIG, and our kubectl and helm first in PATH."""
        return dict(os.environ) | {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{BUILT}{os.pathsep}{os.environ['PATH']}"}

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread's new sockets, and whatever it starts, are in the cluster's network until the block ends."""
        with in_namespace(self.place):
            yield

    def run(self, *command: str | Path, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Runs a program in the cluster's network with KUBECONFIG set; gives what it prints. A failure is a ClusterError."""
        argv = [*inside(self.place), *(str(word) for word in command)]
        done = subprocess.run(argv, input=stdin, env=self.env, capture_output=True, text=True, check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        return self.run(built("kubectl"), *arguments, stdin=stdin, check=check, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, manifests: str, *arguments: str) -> None:
        """`kubectl apply` of YAML text, server-side."""
        self.kubectl("apply", "--server-side", "-f", "-", *arguments, stdin=manifests)

    def stop(self, component: str) -> None:
        """Ends a component in its own way: `kube-apiserver`, `etcd`, `kubelet`, …"""
        process.stop(self.place, component)

    def restart(self, component: str) -> None:
        """Stops a component and starts it again; waits for the API server to answer."""
        started = process.restart(self.place, component)
        if component == API_SERVER:
            server = json.loads(self.kubeconfig.read_text(encoding="utf-8"))["clusters"][0]["cluster"]["server"]
            address, _, port = server.removeprefix("https://").rpartition(":")
            process.await_ready(started, lambda: is_ready(self.place, address, int(port)), self.place)

    @contextmanager
    def paused(self, component: str) -> Iterator[None]:
        """A component that hangs: its connections stay open and say nothing."""
        process.find(self.place, component).signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.find(self.place, component).signal(signal.SIGCONT)


def start_cluster(place: Place, *, control_plane_only: bool = False, owner: int = 0) -> Cluster:
    """Starts it and waits until it is ready. `owner`: the process it belongs to; when that is gone, the next run cleans up. 0: nobody's."""
    absent = missing(node=not control_plane_only)
    if absent:
        raise ClusterError("this machine lacks what a cluster is made of:\n  " + "\n  ".join(absent))
    remove_stale()
    if place.state.exists():
        raise ClusterError(
            f"cluster {place.name} exists already ({place.state}): end it with `python -m tests.cluster down --name {place.name}`"
        )
    place.state.mkdir(mode=0o755)
    note_owner(place, owner)
    try:
        if control_plane_only:
            start_control_plane(place, scheduler=False)
        else:
            make_namespace(place)
            start_node(place, start_control_plane(place, scheduler=True))
    except BaseException:
        end_cluster(place)
        raise
    return Cluster(place)


def running(place: Place) -> bool:
    """Whether all that was started there is still alive."""
    alive: Sequence[bool] = [each.alive for each in process.recorded(place)]
    return bool(alive) and all(alive)
