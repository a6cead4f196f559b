"""Nothing is left of a cluster: not after an interrupt, nor, once the next run has looked, after its owner was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.cgroup import ROOT
from tests.cluster.cluster import Cluster
from tests.cluster.network import namespace_path
from tests.cluster.place import Place
from tests.cluster.process import Process, eventually, recorded
from tests.cluster.remains import remove_stale

pytestmark = pytest.mark.usefixtures("cluster", "base_image")  # what is taken down must not touch the cluster beside it

OWNER = """
import sys, time
from tests.cluster.cluster import cluster
from tests.cluster.images import BASE_IMAGE, base_archive
with cluster("own", name=sys.argv[1]) as c:
    c.load_image(base_archive())
    c.kubectl("wait", "--for=create", "serviceaccount/default")
    c.kubectl("run", "sleeper", f"--image={BASE_IMAGE}", "--image-pull-policy=IfNotPresent", "--", "sleep", "1000")
    c.kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
    print("running", flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_takes_its_cluster_down(cluster: Cluster, end: signal.Signals) -> None:
    owner, place, processes = _owner(f"i{os.getpid()}")

    owner.send_signal(end)

    owner.wait(60)
    assert _remains(place, processes) == []
    _unharmed(cluster)


def test_the_next_run_cleans_up_after_one_that_was_killed(cluster: Cluster) -> None:
    owner, place, processes = _owner(f"k{os.getpid()}")
    owner.kill()
    owner.wait()
    assert all(each.alive for each in processes)

    remove_stale()

    assert _remains(place, processes) == []
    _unharmed(cluster)


def _owner(name: str) -> tuple[subprocess.Popen[str], Place, list[Process]]:
    """A process that has a cluster with a running pod."""
    repository = Path(__file__).resolve().parents[2]
    owner = subprocess.Popen((sys.executable, "-c", OWNER, name), cwd=repository, stdout=subprocess.PIPE, text=True)
    with owner.stdout or sys.stdin as output:
        assert output.readline() == "running\n"
    place = Place(name)
    processes = list(recorded(place))
    assert {"kube-apiserver", "kubelet", "containerd"} <= {each.name for each in processes}
    return owner, place, processes


def _remains(place: Place, processes: list[Process]) -> list[str]:
    """Whatever is left of it: processes, files, mounts, namespace, cgroups."""
    eventually(lambda: not any(each.alive for each in processes), within_seconds=5)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines() if str(place.state) in line]
    files = [str(path) for path in (place.state, namespace_path(place)) if os.path.lexists(path)]
    cgroups = [str(folder) for folder in (*ROOT.glob(place.cgroup), *ROOT.glob(f"*/{place.cgroup}"))]
    return [*(each.name for each in processes if each.alive), *mounts, *files, *cgroups]


def _unharmed(cluster: Cluster) -> None:
    assert all(each.alive for each in recorded(cluster.place))
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
