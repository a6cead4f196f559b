"""Learns the growth of turnover from turnover.csv, for the Python model in model/model.py."""

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "model"))
sys.dont_write_bytecode = True

from model import HISTORY, YEAR, growth_terms, months_of  # noqa: E402  the model's own way to see a month


def read() -> list[tuple[int, float, float, float]]:
    """Month, turnover, working days, Easter; of the months that are known."""
    with (HERE / "turnover.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["turnover"]]
    return [(months_of(r["date"]), float(r["turnover"]), float(r["working_days"]), float(r["easter"])) for r in rows]


def examples(rows: list[tuple[int, float, float, float]]) -> tuple[Any, Any]:
    """Terms and growth for every month, from every point up to a year before it."""
    observed = np.array([turnover for _, turnover, _, _ in rows])
    terms, growth = [], []
    for point in range(HISTORY, len(rows)):
        series = {rows[i][0]: i for i in range(point)}
        for row in range(point, min(point + YEAR, len(rows))):
            calendar = [rows[row][k] - rows[row - YEAR][k] for k in (2, 3)]
            terms.append(growth_terms(observed, series, calendar, row - point + 1))
            growth.append(np.log(observed[row] / observed[row - YEAR]))
    return np.array(terms), np.array(growth)


def train(folder: Path = HERE) -> str:
    """Writes growth.npz into the folder's model/, beside model.py; gives that folder's digest."""
    terms, growth = examples(read())
    weights, *_ = np.linalg.lstsq(terms, growth)
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    if folder != HERE:
        shutil.copy(HERE / "model" / "model.py", target)
    np.savez(target / "growth.npz", weights=weights)
    return digest_of(target)


if __name__ == "__main__":
    print(train())
