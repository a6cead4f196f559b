"""Time series: which rows of a data set are history, which are forecast, from which point, and what the model is given of them.

The model gets the rows of each series in the order of time: the history up to the forecast point, then the rows after it, in which only
the timestamp, the series' id and the features known in advance have values. Where its inputs name them, `FORECAST_POINT` (text) and
`FORECAST_DISTANCE` (steps; 0 and less in the history) are made here. Its answers to the rows of the forecast window are the reply.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from dragoman.datarobot_options import TimeSeries
from dragoman.dialects.datarobot.dataset import Dataset, objects
from dragoman.dialects.datarobot.moments import Step, parsed, point_text, stamp_text, written
from dragoman.dialects.datarobot.parameters import Parameters
from dragoman.dialects.datarobot.refusals import InvalidParameter, Unprocessable
from dragoman.errors import BadRequest
from dragoman.signature import Signature
from dragoman.table import Array, Table

POINT, DISTANCE = "FORECAST_POINT", "FORECAST_DISTANCE"
MADE = frozenset({POINT, DISTANCE})  # inputs of a model that no data set has
_MOST_ROWS = 250_000


@dataclass(slots=True)
class Row:
    """One row that the model is given. `source`: where it is in the data set, -1 for one that was made."""

    source: int
    row_id: int
    series: Any
    moment: datetime
    point: datetime
    distance: int
    picked: bool = False  # its prediction is part of the reply

    @property
    def ahead(self) -> bool:
        return self.distance > 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the model is given, and the rows of the reply in its order: `picked` are their places in the table."""

    table: Table
    picked: Array
    rows: tuple[Row, ...]
    originals: tuple[str, ...]  # the timestamps as the data set writes them

    @property
    def taken(self) -> Array:
        """Which row of the data set each replied row is; -1 for those that were made."""
        return np.array([row.source for row in self.rows], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class _Series:
    """One series' rows in the order of time."""

    id: Any
    sources: list[int]
    moments: list[datetime]
    step: Step | None
    where: dict[datetime, int] = field(default_factory=dict)

    def rank(self, point: datetime) -> int:
        """How many rows are at or before the point."""
        return bisect_right(self.moments, point)

    def distance(self, index: int, point: datetime, rank: int) -> int:
        """Of a row from the point, in steps; of rows off the steps in the history, by counting rows."""
        if self.step is None:
            return index - rank + 1
        steps = self.step.between(point, self.moments[index])
        if steps is not None:
            return steps
        if index >= rank:
            raise Unprocessable(
                f"row {self.sources[index]}: {self.moments[index].isoformat()} is not a whole number of time steps "
                f"after the forecast point {point_text(point)}"
            )
        return index - rank + 1


def columns_of(options: TimeSeries, target: str) -> frozenset[str]:
    """The columns that are read here."""
    return frozenset(name for name in (options.timestamp_column, options.series_id_column, target) if name)


def forecast_of(dataset: Dataset, options: TimeSeries, target: str, signature: Signature, parameters: Parameters) -> Forecast:
    """Raises a 400 for timestamps that are none, a 422 for a forecast that the rows or parameters do not allow."""
    series = list(_series(dataset, options))
    if parameters.start is not None and parameters.end is not None:
        if signature.inputs and POINT not in {f.name for f in signature.inputs}:
            raise InvalidParameter("predictionsStartDate", f"the model has no input {POINT}: it forecasts from one point at a time")
        rows = _of_range(series, options, parameters.start, parameters.end)
    elif dataset.rows:
        point = parameters.forecast_point or _latest(dataset, series, target)
        rows = _of_point(series, options, point, dataset.rows)
    else:
        rows = []
    picked = sorted((i for i, row in enumerate(rows) if row.picked), key=lambda i: (rows[i].row_id, rows[i].distance))
    table = _table(dataset, rows, options, signature)
    if not parameters.relaxed:
        _check_known(table, rows, options)
    replied = tuple(rows[i] for i in picked)
    return Forecast(table, np.array(picked, dtype=np.intp), replied, tuple(_originals(dataset, replied, options)))


# --- which rows --------------------------------------------------------------------------------------------------


def _series(dataset: Dataset, options: TimeSeries) -> Iterator[_Series]:
    for name in (options.timestamp_column, options.series_id_column):
        if name is not None and name not in dataset.kept and dataset.rows:
            raise Unprocessable(f"columns do not match the model's features, features expected but not found: {[name]}")
    if not dataset.rows:
        return
    moments = _moments(dataset, options)
    ids = dataset.values(options.series_id_column) if options.series_id_column else [None] * dataset.rows
    groups: dict[Any, list[int]] = {}
    for i, identity in enumerate(ids):
        if isinstance(identity, list | dict):
            raise BadRequest(f"row {i}: {options.series_id_column!r} must be a string or a number")
        groups.setdefault((type(identity), identity), []).append(i)
    for (_, identity), members in groups.items():
        ordered = sorted(members, key=lambda i: moments[i])
        times = [moments[i] for i in ordered]
        where = {moment: i for i, moment in enumerate(times)}
        if len(where) != len(times):
            twice = next(b for a, b in pairwise(ordered) if moments[a] == moments[b])
            raise BadRequest(f"row {twice}: {moments[twice].isoformat()} is there twice in its series")
        step = Step.of(options.time_unit, options.time_step or 1, times) if options.time_unit else None
        yield _Series(identity, ordered, times, step, where)


def _moments(dataset: Dataset, options: TimeSeries) -> list[datetime]:
    known: dict[Any, datetime] = {}
    found = []
    for i, text in enumerate(dataset.kept[options.timestamp_column]):
        if text not in known:
            try:
                known[text] = parsed(text, options.timestamp_format)
            except (ValueError, TypeError, AttributeError, OverflowError):
                form = "ISO 8601" if options.timestamp_format is None else options.timestamp_format
                raise BadRequest(f"row {i}: {options.timestamp_column!r} must be a date and time ({form}), got {text!r}") from None
        found.append(known[text])
    return found


def _latest(dataset: Dataset, series: Sequence[_Series], target: str) -> datetime:
    """The last moment at which some series' target is known."""
    values = dataset.values(target, "number") if target in dataset.kept else None
    known = [m for s in series for i, m in zip(s.sources, s.moments, strict=True) if values is None or _is_there(values[i])]
    if not known:
        raise InvalidParameter("forecastPoint", f"no row has a value of {target!r} to forecast from: say where the forecast begins")
    return max(known)


def _of_point(series: Sequence[_Series], options: TimeSeries, point: datetime, rows: int) -> list[Row]:
    found: list[Row] = []
    next_id = rows
    for one in series:
        rank = one.rank(point)
        if rank == 0:
            raise InvalidParameter("forecastPoint", f"{_named(one)} has no row at or before {point_text(point)}")
        block, ahead = _history(one, options, point, rank), _ahead(one, options, point, rank)
        if not ahead and one.step is not None:
            ahead = _expanded(one, options, point, next_id)
            next_id += len(ahead)
        found += block + ahead
    _refuse_many(found)
    return found


def _history(one: _Series, options: TimeSeries, point: datetime, rank: int) -> list[Row]:
    first = 0 if options.history_steps is None else max(0, rank - options.history_steps)
    return [_row(one, i, point, min(one.distance(i, point, rank), 0)) for i in range(first, rank)]


def _ahead(one: _Series, options: TimeSeries, point: datetime, rank: int) -> list[Row]:
    window = options.forecast_window
    found = []
    for i in range(rank, len(one.sources)):
        distance = one.distance(i, point, rank)
        if distance <= window.end:
            found.append(_row(one, i, point, distance, window.start <= distance))
    return found


def _expanded(one: _Series, options: TimeSeries, point: datetime, next_id: int) -> list[Row]:
    """The rows of the forecast window, of which the data set has none."""
    assert one.step is not None
    distances = range(options.forecast_window.start, options.forecast_window.end + 1)
    try:
        return [Row(-1, next_id + n, one.id, one.step.after(point, d), point, d, picked=True) for n, d in enumerate(distances)]
    except OverflowError:
        raise InvalidParameter("forecastPoint", "the forecast window ends after the year 9999") from None


def _of_range(series: Sequence[_Series], options: TimeSeries, start: datetime, end: datetime) -> list[Row]:
    """Every row from `start` up to, not including, `end`, at every distance of the window from which its series has a row."""
    found: list[Row] = []
    for one in series:
        for point, picked in sorted(_points(one, options, start, end).items()):
            found += _history(one, options, point, one.rank(point))
            found += [_row(one, i, point, distance, picked=True) for i, distance in picked]
            _refuse_many(found)
    return found


def _points(one: _Series, options: TimeSeries, start: datetime, end: datetime) -> dict[datetime, list[tuple[int, int]]]:
    """By forecast point the rows that are forecast from it, with their distances."""
    points: dict[datetime, list[tuple[int, int]]] = {}
    for i, moment in enumerate(one.moments):
        if not start <= moment < end:
            continue
        for distance in range(options.forecast_window.start, options.forecast_window.end + 1):
            point = _before(one, i, distance)
            if point is not None:
                points.setdefault(point, []).append((i, distance))
    return points


def _before(one: _Series, index: int, distance: int) -> datetime | None:
    if one.step is None:
        return one.moments[index - distance] if distance <= index else None
    try:
        point = one.step.after(one.moments[index], -distance)
    except OverflowError:
        return None
    return point if point in one.where and one.step.between(point, one.moments[index]) == distance else None


def _row(one: _Series, index: int, point: datetime, distance: int, picked: bool = False) -> Row:
    source = one.sources[index]
    return Row(source, source, one.id, one.moments[index], point, distance, picked)


def _refuse_many(rows: Sequence[Row]) -> None:
    if len(rows) > _MOST_ROWS:
        raise Unprocessable(
            f"the forecast needs more than {_MOST_ROWS} rows: ask for a shorter range, or let timeSeries.historySteps bound the history"
        )


# --- what the model is given -------------------------------------------------------------------------------------


def _table(dataset: Dataset, rows: Sequence[Row], options: TimeSeries, signature: Signature) -> Table:
    sources = np.array([row.source for row in rows], dtype=np.intp)
    made, ahead = sources < 0, np.array([row.ahead for row in rows], dtype=bool)
    known = {options.timestamp_column, options.series_id_column}
    columns: dict[str, Array] = {}
    for name, column in zip(dataset.table.names or (), _columns(dataset.table), strict=True):
        taken = column[sources] if len(column) else np.full(len(rows), None, dtype=object)
        columns[name] = _blanked(taken, made if name in known or name in options.known_in_advance else ahead | made)
    _fill(columns, options.timestamp_column, rows, made, _originals(dataset, rows, options))
    if options.series_id_column is not None:
        _fill(columns, options.series_id_column, rows, made, [_as_sent(row.series, dataset) for row in rows])
    wanted = {f.name for f in signature.inputs}
    if POINT in wanted or not wanted:
        columns[POINT] = objects([point_text(row.point) for row in rows])
    if DISTANCE in wanted or not wanted:
        columns[DISTANCE] = np.array([row.distance for row in rows], dtype=np.int64)
    ordered = [f.name for f in signature.inputs if f.name in columns] or list(columns)
    return Table.of_columns({name: columns[name] for name in ordered}, len(rows))


def _columns(table: Table) -> Iterator[Array]:
    return (table.column(i) for i in range(table.width))


def _blanked(column: Array, blank: Array) -> Array:
    if not blank.any():
        return column
    if column.dtype.kind == "f":
        return np.where(blank, np.nan, column)
    found = column.astype(object)
    found[blank] = None
    return found


def _fill(columns: dict[str, Array], name: str, rows: Sequence[Row], made: Array, values: Sequence[Any]) -> None:
    """What rows that were made have of a column, where the model takes it."""
    if name in columns and made.any():
        column = columns[name].astype(object)
        for i in np.flatnonzero(made).tolist():
            column[i] = values[i]
        columns[name] = column


def _as_sent(series: Any, dataset: Dataset) -> Any:
    return str(series) if dataset.of_text and series is not None else series


def _originals(dataset: Dataset, rows: Sequence[Row], options: TimeSeries) -> list[str]:
    sent = dataset.kept.get(options.timestamp_column, ())
    like = str(sent[0]) if sent else ""
    return [str(sent[row.source]) if row.source >= 0 else written(row.moment, options.timestamp_format, like) for row in rows]


def _check_known(table: Table, rows: Sequence[Row], options: TimeSeries) -> None:
    """Rows that were sent must have the features known in advance; those that were made cannot."""
    sent = np.array([row.picked and row.source >= 0 for row in rows], dtype=bool)
    names = table.names or ()
    lacking = []
    for name in options.known_in_advance:
        if name in names and not all(_is_there(value) for value in table.column(names.index(name))[sent].tolist()):
            lacking.append(name)
    if lacking:
        raise Unprocessable(
            f"features known in advance have missing values in the forecast window: {lacking}; "
            "relaxKnownInAdvanceFeaturesCheck=true allows it"
        )


def _is_there(value: Any) -> bool:
    return value is not None and value == value and value != ""


def _named(one: _Series) -> str:
    return "the data set" if one.id is None else f"series {one.id!r}"


def described(row: Row, original: str | None) -> Mapping[str, Any]:
    """What a JSON row tells of its place in time."""
    found: dict[str, Any] = {
        "seriesId": row.series,
        "forecastPoint": point_text(row.point),
        "timestamp": stamp_text(row.moment),
        "forecastDistance": row.distance,
    }
    return found if original is None else found | {"originalFormatTimestamp": original}
