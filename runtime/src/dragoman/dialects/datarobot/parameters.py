"""The parameters of a request: its query, checked as the original checks it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from dragoman.dialects.datarobot.moments import utc
from dragoman.dialects.datarobot.refusals import InvalidParameter, Unprocessable

DEFAULT_EXPLANATIONS = 3  # on /predictionExplanations; none on /predictions


@dataclass(frozen=True, slots=True)
class Parameters:
    """`max_explanations` 0: none are wanted. Thresholds that are None do not bound. Moments are in UTC, without a time zone."""

    passthrough: tuple[str, ...] = ()
    passthrough_all: bool = False
    max_explanations: int = 0
    threshold_low: float | None = None
    threshold_high: float | None = None
    adjusted: bool = False
    forecast_point: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    relaxed: bool = False  # known-in-advance features may be missing in the forecast window


@lru_cache(maxsize=1024)  # clients send the same few queries again and again
def parameters_of(query: str, explaining: bool, time_series: bool) -> Parameters:
    """`explaining`: of /predictionExplanations. Raises `InvalidParameter`, and `Unprocessable` for two that exclude each other."""
    known = _COMMON | _TIME_SERIES if time_series else _COMMON
    given: dict[str, Any] = {}
    columns: list[str] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise InvalidParameter(name, f"{name} is not allowed key")
        if not value.strip():
            raise InvalidParameter(name, "value is not exactly 'all'" if name == "passthroughColumnsSet" else "blank value is not allowed")
        if name == "passthroughColumns":
            columns.append(value)
        elif name not in given:  # of several, the first, as Flask reads them
            given[name] = _read(known[name], name, value)
    if columns and "passthroughColumnsSet" in given:
        raise Unprocessable("'passthroughColumns' and 'passthroughColumnsSet' cannot be used together")
    _check_range(given)
    explanations = given.get("maxExplanations", given.get("maxCodes"))
    return Parameters(
        passthrough=tuple(dict.fromkeys(columns)),
        passthrough_all="passthroughColumnsSet" in given,
        max_explanations=(DEFAULT_EXPLANATIONS if explaining else 0) if explanations is None else explanations,
        threshold_low=given.get("thresholdLow"),
        threshold_high=given.get("thresholdHigh"),
        adjusted=given.get("excludeAdjustedPredictions") is False,
        forecast_point=given.get("forecastPoint"),
        start=given.get("predictionsStartDate"),
        end=given.get("predictionsEndDate"),
        relaxed=given.get("relaxKnownInAdvanceFeaturesCheck") is True,
    )


def _check_range(given: Mapping[str, Any]) -> None:
    start, end = given.get("predictionsStartDate"), given.get("predictionsEndDate")
    if "forecastPoint" in given:
        for name in ("predictionsStartDate", "predictionsEndDate"):
            if name in given:
                raise Unprocessable(f"'forecastPoint' and {name!r} cannot be used together")
    if (start is None) != (end is None):
        there, missing = ("predictionsStartDate", "predictionsEndDate") if end is None else ("predictionsEndDate", "predictionsStartDate")
        raise InvalidParameter(missing, f"is required with {there!r}")
    if start is not None and end is not None and start >= end:
        raise InvalidParameter("predictionsEndDate", "value must be later than 'predictionsStartDate'")


def _read(reader: Callable[[str], Any], name: str, value: str) -> Any:
    try:
        return reader(value.strip())
    except ValueError as error:
        raise InvalidParameter(name, str(error)) from None


def _all(value: str) -> bool:
    if value != "all":
        raise ValueError("value is not exactly 'all'")
    return True


def _count(value: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise ValueError("value can't be converted to int")
    if int(value) < 0:
        raise ValueError("value is less than 0")
    return int(value)


def _bound(value: str) -> float | None:
    if value.lower() == "null":
        return None
    try:
        number = math.nan if "_" in value else float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError("value can't be converted to float")
    return number


def _switch(value: str) -> bool:
    try:
        return _SWITCHES[value.lower()]
    except KeyError:
        raise ValueError("value can't be converted to Bool") from None


def _moment(value: str) -> datetime:
    # a + that the client did not encode arrives as a space
    try:
        return utc(datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", value)))
    except (ValueError, OverflowError):
        raise ValueError("value is not a date and time in ISO 8601") from None


_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_COMMON: dict[str, Callable[[str], Any]] = {
    "passthroughColumns": str,
    "passthroughColumnsSet": _all,
    "maxExplanations": _count,
    "maxCodes": _count,
    "thresholdLow": _bound,
    "thresholdHigh": _bound,
    "excludeAdjustedPredictions": _switch,
}
_TIME_SERIES: dict[str, Callable[[str], Any]] = {
    "forecastPoint": _moment,
    "predictionsStartDate": _moment,
    "predictionsEndDate": _moment,
    "relaxKnownInAdvanceFeaturesCheck": _switch,
}
