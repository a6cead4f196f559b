"""How much memory `dragoman predict` takes as its file grows: its peak for one, and for ten times as many rows; and its rate.

    python -m bench.offline_memory [ROWS]

Predicts the iris example for ROWS (200,000) rows and for ten times as many: from CSV of numbers, from CSV with quotes (which takes the
slower of the two ways of reading), from JSON Lines and from Parquet. Prints each peak (ru_maxrss of the process) and the growth.
Ends with 1 when a growth passes the bound.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BOUND_MIB = 16
TIMES = 10
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
MODEL = Path(__file__).parents[1] / "examples/iris/modeldeployment.yaml"
PART_ROWS = 50_000


def main(rows: int = 200_000) -> int:
    worst = 0.0
    print(f"{'input':14} {'rows':>10} {'file MiB':>9} {'peak MiB':>9} {'growth':>7} {'seconds':>8} {'rows/s':>9}")
    with tempfile.TemporaryDirectory(prefix="offline-memory-") as work:
        for name, write in WRITERS.items():
            first = None
            for count in (rows, rows * TIMES):
                source = Path(work) / f"rows{name.rpartition(' ')[2]}"
                write(source, count)
                peak, seconds = peak_mib(source, Path(work))
                size = source.stat().st_size / 2**20
                growth = "" if first is None else f"{peak - first:+.1f}"
                worst = max(worst, 0 if first is None else peak - first)
                first = first or peak
                print(f"{name:14} {count:10,} {size:9.1f} {peak:9.1f} {growth:>7} {seconds:8.1f} {count / seconds:9,.0f}", flush=True)
    print(f"largest growth {worst:.1f} MiB for {TIMES} times the rows (bound {BOUND_MIB})")
    return int(worst > BOUND_MIB)


def peak_mib(source: Path, work: Path) -> tuple[float, float]:
    """Peak resident memory of the whole command, and how many seconds it took."""
    began = time.perf_counter()
    arguments = ["predict", str(MODEL), "--input", str(source), "--output", str(work / "answers.csv"), "--outputs", "predict,predict_proba"]
    environment = {**os.environ, "DRAGOMAN_CACHE_DIR": str(work / "cache")}
    command = [sys.executable, "-c", ASK, sys.executable, "-m", "dragoman", *arguments]
    asked = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if asked.returncode:
        raise SystemExit(f"dragoman predict ended with {asked.returncode}")
    return int(asked.stdout) / (1024 if sys.platform == "linux" else 2**20), time.perf_counter() - began


ASK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""  # a small process: a child's count begins with the size of what it was forked from


def _parts(count: int) -> list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    random = np.random.default_rng(7)
    part = (random.random((PART_ROWS, len(NAMES))) * 7).round(4)
    return [part] * (count // PART_ROWS)


def _csv(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write(",".join(NAMES) + "\n")
        for part in _parts(count):
            np.savetxt(file, part, delimiter=",", fmt="%.4f")


def _quoted(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write(",".join(NAMES) + "\n")
        for part in _parts(count):
            np.savetxt(file, part, delimiter=",", fmt='"%.4f"')


def _json_lines(path: Path, count: int) -> None:
    with path.open("w") as file:
        for part in _parts(count):
            file.writelines(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in part.tolist())


def _parquet(path: Path, count: int) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, "float64") for name in NAMES])
    with parquet.ParquetWriter(path, schema) as writer:
        for part in _parts(count):
            writer.write_table(pyarrow.table({name: part[:, i] for i, name in enumerate(NAMES)}, schema))


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "CSV .csv": _csv,
    "CSV quoted .csv": _quoted,
    "JSON Lines .jsonl": _json_lines,
    "Parquet .parquet": _parquet,
}


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
