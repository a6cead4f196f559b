"""Moments and regular steps between them. Moments are `datetime` in UTC without a time zone, as the API writes them."""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Step:
    """A regular time step: so many seconds, or so many months on the same day of the month (the last, where a month has no such day)."""

    seconds: int = 0
    months: int = 0
    day: int = 31  # of the month; 31 is the last one of every month

    @classmethod
    def of(cls, unit: str, count: int, seen: Iterable[datetime]) -> Step:
        """`unit`: second, minute, hour, day, week, month, quarter or year. `seen`: the series' moments, which tell the day of the month."""
        if unit in _SECONDS:
            return cls(seconds=_SECONDS[unit] * count)
        return cls(months=_MONTHS[unit] * count, day=max((moment.day for moment in seen), default=31))

    def after(self, moment: datetime, steps: int) -> datetime:
        """Raises `OverflowError` beyond the years 1 and 9999."""
        if not self.months:
            return moment + timedelta(seconds=self.seconds * steps)
        year, month = divmod(moment.year * 12 + moment.month - 1 + self.months * steps, 12)
        if not 1 <= year <= 9999:
            raise OverflowError("date value out of range")
        day = min(max(self.day, moment.day), calendar.monthrange(year, month + 1)[1])
        return moment.replace(year=year, month=month + 1, day=day)

    def between(self, start: datetime, moment: datetime) -> int | None:
        """How many steps `moment` is after `start`; None where it is not on a step."""
        if not self.months:
            steps, rest = divmod(moment - start, timedelta(seconds=self.seconds))
            return None if rest else steps
        steps, over = divmod((moment.year - start.year) * 12 + moment.month - start.month, self.months)
        return None if over or self.after(start, steps) != moment else steps


def utc(moment: datetime) -> datetime:
    """In UTC, without a time zone; one that has none is taken to be in UTC."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def parsed(text: str, form: str | None) -> datetime:
    """A moment as a data set writes it: ISO 8601, or in `form`, which is strptime's. Raises `ValueError`."""
    return utc(datetime.fromisoformat(text.strip()) if form is None else datetime.strptime(text.strip(), form))  # noqa: DTZ007


def written(moment: datetime, form: str | None, like: str = "") -> str:
    """A moment as the data set writes them: in `form`, else in ISO 8601; a date alone where `like`, another one of the set, is that."""
    if form is not None:
        return moment.strftime(form)
    if len(like.strip()) == 10 and not (moment.hour or moment.minute or moment.second or moment.microsecond):
        return moment.date().isoformat()
    return moment.isoformat() + ("Z" if like.strip().endswith("Z") else "")


def point_text(moment: datetime) -> str:
    """`2018-01-09T00:00:00Z`: of a forecast point."""
    return moment.isoformat(timespec="seconds") + "Z"


def stamp_text(moment: datetime) -> str:
    """`2018-01-10T00:00:00.000000Z`: of a row."""
    return moment.isoformat(timespec="microseconds") + "Z"
