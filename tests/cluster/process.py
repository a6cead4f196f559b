"""The processes of a cluster, recorded on disk: any later run can stop, restart or clean them up, and never touches another's.

A process is known by its id *and* its start time: ids are used again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.place import Place

INHERITED = ("PATH", "LANG", "TMPDIR")  # nothing else: a developer's cloud and proxy settings must not reach a component


@dataclass(frozen=True)
class Process:
    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    pid: int
    started: int  # clock ticks since boot, from /proc/PID/stat

    @property
    def alive(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # if it is a child of this process: do not mistake a zombie for a living one
        return started_at(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ended(self, within_seconds: float) -> bool:
        return eventually(lambda: not self.alive, within_seconds)


def start(place: Place, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Process:
    """Starts a component inside the cluster's network namespace, if it has one; its output is appended to logs/NAME.log."""
    place.logs.mkdir(parents=True, exist_ok=True)
    argv = tuple(str(word) for word in command)
    own = dict(env or {})
    environment = {key: os.environ[key] for key in INHERITED if key in os.environ} | {"HOME": str(place.state)} | own
    with (place.logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            (*inside(place), *argv),  # nsenter replaces itself by the command: the id is the component's
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=place.state,
            env=environment,
            start_new_session=True,  # an interrupt at the terminal is the harness's to handle, in order
        )
    started = started_at(child.pid)
    child.returncode = 0  # Popen is done with: the record below is what ends it, from this process or another
    process = Process(name, argv, own, child.pid, started)
    file = _record(place, name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(asdict(process)), encoding="utf-8")
    return process


def inside(place: Place) -> tuple[str, ...]:
    """The words before a command that run it in the cluster's network namespace (`ip netns exec` would hide the cgroups)."""
    return ("nsenter", f"--net={place.netns}", "--") if place.netns.exists() else ()


def recorded(place: Place) -> Iterator[Process]:
    """Every process that was started here and not stopped, in the order of starting."""
    for file in sorted((place.state / "processes").glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        yield _read(file)


def find(place: Place, name: str) -> Process:
    file = _record(place, name)
    if not file.exists():
        raise ClusterError(f"cluster {place.name} has no process {name!r}; it has {[each.name for each in recorded(place)]}")
    return _read(file)


def stop(place: Place, name: str, *, within_seconds: float = 60) -> None:
    """Ends a component in its own way, and for good when that takes too long. kube-apiserver may need 30 s."""
    process = find(place, name)
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGCONT)  # it may be paused
    if not process.ended(within_seconds):
        process.signal(signal.SIGKILL)
        process.ended(10)
    _record(place, name).unlink(missing_ok=True)


def restart(place: Place, name: str) -> Process:
    """Stops a component and starts it again as it was started."""
    process = find(place, name)
    stop(place, name)
    return start(place, name, process.command, process.env)


def await_ready(process: Process, ready: Callable[[], bool], place: Place, within_seconds: float = 60, pause_seconds: float = 0.05) -> None:
    """Waits until a component answers; says how its log ends if it does not."""
    if eventually(lambda: ready() or not process.alive, within_seconds, pause_seconds) and process.alive:
        return
    state = "is not ready" if process.alive else "has ended"
    log = place.logs / f"{process.name}.log"
    raise ClusterError(f"{process.name} {state}; its log, {log}, ends:\n{tail(log)}")


def eventually(condition: Callable[[], bool], within_seconds: float, pause_seconds: float = 0.05) -> bool:
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
    return True


def started_at(pid: int) -> int:
    """A process's start in clock ticks since boot, -1 when there is none (proc(5): field 22, after the name, which may hold anything)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if fields[0] == "Z" else int(fields[19])


def tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def _record(place: Place, name: str) -> Path:
    return place.state / "processes" / f"{name}.json"


def _read(file: Path) -> Process:
    fields = json.loads(file.read_text(encoding="utf-8"))
    return Process(**fields | {"command": tuple(fields["command"])})
