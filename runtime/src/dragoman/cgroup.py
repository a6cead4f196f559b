"""What the container's cgroup says: how much CPU this process may use, and whether the kernel killed something for memory.

Both versions are read: v2 (`cpu.max`, `memory.events`, …) and v1 (`cpu.cfs_quota_us`, `memory.oom_control`, …). Outside a cgroup, or where
its files cannot be read, the answers are the machine's cores and None.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # bytes; v1 writes "none" as a number beyond that


def cpus() -> float:
    """CPUs that this process may use: the quota where there is one, else the cores it may be scheduled on."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota = _quota()
    return cores if quota is None else min(cores, quota)


def threads_per_worker(workers: int) -> int:
    """Threads that OpenMP, BLAS and onnxruntime get in each worker, at least one."""
    return max(1, int(cpus() / workers))


def oom_kills() -> int | None:
    """How many processes of this cgroup the kernel has killed for memory; None where it does not say."""
    for file in (_folder("") / "memory.events", _folder("memory") / "memory.oom_control"):
        match = re.search(r"^oom_kill (\d+)", _text(file), re.MULTILINE)
        if match:
            return int(match[1])
    return None


def memory_left() -> int | None:
    """Bytes that may still be taken before the kernel ends something, of files' pages counted as free; None without a limit."""
    for folder, limit, used, reclaimable in (
        (_folder(""), "memory.max", "memory.current", "inactive_file"),
        (_folder("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        bound, taken = _text(folder / limit).strip(), _text(folder / used).strip()
        if bound.isdigit() and taken.isdigit() and int(bound) < _NO_LIMIT:
            files = re.search(rf"^{reclaimable} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
            return max(0, int(bound) - int(taken) + (int(files[1]) if files else 0))
    return None


def _quota() -> float | None:
    quota, _, period = _text(_folder("") / "cpu.max").strip().partition(" ")
    if not period:
        quota, period = (_text(_folder("cpu") / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if not quota or not period or quota == "max" or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _folder(controller: str) -> Path:
    """This process's own folder under a v1 controller, or under the unified hierarchy ("")."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = _ROOT / controller / path.lstrip("/")
            return own if own.is_dir() else _ROOT / controller  # inside a container the path is the host's
    return _ROOT / controller


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
