"""Takes a cluster down, in whatever state it is: after its test run, after an interrupt, or found by a later run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import process
from tests.cluster.binaries import debian
from tests.cluster.cgroup import remove_cgroup
from tests.cluster.elsewhere import end_kind
from tests.cluster.network import remove_namespace
from tests.cluster.place import Place, places
from tests.cluster.process import eventually, started_at

SHIM_ADDRESS = "containerd/state/io.containerd.runtime.v2.task/*/*/address"


def end_cluster(place: Place) -> None:
    """Everything that `place` has: processes by their records and their cgroup, mounts, namespace, files. Nothing to do is no error."""
    end_kind(place)
    # kubelet before what it would start again; kube-apiserver before etcd, without which it hangs
    for each in reversed(list(process.recorded(place))):
        each.signal(signal.SIGKILL)  # their state ends here too: no need to be patient
        each.ended(10)
    shims = [Path(file.read_text(encoding="utf-8").removeprefix("unix://")) for file in place.state.glob(SHIM_ADDRESS)]
    remove_cgroup(place)
    for mount in reversed(list(_mounts_below(place.state))):
        subprocess.run((debian("umount"), "--lazy", mount), check=False)
    remove_namespace(place)
    for file in (*shims, *_strays(place)):
        file.unlink(missing_ok=True)
    eventually(lambda: _removed(place.state), within_seconds=5)


def remove_stale() -> None:
    """Cleans up after runs whose owner has ended without doing so."""
    for place in places():
        if owner_has_ended(place):
            end_cluster(place)


def note_owner(place: Place, pid: int) -> None:
    """Writes down whose cluster it is; 0: nobody's, it stays until it is ended by name."""
    owner = {"pid": pid, "started": started_at(pid) if pid else 0}
    (place.state / "owner.json").write_text(json.dumps(owner), encoding="utf-8")


def owner_has_ended(place: Place) -> bool:
    try:
        owner = json.loads((place.state / "owner.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False  # it is being made or removed at this moment
    return bool(owner["pid"]) and started_at(owner["pid"]) != owner["started"]


def _mounts_below(folder: Path) -> Iterator[str]:
    """Outer before inner. proc(5): mountinfo writes a space as \\040."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        target = line.split()[4].replace("\\040", " ")
        if Path(target).is_relative_to(folder):
            yield target


def _strays(place: Place) -> Iterator[Path]:
    """What kubelet and the network plugins write outside the state folder whatever they are told."""
    for record in Path("/var/lib/cni/results").glob(f"{place.cgroup}-*-eth0"):
        yield record
        yield record.with_name(record.name.replace(place.cgroup, "cni-loopback").replace("-eth0", "-lo"))
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(place.state):
            yield link


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # a mount that is still being let go
        if os.path.lexists(folder):
            shutil.rmtree(folder)
    return not os.path.lexists(folder)
