"""How time and memory grow with rows, features, connections and models: figures, plots, and the exponent over each range.

Run: python -m bench.scaling [--part rows|features|connections|models|report] (all of them, when none is named)
Each part leaves its figures in results/scaling.json; the plots and results/scaling.md are made from that, also by `--part report`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from bench.scaling_parts import connections, features, models, rows

RESULTS = Path(__file__).parent / "results"
FIGURES = RESULTS / "scaling.json"
Points = Mapping[str, Sequence[float]]  # by column; the first is what grows


@dataclass(frozen=True)
class Law:
    """A part: what grows, which columns are times (log-log, with exponents) and which are memory, and what is to be said of it."""

    title: str
    x: str
    times: Mapping[str, str]  # by column: its label
    memory: Mapping[str, str]
    bends: str


LAWS = {
    "rows": Law(
        "Rows in a request",
        "rows",
        {"v1_ms": "v1, JSON: ms", "v2_ms": "v2, binary: ms"},
        {"v1_mb": "v1, JSON: MB at the peak", "v2_mb": "v2, binary: MB at the peak"},
        "Flat to some hundred rows, where a request's own cost is all there is; then linear. JSON is read number by number, a "
        "binary tensor in one copy. That bodies of 1 MiB and more are decoded in a thread does not show as a step. A million "
        "rows of four numbers are 22 MB of JSON; of thirty full doubles, 600 MB: raise `maxRequestBytes` (50 MiB), send them in "
        "parts, or use `dragoman predict`. Memory below 1 MB is shown as 1.",
    ),
    "features": Law(
        "Features of a model, one row",
        "features",
        {"v1_ms": "v1, JSON: ms", "v2_ms": "v2, binary: ms", "ready_s": "s until ready"},
        {"pss_mb": "MB, all processes"},
        "Flat to some hundred features, then no worse than linear: a row is checked as one array, never field by field. Start-"
        "up and memory bend where describing each feature (OpenAPI, examples) comes to more than importing scikit-learn.",
    ),
    "connections": Law(
        "Connections, each with one request after the other",
        "connections",
        {"ms_a_request": "ms of the server for a request", "p50_ms": "p50, ms", "p99_ms": "p99, ms"},
        {"pss_mb": "MB, all processes"},
        "What a request costs falls until batches are full (64 rows), and rises a little from some hundred connections on: no "
        "more is done for each (the same code, in process and without sockets, takes 12 us in turn over 64 connections, 14 over"
        " 4,000), but the 10 KB that a connection keeps do not all fit into the processor's caches. Clients wait in proportion "
        "to their number. By default `maxConcurrency` (512) answers 429 long before.",
    ),
    "models": Law(
        "Models in one process",
        "models",
        {"ready_s": "s until ready", "v1_ms": "v1, one row: ms", "scrape_ms": "/metrics: ms"},
        {"pss_mb": "MB, all processes", "openapi_mb": "/openapi.json: MB"},
        "A request's time does not depend on how many models there are: paths are looked up in a table. Start-up is a constant "
        "(imports) to about ten models, then linear: each is fetched by a process of its own, eight at once, and tried by "
        "another. A scrape is linear, too: each model has its own histograms.",
    ),
}
PARTS = {"rows": rows, "features": features, "connections": connections, "models": models}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[*PARTS, "report"])
    options = parser.parse_args()
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in [options.part] if options.part else [*PARTS]:
        if name in PARTS:
            known[name] = PARTS[name]()
            RESULTS.mkdir(exist_ok=True)
            FIGURES.write_text(json.dumps(known, indent=1) + "\n")
    report({name: known[name] for name in LAWS if name in known})


def report(known: Mapping[str, Points]) -> None:
    text = ["# Scaling laws", "`python -m bench.scaling`; what is measured: `bench/scaling_parts.py`. An exponent of 1 is linear, 0 none."]
    for name, points in known.items():
        law = LAWS[name]
        plot(name, law, points)
        text += [f"## {law.title}", law.bends, f"![{law.title}](scaling_{name}.svg)", table(points), exponents(law, points)]
    (RESULTS / "scaling.md").write_text("\n\n".join(text) + "\n")


def table(points: Points) -> str:
    lines = [" | ".join(points), " | ".join("---" for _ in points)]
    lines += [
        " | ".join(f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in row) for row in zip(*points.values(), strict=True)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def exponents(law: Law, points: Points) -> str:
    """The slope in log-log, over the points up to the bend and from it on."""
    x = points[law.x]
    lines = ["| | up to the bend | | from the bend on | |", "|---|---|---|---|---|"]
    for column, label in {**law.times, **law.memory}.items():
        y = points[column]
        at = bend(x, y)
        low, high = (slope(x[: at + 1], y[: at + 1]), f"to {x[at]:,}"), (slope(x[at:], y[at:]), f"{x[at]:,} to {x[-1]:,}")
        lines.append(f"| {label} | {low[0]} | {low[1]} | {high[0]} | {high[1]} |")
    return "\n".join(lines)


def bend(x: Sequence[float], y: Sequence[float]) -> int:
    """The point that parts the curve best into two straight lines in log-log; each has two points at least."""
    return min(range(1, len(x) - 1), key=lambda at: _residual(x[: at + 1], y[: at + 1]) + _residual(x[at:], y[at:]))


def slope(x: Sequence[float], y: Sequence[float]) -> str:
    return f"{np.polyfit(np.log(x), np.log(y), 1)[0]:.2f}"


def _residual(x: Sequence[float], y: Sequence[float]) -> float:
    logs = np.log(x), np.log(y)
    return math.fsum((np.polyval(np.polyfit(*logs, 1), logs[0]) - logs[1]) ** 2)


def plot(name: str, law: Law, points: Points) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dragoman"  # the same figures give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.8))
    for axis, shown, title in ((axes[0], law.times, "time"), (axes[1], law.memory, "memory")):
        for column, label in shown.items():
            axis.loglog(points[law.x], points[column], marker="o", label=label)
        ends = np.array([points[law.x][-1] / 10, points[law.x][-1]])
        highest = max(points[column][-1] for column in shown)
        axis.loglog(ends, highest * ends / ends[-1], linestyle=":", color="grey", label="linear")
        axis.set(xlabel=law.x, title=f"{law.title}: {title}")
        axis.title.set_size(10)
        axis.legend(fontsize=8)
        axis.grid(visible=True, which="major", alpha=0.3)
    figure.tight_layout()
    figure.savefig(RESULTS / f"scaling_{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
