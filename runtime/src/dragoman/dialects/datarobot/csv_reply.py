"""The reply as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from dragoman.dialects.datarobot.dataset import text_of
from dragoman.dialects.datarobot.moments import point_text
from dragoman.dialects.datarobot.rows import Rows, adjusted_values, number_texts, passed


def as_csv(rows: Rows) -> bytes:
    """A header and a line a row; fields that are null are empty."""
    columns = list(_columns(rows))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    return out.getvalue().encode("utf-8", "replace")


def _columns(rows: Rows) -> Iterator[tuple[str, Sequence[str]]]:
    asked, layout, count = rows.asked, rows.asked.layout, len(rows)
    tokens = ["" if token == "null" else token for token in number_texts(rows.values.ravel())] if count else []
    yield f"{layout.target}_PREDICTION", _csv_predictions(rows, tokens)
    if layout.kind != "regression":
        for i, label in enumerate(layout.labels):
            yield f"{layout.target}_{label}_PREDICTION", tokens[i :: len(layout.labels)]
    if layout.kind == "binary":
        yield "THRESHOLD", [str(layout.threshold)] * count
        yield "POSITIVE_CLASS", [str(layout.labels[0])] * count
    adjusted = adjusted_values(rows)
    if adjusted is not None:
        yield f"{layout.target}_ADJUSTED_PREDICTION", ["" if t == "null" else t for t in number_texts(adjusted)]
    yield from _csv_explanations(rows)
    if asked.forecast is not None:
        yield "FORECAST_POINT", [point_text(row.point) for row in asked.forecast.rows]
        yield "FORECAST_DISTANCE", [str(row.distance) for row in asked.forecast.rows]
    for name in asked.passthrough:
        yield name, [text_of(value) for value in passed(rows, name, asked.dataset.texts(name))]


def _csv_predictions(rows: Rows, tokens: list[str]) -> list[str]:
    labels = rows.asked.layout.labels
    found = list(tokens) if rows.asked.layout.kind == "regression" else [str(labels[i]) for i in rows.decided.tolist()]
    for row, value in rows.fired.overridden.items():
        found[row] = str(value)
    return found


def _csv_explanations(rows: Rows) -> Iterator[tuple[str, Sequence[str]]]:
    """As many as the model has features, at most: a request may ask for a million."""
    told = rows.explained
    if told is None:
        return
    most = max(len(rows.asked.signature.inputs), *(len(one) for one in told), 0)
    for n in range(min(rows.asked.parameters.max_explanations, most)):
        ranked = [one[n] if n < len(one) else None for one in told]
        lead = f"EXPLANATION_{n + 1}"
        yield f"{lead}_FEATURE_NAME", ["" if e is None else e.feature for e in ranked]
        yield f"{lead}_STRENGTH", ["" if e is None else str(e.strength) for e in ranked]
        yield f"{lead}_ACTUAL_VALUE", ["" if e is None else text_of(rows.feature_value(e.feature, i)) for i, e in enumerate(ranked)]
        yield f"{lead}_QUALITATIVE_STRENGTH", ["" if e is None else e.qualitative for e in ranked]
