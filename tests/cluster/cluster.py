"""A running cluster, and where it comes from: one that is given, kind's, or our own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import process
from tests.cluster.binaries import BUILT, TOOLS, built, require
from tests.cluster.controlplane import API_SERVER, is_ready, start_control_plane
from tests.cluster.diagnosis import keep
from tests.cluster.elsewhere import GIVEN, kind_works, load_into_given, load_into_kind, start_kind, take_given
from tests.cluster.errors import ClusterError
from tests.cluster.metrics import start_metrics_server
from tests.cluster.network import LOOPBACK, NODE_ADDRESS, in_namespace, make_namespace
from tests.cluster.node import load_image, start_node
from tests.cluster.place import Place
from tests.cluster.process import inside
from tests.cluster.prometheus import ANNOTATED_PODS, Prometheus, start_prometheus, stop_prometheus
from tests.cluster.remains import end_cluster, note_owner, remove_stale
from tests.cluster.s3 import S3, start_s3


@dataclass(frozen=True)
class Cluster:
    """`kubectl`, `run` and the like work from anywhere; a test's own sockets reach pods and Services within `with cluster.inside():`."""

    place: Place
    origin: str  # own, control-plane, kind or given
    address: str  # at which pods reach servers that the tests start

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; complete in itself."""
        return self.place.kubeconfig

    @property
    def env(self) -> dict[str, str]:
        """For a subprocess that is to talk to the cluster: KUBECONFIG, and our kubectl and helm first in PATH."""
        path = os.pathsep.join((str(BUILT), str(TOOLS), os.environ["PATH"]))
        return dict(os.environ) | {"KUBECONFIG": str(self.kubeconfig), "PATH": path}

    @property
    def within(self) -> tuple[str, ...]:
        """The words before a command that run it in the cluster's network: for a subprocess.Popen of a test's own."""
        return inside(self.place)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread's new sockets, and whatever it starts, are in the cluster's network until the block ends."""
        with in_namespace(self.place):
            yield

    def run(self, *command: str | Path, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Runs a program in the cluster's network with KUBECONFIG set; gives what it prints. A failure is a ClusterError."""
        argv = [*self.within, *(str(word) for word in command)]
        done = subprocess.run(argv, input=stdin, env=self.env, capture_output=True, text=True, check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        return self.run(built("kubectl"), *arguments, stdin=stdin, check=check, timeout=timeout)

    def helm(self, *arguments: str, timeout: float = 300) -> str:
        return self.run(built("helm"), *arguments, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, manifests: str, *arguments: str) -> None:
        """`kubectl apply` of YAML text, server-side."""
        self.kubectl("apply", "--server-side", "-f", "-", *arguments, stdin=manifests)

    def make_namespace(self, name: str) -> None:
        """A namespace that enforces the restricted Pod Security Standard; pods can be created in it at once."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
        self.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")  # a controller's work

    def service(self, name: str, namespace: str = "default") -> str:
        """A Service's address, to be used within `inside()`."""
        address: str = self.get("service", name, "-n", namespace)["spec"]["clusterIP"]
        return address

    def load_image(self, archive: Path) -> None:
        """Puts an OCI archive's images into the node (`images.archive_of` writes one); pods want `imagePullPolicy: IfNotPresent`."""
        ORIGINS[self.origin].load(self.place, archive)

    def start_metrics_server(self) -> None:
        """The figures from which autoscalers decide: `kubectl top` answers when it has returned."""
        start_metrics_server(self.place, self.address)

    def start_s3(self) -> S3:
        return start_s3(self.place, self.address)

    def start_prometheus(self, settings: str = ANNOTATED_PODS) -> Prometheus:
        """A Prometheus with these settings, as one in the cluster would read them; by default it scrapes annotated pods."""
        return start_prometheus(self.place, self.address, settings)

    def stop_prometheus(self) -> None:
        """Its figures are gone then; one runs at a time."""
        stop_prometheus(self.place)

    def stop(self, component: str) -> None:
        """Ends a component in its own way: `kube-apiserver`, `etcd`, `kubelet`, `kube-controller-manager`, `coredns`, …"""
        process.stop(self.place, component)

    def restart(self, component: str) -> None:
        """Stops a component and starts it again; waits for the API server to answer."""
        started = process.restart(self.place, component)
        if component == API_SERVER:
            server = json.loads(self.kubeconfig.read_text(encoding="utf-8"))["clusters"][0]["cluster"]["server"]
            address, _, port = server.removeprefix("https://").rpartition(":")
            process.await_ready(started, lambda: is_ready(self.place, address, int(port)), self.place)
            for each in list(process.recorded(self.place)):  # controllers give up if they are just starting while it is away
                if not each.alive:
                    process.restart(self.place, each.name)

    @contextmanager
    def paused(self, component: str) -> Iterator[None]:
        """A component that hangs: its connections stay open and say nothing."""
        process.find(self.place, component).signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.find(self.place, component).signal(signal.SIGCONT)

    def keep_logs(self, occasion: str) -> Path:
        """Copies every component's and pod's log, the events and the objects into .cache, for a person to read."""
        return keep(self.place, occasion)


@contextmanager
def cluster(origin: str | None = None, name: str | None = None) -> Iterator[Cluster]:
    """A cluster for the block, taken down after it, also after a failure, an interrupt or SIGTERM."""
    place = Place(name or f"t{os.getpid()}")
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        started = start_cluster(place, origin or chosen_origin(), owner=os.getpid())
        try:
            yield started
        finally:
            end_cluster(place)
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def control_plane(name: str | None = None) -> AbstractContextManager[Cluster]:
    """`with control_plane() as c`: etcd, API server and controllers on 127.0.0.1 in three seconds; no node, no root, no namespace."""
    return cluster("control-plane", name or f"c{os.getpid()}")


def chosen_origin() -> str:
    """DRAGOMAN_TEST_CLUSTER says which; else the first that there is."""
    if wanted := os.environ.get("DRAGOMAN_TEST_CLUSTER"):
        return wanted
    if os.environ.get(GIVEN):
        return "given"
    return "kind" if kind_works() else "own"


def start_cluster(place: Place, origin: str, owner: int = 0) -> Cluster:
    """Starts it and waits until it is ready. `owner`: the process it belongs to; when that is gone, the next run cleans up. 0: nobody's."""
    if origin not in ORIGINS:
        raise ClusterError(f"there is no cluster called {origin!r}: DRAGOMAN_TEST_CLUSTER is one of {', '.join(ORIGINS)}")
    remove_stale()
    if place.state.exists():
        raise ClusterError(f"cluster {place.name} exists already ({place.state}): python -m tests.cluster down --name {place.name}")
    ORIGINS[origin].check()
    place.state.mkdir()
    try:
        note_owner(place, owner)
        return Cluster(place, origin, ORIGINS[origin].start(place))
    except BaseException:
        end_cluster(place)
        raise


def running(place: Place) -> bool:
    """Whether all that was started there is still alive."""
    alive = [each.alive for each in process.recorded(place)]
    return bool(alive) and all(alive)


@dataclass(frozen=True)
class Origin:
    start: Callable[[Place], str]  # gives Cluster.address
    load: Callable[[Place, Path], None]
    check: Callable[[], None] = lambda: None  # NotHere when it cannot be started on this machine


def _start_own(place: Place) -> str:
    make_namespace(place)
    start_node(place, start_control_plane(place, scheduler=True))
    return NODE_ADDRESS


def _start_control_plane(place: Place) -> str:
    start_control_plane(place, scheduler=False)
    return LOOPBACK


def _no_node(place: Place, archive: Path) -> None:
    raise ClusterError(f"cluster {place.name} has no node to load {archive} into")


ORIGINS = {
    "given": Origin(take_given, load_into_given),
    "kind": Origin(start_kind, load_into_kind),
    "own": Origin(_start_own, load_image, lambda: require(node=True)),
    "control-plane": Origin(_start_control_plane, _no_node, lambda: require(node=False)),
}
