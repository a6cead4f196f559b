"""The reply as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman import json
from dragoman.dialects.datarobot import time_series
from dragoman.dialects.datarobot.explanations import Explanation
from dragoman.dialects.datarobot.layout import Layout
from dragoman.dialects.datarobot.rows import Asked, Rows, adjusted_values, number_texts, passed


def as_json(rows: Rows) -> bytes:
    """`{"data": […]}`. Numbers are written by orjson, all at once, and put into the text of a row: a dict a row costs twice the time."""
    if not len(rows):
        return b'{"data":[]}'
    layout, count, width = rows.asked.layout, len(rows), len(rows.asked.layout.labels)
    tokens = number_texts(rows.values.ravel())
    extras = _extras(rows)
    ids: Sequence[int] = range(count) if rows.asked.forecast is None else [row.row_id for row in rows.asked.forecast.rows]
    columns: list[Sequence[Any]] = [tokens[i::width] for i in range(width)]
    columns += [_predictions(rows, tokens), ids]
    if extras is not None:
        columns.append(extras)
    cells: list[Any] = [None] * (count * len(columns))
    for i, column in enumerate(columns):
        cells[i :: len(columns)] = column
    template = _template(layout, extras is not None)
    return ('{"data":[' + ",".join([template] * count) % tuple(cells) + "]}").encode()


def _template(layout: Layout, extras: bool) -> str:
    values = ",".join('{"label":%s,"value":%%s}' % _escaped(label) for label in layout.labels)  # noqa: UP031
    threshold = f'"predictionThreshold":{_escaped(layout.threshold)},' if layout.kind == "binary" else ""
    return f'{{"predictionValues":[{values}],{threshold}"prediction":%s,"rowId":%s{"%s" if extras else ""}}}'


def _escaped(value: Any) -> str:
    return json.encode(value).decode().replace("%", "%%")


def _predictions(rows: Rows, tokens: list[str]) -> list[str]:
    if rows.asked.layout.kind == "regression":
        found = list(tokens)
    else:
        labels = [json.encode(label).decode() for label in rows.asked.layout.labels]
        found = [labels[i] for i in rows.decided.tolist()]
    for row, value in rows.fired.overridden.items():
        found[row] = json.encode(value).decode()
    return found


def _extras(rows: Rows) -> list[str] | None:
    """What rows have beyond their predictions, as the text that follows; None where none has anything."""
    parts = [*_passthrough_parts(rows), *_explanation_parts(rows), *_adjusted_parts(rows), *_humility_parts(rows), *_time_parts(rows)]
    if not parts:
        return None
    found = []
    for together in zip(*parts, strict=True):
        merged = {name: value for part in together for name, value in part.items()}
        found.append("," + json.encode(merged)[1:-1].decode() if merged else "")
    return found


Part = Sequence[Mapping[str, Any]]


def _passthrough_parts(rows: Rows) -> Iterator[Part]:
    asked = rows.asked
    if asked.passthrough or asked.parameters.passthrough_all:
        columns = {name: passed(rows, name, asked.dataset.values(name, _type(asked, name))) for name in asked.passthrough}
        yield [{"passthroughValues": {name: column[i] for name, column in columns.items()}} for i in range(len(rows))]


def _explanation_parts(rows: Rows) -> Iterator[Part]:
    if rows.explained is not None:
        decided = rows.decided.tolist()
        yield [
            {"predictionExplanations": [_explanation(rows, e, i, rows.asked.layout.explained(decided[i])) for e in told]}
            for i, told in enumerate(rows.explained)
        ]


def _explanation(rows: Rows, explanation: Explanation, row: int, label: Any) -> dict[str, Any]:
    return {
        "label": label,
        "feature": explanation.feature,
        "featureValue": rows.feature_value(explanation.feature, row),
        "strength": explanation.strength,
        "qualitativeStrength": explanation.qualitative,
    }


def _adjusted_parts(rows: Rows) -> Iterator[Part]:
    adjusted = adjusted_values(rows)
    if adjusted is not None:
        target = rows.asked.layout.target
        yield [{"adjustedPrediction": a, "adjustedPredictionValues": [{"label": target, "value": a}]} for a in adjusted.tolist()]


def _humility_parts(rows: Rows) -> Iterator[Part]:
    if rows.fired.rules:
        yield [{"humility": rows.fired.rules[i]} if i in rows.fired.rules else {} for i in range(len(rows))]


def _time_parts(rows: Rows) -> Iterator[Part]:
    asked = rows.asked
    if asked.forecast is not None and asked.options.time_series is not None:
        original = asked.options.time_series.original_format_timestamp
        yield [
            time_series.described(row, text if original else None)
            for row, text in zip(asked.forecast.rows, asked.forecast.originals, strict=True)
        ]


def _type(asked: Asked, name: str) -> str | None:
    return next((f.type for f in asked.signature.inputs if f.name == name), None)
