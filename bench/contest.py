"""What the benchmarks share: servers started and ended, pinned to one core, and wrk's figures."""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import wrk

HERE = Path(__file__).parent
ROOT = HERE.parent
WORK = HERE / ".work"


@dataclass(frozen=True)
class Running:
    name: str
    url: str  # of predict
    management: str
    pid: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    url: str,
    ready: str,
    *,
    core: int | str | None = 0,
    seconds: float = 120,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A server process, ready; ended at the end by its own process id, and what it started and left by theirs."""
    WORK.mkdir(exist_ok=True)
    log = WORK / f"{name}.log"
    pin = ["taskset", "-c", str(core)] if core is not None else []
    own = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"DRAGOMAN_CACHE_DIR": str(WORK / "cache")}
    with log.open("wb") as out:
        process = subprocess.Popen([*pin, *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=own | dict(environment or {}))
    try:
        wait_ready(ready, process, seconds)
        yield Running(name, url, ready.rsplit("/", 1)[0], process.pid)
    finally:
        others = {pid: _born(pid) for pid in descendants(process.pid)}
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid, born in others.items():
            if born and _born(pid) == born:
                os.kill(pid, signal.SIGKILL)


def _born(pid: int) -> str:
    """What tells a process from a later one with its number; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_ready(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}; its log is in {WORK}")
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit(f"{url} was not ready within {seconds:g} s")


def ours(*arguments: str) -> tuple[list[str], str, str]:
    """(command, base URL, management URL) of `dragoman serve`."""
    port, grpc, management = free_port(), free_port(), free_port()
    command = [sys.executable, "-m", "dragoman", "serve", *arguments]
    command += ["--port", str(port), "--grpc-port", str(grpc), "--management-port", str(management), "--log-format", "json"]
    return command, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{management}"


def floor(model: Path, kind: str = "arrays", workers: int = 1) -> tuple[list[str], str, str]:
    """(command, base URL, base URL of readiness) of the floor; its kinds are in floor.py."""
    port = free_port()
    command = [sys.executable, str(HERE / "floor.py"), str(model), str(port), kind, str(workers)]
    return command, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}"


def rate(
    url: str, body: bytes, connections: int, seconds: float, core: int = 1, media_type: str = "application/json"
) -> tuple[float, float, float]:
    """(requests a second, p50, p99 in ms) by wrk. Ends with an error when a reply is not a 2xx."""
    asked = wrk.load(url, wrk.Question("", body, {"content-type": media_type}), connections, round(seconds), core)
    return asked.per_second, asked.p50, asked.p99


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """`median (min to max)`."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process and all its descendants: shared pages counted once between them."""
    total = 0
    for one in [pid, *descendants(pid)]:
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
    return total


def yielding(pid: int, *, yields: bool) -> None:
    """Whether a process and all its descendants run only while nobody else wants their core (Linux: SCHED_IDLE), or as usual."""
    policy = os.SCHED_IDLE if yields else os.SCHED_OTHER
    for one in [pid, *descendants(pid)]:
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))


def cpu_seconds(pid: int) -> float:
    """User and system time, until now, of a process and all its living descendants."""
    ticks = 0
    for one in [pid, *descendants(pid)]:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, look = [], [pid]
    while look:
        look = [child for parent in look for child in children.get(parent, [])]
        found += look
    return found
