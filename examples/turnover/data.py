"""Writes turnover.csv: the series from statsmodels, and what the calendar says of its months. Needs `pip install statsmodels`."""

import csv
from datetime import date
from pathlib import Path

import numpy as np
from dateutil.easter import easter

HERE = Path(__file__).parent
AHEAD = 12  # months after the last observation whose calendar is written, too


def working_days(month: date) -> int:
    """Mondays to Fridays."""
    return int(np.busday_count(month, next_month(month)))


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def rows() -> list[tuple[str, str, int, int]]:
    """Date, turnover ("" where it is not known yet), working days, and whether Easter Sunday is in the month."""
    from statsmodels.datasets import elec_equip

    series = elec_equip.load_pandas().data.iloc[:, 0]
    known = [(moment.date(), f"{value:g}") for moment, value in series.items()]
    for _ in range(AHEAD):
        known.append((next_month(known[-1][0]), ""))
    return [(m.isoformat(), value, working_days(m), int(easter(m.year).month == m.month)) for m, value in known]


if __name__ == "__main__":
    with (HERE / "turnover.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("date", "turnover", "working_days", "easter"))
        writer.writerows(rows())
