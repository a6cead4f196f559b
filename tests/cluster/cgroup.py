"""The cgroup of one cluster: whatever its node starts, shims and pods included, is found there again.

With cgroup v1 there is one tree for each controller, with v2 one for all; `TREES` are the roots that this machine has.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.cluster.place import Place
from tests.cluster.process import Process, eventually

ROOT = Path("/sys/fs/cgroup")
UNIFIED = (ROOT / "cgroup.controllers").exists()
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # what kubelet divides among pods


def make_cgroup(place: Place) -> None:
    for tree in _trees():
        if tree.name == "unified":  # of a hybrid machine, without a controller that matters; runc makes it where it wants it
            continue
        folder = tree / place.cgroup
        folder.mkdir(exist_ok=True)
        if UNIFIED:
            for parent in (tree, folder):
                for controller in CONTROLLERS:
                    (parent / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        if tree.name == "cpuset":  # a new one is empty, and nothing may run in it
            for name in ("cpuset.cpus", "cpuset.mems"):
                (folder / name).write_text((tree / name).read_text(encoding="ascii"), encoding="ascii")
        (folder / "components").mkdir(exist_ok=True)  # beside kubelet's own: in v2 only leaves hold processes


def adopt(place: Place, process: Process) -> None:
    """Puts a component into the cluster's cgroup, and with it all that it will start."""
    tree = ROOT if UNIFIED else ROOT / "pids"
    (tree / place.cgroup / "components" / "cgroup.procs").write_text(str(process.pid), encoding="ascii")


def remove_cgroup(place: Place) -> None:
    """Kills whatever is still in it."""
    for tree in _trees():
        folder = tree / place.cgroup
        eventually(partial(_is_empty, folder), within_seconds=20)
        for each in [*reversed(list(_below(folder))), folder]:
            with contextlib.suppress(OSError):  # a zombie that nobody has reaped keeps its cgroup for a moment
                each.rmdir()


def _is_empty(folder: Path) -> bool:
    """False when there was anything, which is killed."""
    empty = True
    for each in (folder, *_below(folder)):
        with contextlib.suppress(FileNotFoundError):
            for pid in (each / "cgroup.procs").read_text(encoding="ascii").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    empty = False
    return empty


def _below(folder: Path) -> Iterator[Path]:
    """Folders before what is in them."""
    for root, names, _ in os.walk(folder):
        yield from (Path(root) / name for name in sorted(names))


def _trees() -> list[Path]:
    return [ROOT] if UNIFIED else [tree for tree in sorted(ROOT.iterdir()) if tree.is_dir() and not tree.is_symlink()]
