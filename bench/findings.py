"""What a run of the suite found, as values; kept as JSON, so that tables and plots can be made anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from bench.contest import HERE, median
from bench.servers import SERVERS
from bench.wrk import Load

FOLDER = HERE / "results"


class Cell(msgspec.Struct, omit_defaults=True):
    """One server in one case: a load a round."""

    case: str
    server: str
    connections: int
    workers: int = 1
    loads: list[Load] = []

    def rates(self) -> list[float]:
        return [load.per_second for load in self.loads]

    def middle(self, name: str) -> float:
        """The median over the rounds of one of `Load`'s figures."""
        return median([getattr(load, name) or 0.0 for load in self.loads])


class Start(msgspec.Struct):
    """Alone on the machine, case A: from the command to readiness, and PSS of all processes after a second of requests."""

    seconds: list[float] = []
    pss_mb: list[float] = []


class Results(msgspec.Struct):
    plan: str
    began: str = ""  # a date
    machine: str = ""
    pace: str = ""
    took_seconds: float = 0.0
    finished: bool = False
    cells: list[Cell] = []
    starts: dict[str, Start] = {}  # by server
    offline: dict[str, list[float]] = {}  # seconds, by what predicted the file
    grpc: dict[str, list[float]] = {}  # requests a second, by protocol
    sizes_mb: dict[str, float] = {}  # on disk, by what
    versions: dict[str, str] = {}  # by package
    settled: dict[str, str] = {}  # what a compiled model came to, by case
    left_out: dict[str, str] = {}  # why, by server and case

    def cell(self, case: str, server: str, connections: int, workers: int = 1) -> Cell | None:
        wanted = (case, server, connections, workers)
        found = (c for c in self.cells if (c.case, c.server, c.connections, c.workers) == wanted)
        return next((c for c in found if c.loads), None)

    def servers(self, case: str | None = None) -> list[str]:
        """In the table's order."""
        found = {c.server for c in self.cells if c.loads and case in (None, c.case)}
        return [name for name in SERVERS if name in found]

    def connections(self, case: str, workers: int = 1) -> list[int]:
        return sorted({c.connections for c in self.cells if c.loads and c.case == case and c.workers == workers})


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round: what the machine did besides is then the same for both."""
    return [a / b for a, b in zip(above, below, strict=False)]


def save(results: Results, folder: Path = FOLDER) -> None:
    """One line a figure's own: small enough to keep, and a difference can be read."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=1).decode()
    loads = re.sub(r"\{\s+\"requests\"[^{}]*\}", lambda found: re.sub(r"\s+", " ", found[0]), encoded)
    (folder / f"{results.plan}.json").write_text(loads + "\n", encoding="utf-8")


def load(plan: str, folder: Path = FOLDER) -> Results:
    path = folder / f"{plan}.json"
    if not path.exists():
        raise SystemExit(f"{path} is not there: measure first, python -m bench.suite {plan}")
    return msgspec.json.decode(path.read_bytes(), type=Results)
