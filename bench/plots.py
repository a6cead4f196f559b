"""Plots of a run, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from bench.cases import CASES
from bench.contest import median
from bench.findings import Results, ratios
from bench.goals import short
from bench.servers import SERVERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = {
    "rates": "case A: requests a second, and the ratio to the floor",
    "ratios": "every case: requests a second as a ratio to the floor's",
    "latency": "case A: p50, p99 and p99.9",
}
_OURS, _FLOOR, _OTHERS = "#0b6e99", "#8a8a8a", "#d9a441"


def draw(results: Results, folder: Path, kind: str = "svg") -> None:
    """Writes PLAN-NAME.svg of each plot for which there are figures."""
    mpl.use("agg")
    mpl.rcParams |= {
        "svg.hashsalt": "dragoman",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    for name in PLOTS:
        figure = _DRAWN[name](results)
        if figure is not None:
            metadata: Any = {"Date": None} if kind == "svg" else {}
            figure.savefig(folder / f"{results.plan}-{name}.{kind}", metadata=metadata, bbox_inches="tight", dpi=110)


def _colour(server: str) -> str:
    return _FLOOR if server.startswith("floor") else _OURS if server in ("ours", "ours-unbatched", "compiled", "compiled-only") else _OTHERS


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    kinds = [
        Patch(color=_OURS, label="ours"),
        Patch(color=_FLOOR, label="floor: written by hand"),
        Patch(color=_OTHERS, label="other servers"),
    ]
    figure.legend(handles=kinds, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _rates(results: Results) -> Figure | None:
    from matplotlib.figure import Figure

    counts, servers = results.connections("A"), results.servers("A")
    if not counts:
        return None
    figure = Figure(figsize=(3.4 * len(counts) + 1.2, 0.32 * len(servers) + 1.1), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, counts, strict=True):
        floor = results.cell("A", "floor", count)
        for place, server in enumerate(servers):
            cell = results.cell("A", server, count)
            if cell is None:
                continue
            values = cell.rates()
            middle = median(values)
            axes.barh(place, middle, color=_colour(server), xerr=[[middle - min(values)], [max(values) - middle]], ecolor="#333333")
            times = "" if floor is None else f"   {short(median(ratios(values, floor.rates())))} x"
            axes.annotate(f"{middle:,.0f}{times}", (max(values), place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
        if floor is not None:
            axes.axvline(median(floor.rates()), color=_FLOOR, linestyle=":", linewidth=1)
        axes.set(title=f"{count} connection{'s' if count > 1 else ''}", xlabel="requests a second", xlim=(0, axes.get_xlim()[1] * 1.35))
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_yticks(range(len(servers)), [SERVERS[server].label for server in servers])
    panels[0].invert_yaxis()
    _legend(figure)
    return figure


def _ratios(results: Results) -> Figure | None:
    from matplotlib.figure import Figure

    lines = [(case, count) for case in CASES for count in results.connections(case) if results.cell(case, "floor", count)]
    if not lines:
        return None
    figure = Figure(figsize=(9, 0.34 * len(lines) + 1.4), layout="constrained")
    axes: Axes = figure.subplots()
    shown = [server for server in results.servers() if server != "floor"]
    colours = mpl.colormaps["tab10"]
    for number, server in enumerate(shown):
        places, values = [], []
        for place, (case, count) in enumerate(lines):
            cell, floor = results.cell(case, server, count), results.cell(case, "floor", count)
            if cell is not None and floor is not None:
                places.append(place)
                values.append(median(ratios(cell.rates(), floor.rates())))
        marker = "o" if _colour(server) == _OURS else "D"
        axes.plot(values, places, marker, color=colours(number % 10), label=SERVERS[server].label, markersize=7, alpha=0.85)
    axes.axvline(1, color=_FLOOR, linewidth=1.2, label="the floor")
    _logarithmic(axes)
    axes.set_yticks(range(len(lines)), [f"{case}, {count} connection{'s' if count > 1 else ''}" for case, count in lines])
    axes.invert_yaxis()
    axes.grid(axis="y", linewidth=0.4)
    axes.set_xlabel("requests a second, times the floor's (logarithmic): further right is faster")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _latency(results: Results) -> Figure | None:
    from matplotlib.figure import Figure

    counts, servers = results.connections("A"), results.servers("A")
    if not counts:
        return None
    figure = Figure(figsize=(3.2 * len(counts) + 1.2, 0.32 * len(servers) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    quantiles = {"p50": ("o", "p50"), "p99": ("D", "p99"), "p999": ("|", "p99.9")}
    for axes, count in zip(panels, counts, strict=True):
        for place, server in enumerate(servers):
            cell = results.cell("A", server, count)
            if cell is None:
                continue
            found = [cell.middle(name) for name in quantiles]
            axes.plot(found, [place] * len(found), color=_colour(server), linewidth=1.5)
            for value, (marker, _) in zip(found, quantiles.values(), strict=True):
                axes.plot(value, place, marker, color=_colour(server), markersize=6, markeredgewidth=2)
        _logarithmic(axes)
        axes.grid(axis="x", linewidth=0.4)
        axes.set(title=f"{count} connection{'s' if count > 1 else ''}", xlabel="ms (logarithmic)")
    panels[0].set_yticks(range(len(servers)), [SERVERS[server].label for server in servers])
    panels[0].invert_yaxis()
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color="#333333", linestyle="", marker=marker, label=name, markeredgewidth=2) for marker, name in quantiles.values()
    ]
    figure.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False)
    return figure


_DRAWN = {"rates": _rates, "ratios": _ratios, "latency": _latency}
