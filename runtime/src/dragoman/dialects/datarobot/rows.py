"""The rows of a reply, before they are written: values, decisions, explanations, humility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from dragoman.call import EXPLAIN, Prediction
from dragoman.datarobot_options import Datarobot as Options
from dragoman.dialects.datarobot import explanations, humility
from dragoman.dialects.datarobot.dataset import Dataset
from dragoman.dialects.datarobot.explanations import Explanation
from dragoman.dialects.datarobot.layout import Layout
from dragoman.dialects.datarobot.parameters import Parameters
from dragoman.dialects.datarobot.time_series import Forecast, Row
from dragoman.signature import Signature
from dragoman.table import Array


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked for, kept until its answer is there."""

    layout: Layout
    options: Options
    signature: Signature
    parameters: Parameters
    dataset: Dataset
    media_type: str
    passthrough: tuple[str, ...] = ()
    forecast: Forecast | None = None
    exposure: Array | None = None  # of the replied rows

    def exposed(self, exposure: Array) -> Asked:
        return replace(self, exposure=exposure)


@dataclass(frozen=True, slots=True)
class Rows:
    """The replied rows, before they are written. `values` has shape (rows, labels)."""

    asked: Asked
    values: Array
    decided: Array
    explained: list[list[Explanation]] | None
    fired: humility.Fired

    def __len__(self) -> int:
        return len(self.values)

    def feature_value(self, feature: str, row: int) -> Any:
        """What a feature was in a row: as it was sent; in a forecast, as the model was given it."""
        dataset = self.asked.dataset
        if feature in dataset.kept and self.asked.forecast is None:
            return _one_value(dataset, feature, row, self.asked.signature)
        table = dataset.table if self.asked.forecast is None else self.asked.forecast.table
        names = table.names or ()
        if feature not in names:
            return None
        place = row if self.asked.forecast is None else int(self.asked.forecast.picked[row])
        value = table.column(names.index(feature))[place]
        value = value.item() if isinstance(value, np.generic) else value
        return None if value != value else value


def rows_of(asked: Asked, prediction: Prediction) -> Rows:
    """Raises `ReturnError` where a humility rule says so, and `ModelFailed` for an answer of another shape."""
    layout, parameters, forecast = asked.layout, asked.parameters, asked.forecast
    values = layout.values(prediction)
    if forecast is not None:
        values = values[forecast.picked]
    decided = layout.decided(values)
    scores = layout.scores(values, decided)
    told = None
    if parameters.max_explanations:
        told = _explanations(
            asked, prediction.outputs[EXPLAIN], explanations.explained(scores, parameters.threshold_low, parameters.threshold_high)
        )
    fired = humility.Fired({}, {})
    if asked.options.humility:
        fired = humility.fired(asked.options.humility, scores, asked.dataset, None if forecast is None else forecast.taken)
    return Rows(asked, values, decided, told, fired)


def _explanations(asked: Asked, given: Array, chosen: Array) -> list[list[Explanation]]:
    strengths = explanations.contributions(given, [f.name for f in asked.signature.inputs], asked.layout.explained_sign)
    places = range(len(chosen)) if asked.forecast is None else asked.forecast.picked.tolist()
    most = asked.parameters.max_explanations
    return [explanations.strongest(strengths(place), most) if here else [] for place, here in zip(places, chosen.tolist(), strict=True)]


def _one_value(dataset: Dataset, feature: str, source: int, signature: Signature) -> Any:
    if not dataset.of_text:
        return dataset.kept[feature][source]
    type_ = next((f.type for f in signature.inputs if f.name == feature), None)
    return Dataset((feature,), dataset.table, {feature: [dataset.kept[feature][source]]}, of_text=True).values(feature, type_)[0]


def adjusted_values(rows: Rows) -> Array | None:
    """The predictions times, or by, the rows' exposure; shape (rows,). None where they are not asked for."""
    exposure = rows.asked.exposure
    if exposure is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return rows.values[:, 0] / exposure if rows.asked.options.exposure_adjustment == "divide" else rows.values[:, 0] * exposure


def passed(rows: Rows, name: str, sent: Sequence[Any]) -> list[Any]:
    """A passthrough column of the replied rows; rows that were made have their timestamp and the id of their series, and None else."""
    forecast, options = rows.asked.forecast, rows.asked.options.time_series
    if forecast is None or options is None:
        return list(sent)

    def made(row: Row, original: str) -> Any:
        return original if name == options.timestamp_column else row.series if name == options.series_id_column else None

    return [sent[r.source] if r.source >= 0 else made(r, o) for r, o in zip(forecast.rows, forecast.originals, strict=True)]


def number_texts(values: Array) -> list[str]:
    """Each number as JSON writes it: shortest, and reading back as the same; null for NaN and infinity."""
    if values.size < _FEW:
        return orjson.dumps(values.tolist())[1:-1].decode().split(",")
    array = np.ascontiguousarray(values, dtype=values.dtype if values.dtype.kind in "iu" else np.float64)
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")


_FEW = 64  # numbers, of which a list is made faster than numpy is asked
