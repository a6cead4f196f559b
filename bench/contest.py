"""What the benchmarks share: servers started and ended, pinned to one core, and wrk's figures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
def started(name: str, command: Sequence[str], url: str, ready: str, *, core: int | None = 0, seconds: float = 120) -> Iterator[Running]:
    """A server process, ready; ended at the end by its own process id."""
    WORK.mkdir(exist_ok=True)
    log = WORK / f"{name}.log"
    pin = ["taskset", "-c", str(core)] if core is not None else []
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"DRAGOMAN_CACHE_DIR": str(WORK / "cache")}
    with log.open("wb") as out:
        process = subprocess.Popen([*pin, *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)
    try:
        wait_ready(ready, process, seconds)
        yield Running(name, url, ready.rsplit("/", 1)[0], process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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


def floor(model: Path) -> tuple[list[str], str, str]:
    port = free_port()
    return [sys.executable, str(HERE / "floor.py"), str(model), str(port)], f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}"


def rate(
    url: str, body: bytes, connections: int, seconds: float, core: int = 1, media_type: str = "application/json"
) -> tuple[float, float, float]:
    """(requests a second, p50, p99 in ms) by wrk. Ends with an error when a reply is not a 2xx."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.headers['content-type'] = '{media_type}'\nwrk.body = {json.dumps(body.decode())}\n")
        script.flush()
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name, url]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url}: not all replies were good:\n{text}")
    per_second = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    return per_second, _milliseconds(text, "50%"), _milliseconds(text, "99%")


def _milliseconds(text: str, quantile: str) -> float:
    match = re.search(rf"^\s+{quantile}\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    assert match
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]


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
