"""Forecasts a monthly series up to a year ahead: last year's value of the month, times the growth that is expected since then.

The growth is a linear function of the recent growth, of how the month's calendar differs from last year's, and of the distance.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from dragoman import Field, Model, Table
from dragoman.errors import InvalidInput

YEAR, RECENT = 12, 3
HISTORY = YEAR + RECENT  # months that a forecast needs
FEATURES = ("turnover", "working_days", "easter", "FORECAST_DISTANCE")


class Turnover(Model):
    inputs = (
        Field("date", "string", example="2016-05-01"),
        Field("turnover", nullable=True, example=95.3),
        Field("working_days", nullable=True, minimum=0, maximum=23, example=22),
        Field("easter", nullable=True, minimum=0, maximum=1, example=0),
        Field("FORECAST_POINT", "string", example="2016-05-01T00:00:00Z"),
        Field("FORECAST_DISTANCE", "integer", example=0),
    )
    target = "turnover"

    def load(self, folder: Path) -> None:
        with np.load(folder / "growth.npz") as kept:
            self.weights = kept["weights"]

    def predict(self, table: Table) -> Any:
        """The observation in a row of the history, the forecast in a row after it."""
        answers = table.column(1).astype(float).copy()
        for row, last_year, terms in self._forecasts(table):
            answers[row] = last_year * np.exp(self.weights @ terms)
        return answers

    def explain(self, table: Table) -> Any:
        """How many points of a forecast are due to each feature."""
        strengths: list[dict[str, float]] = [{} for _ in range(table.rows)]
        for row, last_year, terms in self._forecasts(table):
            forecast = last_year * np.exp(self.weights @ terms)
            strengths[row] = dict(zip(FEATURES, (forecast * self.weights * terms).tolist(), strict=True))
        return strengths

    def _forecasts(self, table: Table) -> Any:
        """For each row after its forecast point: its place, last year's observation, and the terms of the growth."""
        months = [months_of(date) for date in table.column(0)]
        observed, working_days, easter = (table.column(i).astype(float) for i in (1, 2, 3))
        points: dict[str, list[int]] = defaultdict(list)
        for row, point in enumerate(table.column(4)):
            points[point].append(row)
        for rows in points.values():
            series = {months[i]: i for i in rows if table.column(5)[i] <= 0 and not np.isnan(observed[i])}
            for row in (i for i in rows if table.column(5)[i] > 0):
                try:
                    before = series[months[row] - YEAR]
                    calendar = [values[row] - values[before] for values in (working_days, easter)]
                    terms = growth_terms(observed, series, calendar, int(table.column(5)[row]))
                except (KeyError, ValueError):
                    raise InvalidInput(f"row {row}: a forecast needs the {HISTORY} months before it, without gaps") from None
                yield row, observed[before], terms


def months_of(date: str) -> int:
    return int(date[:4]) * 12 + int(date[5:7])


def growth_terms(observed: Any, series: dict[int, int], calendar: list[float], distance: int) -> Any:
    """Recent growth over a year, changes of the calendar (none where it is not known), and what is left of the growth at that distance."""
    last = max(series)
    logs = [np.log(observed[series[last - i]]) - np.log(observed[series[last - i - YEAR]]) for i in range(RECENT)]
    recent = float(np.mean(logs))
    return np.array([recent, *np.nan_to_num(calendar), -recent * distance / YEAR])
