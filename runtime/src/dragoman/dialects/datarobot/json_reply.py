"""The reply as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dragoman import json
from dragoman.dialects.datarobot import time_series
from dragoman.dialects.datarobot.explanations import Explanation
from dragoman.dialects.datarobot.rows import Asked, Rows, adjusted_values, number_texts, passed


def as_json(rows: Rows) -> bytes:
    """`{"data": […]}`, written some thousand rows at a time: millions of small texts would take several times the room of the reply."""
    extras = _extras(rows)
    blocks = [_block(rows, start, min(start + _BLOCK_ROWS, len(rows)), extras) for start in range(0, len(rows), _BLOCK_ROWS)]
    return b"".join([b'{"data":[', b",".join(blocks), b"]}"])


def _block(rows: Rows, start: int, stop: int, extras: Sequence[str] | None) -> bytes:
    """Some rows. Numbers are written by orjson, all at once, and the texts of rows joined around them: dicts would take twice the time."""
    layout, count, width = rows.asked.layout, stop - start, len(rows.asked.layout.labels)
    tokens = number_texts(rows.values[start:stop].ravel())
    columns = [*(tokens[i::width] for i in range(width)), _predictions(rows, start, stop, tokens), _ids(rows, start, stop)]
    size = 2 * len(columns) + (1 if extras is None else 2)
    texts = [""] * (count * size)
    for i, (piece, column) in enumerate(zip(layout.pieces, columns, strict=True)):
        texts[2 * i :: size] = [piece] * count
        texts[2 * i + 1 :: size] = column
    if extras is not None:
        texts[size - 2 :: size] = extras[start:stop]
    texts[size - 1 :: size] = ["},"] * count
    texts[-1] = "}"
    return "".join(texts).encode()


def _ids(rows: Rows, start: int, stop: int) -> Sequence[str]:
    forecast = rows.asked.forecast
    if forecast is not None:
        return [str(row.row_id) for row in forecast.rows[start:stop]]
    return _counted(stop) if start == 0 else [str(i) for i in range(start, stop)]


@lru_cache(maxsize=8)
def _counted(count: int) -> Sequence[str]:
    return [str(i) for i in range(count)]


def _predictions(rows: Rows, start: int, stop: int, tokens: list[str]) -> list[str]:
    if rows.asked.layout.kind == "regression":
        found = list(tokens)
    else:
        labels = rows.asked.layout.label_texts
        found = [labels[i] for i in rows.decided[start:stop].tolist()]
    for row, value in rows.fired.overridden.items():
        if start <= row < stop:
            found[row - start] = json.encode(value).decode()
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


_BLOCK_ROWS = 8192
