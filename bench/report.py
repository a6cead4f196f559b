"""Tables and plots of a run: bench/results/PLAN.md and its plots, and with --readme what the README shows.

Run: python -m bench.report short [--readme]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import plots
from bench.cases import CASES
from bench.contest import ROOT, median
from bench.findings import FOLDER, Cell, Results, load, ratios
from bench.goals import Verdict, judged, short, shown
from bench.servers import SERVERS

README = ROOT / "README.md"
BEGIN, END = "<!-- bench: python -m bench.report -->", "<!-- /bench -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", nargs="?", default="short")
    parser.add_argument("--readme", action="store_true", help="put the short table into README.md")
    options = parser.parse_args()
    results = load(options.plan)
    write(results)
    if options.readme:
        text = README.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        if not rest or not after:
            raise SystemExit(f"README.md has no {BEGIN} … {END}")
        README.write_text(f"{before}{BEGIN}\n{readme(results)}\n{END}{after}", encoding="utf-8")


def write(results: Results, folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{results.plan}.md").write_text(markdown(results), encoding="utf-8")
    plots.draw(results, folder)


def markdown(results: Results) -> str:
    parts = [
        f"# The yardstick, {results.plan} run",
        head(results),
        "## Goals",
        goals(results),
        "Measured apart: overload, `python -m bench.overload`; the memory of several workers, `python -m bench.memory`.",
        "## Requests a second",
        "Median (least to most) of the rounds; `x`: the ratio to the floor, round by round, its median.",
        *(f"**{name}**: {CASES[name].title}\n\n{rates(results, name)}" for name in CASES if results.connections(name)),
        *_workers(results),
        "## Latency and CPU",
        "Milliseconds, medians of the rounds. CPU: user and system time of all the server's processes, a request.",
        latencies(results),
        "## Start, memory, disk",
        starts(results),
        *_others(results),
        *_left_out(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def head(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    plotted = "\n\n".join(f"![{title}]({results.plan}-{name}.svg)" for name, title in plots.PLOTS.items())
    ended = "" if results.finished else " **The run was ended before it was through: what is missing was not measured.**"
    return (
        f"{results.began}, {results.machine}; servers on core 0, wrk on core 1, loopback; {results.pace}, "
        f"{results.took_seconds / 60:.0f} minutes in all.{ended} {versions}.\n\n{plotted}"
    )


def goals(results: Results) -> str:
    return table(("what", "goal", "measured", ""), [(g.what, g.goal, *_judgement(v)) for g, v in judged(results)])


def _judgement(verdict: Verdict | None) -> tuple[str, str]:
    return ("not measured in this run", "") if verdict is None else (verdict.measured, "met" if verdict.met else "**missed**")


def rates(results: Results, case: str, workers: int = 1) -> str:
    counts = results.connections(case, workers)
    rows = []
    for server in results.servers(case):
        cells = [results.cell(case, server, count, workers) for count in counts]
        if any(cells):
            rows.append((SERVERS[server].label, *(_rate(results, cell) for cell in cells)))
    return table(("", *(f"{count} connection{'s' if count > 1 else ''}" for count in counts)), rows)


def _rate(results: Results, cell: Cell | None) -> str:
    if cell is None:
        return ""
    floor = results.cell(cell.case, "floor", cell.connections, cell.workers)
    told = shown(cell.rates())
    return told if floor is None or cell.server == "floor" else f"{told}, {short(median(ratios(cell.rates(), floor.rates())))} x"


def _workers(results: Results) -> Iterable[str]:
    found = sorted({(c.case, c.workers) for c in results.cells if c.workers > 1})
    if found:
        yield "With several workers the server has both cores, and shares one with wrk:"
    for case, workers in found:
        yield f"**{case}, {workers} workers**\n\n{rates(results, case, workers)}"


def latencies(results: Results) -> str:
    rows = []
    for cell in sorted(results.cells, key=lambda c: (list(CASES).index(c.case), c.workers, c.connections, list(SERVERS).index(c.server))):
        figures = [short(cell.middle(name)) for name in ("p50", "p99", "p999")]
        workers = f", {cell.workers} workers" if cell.workers > 1 else ""
        rows.append((cell.case + workers, SERVERS[cell.server].label, str(cell.connections), *figures, f"{cell.middle('cpu_ms'):.3f}"))
    return table(("case", "", "connections", "p50", "p99", "p99.9", "CPU"), rows)


def starts(results: Results) -> str:
    rows = []
    for name in [name for name in SERVERS if name in results.starts]:
        start = results.starts[name]
        size = results.sizes_mb.get(_size_of(name))
        rows.append((SERVERS[name].label, shown(start.seconds), shown(start.pss_mb), "" if size is None else short(size)))
    told = table(
        ("case A, alone, both cores", "start to ready, s", "PSS of all processes after requests, MB", "packages on disk, MB"), rows
    )
    image = results.sizes_mb.get("our image")
    every = results.sizes_mb.get("ours[all]")
    sizes = f"Ours with every format: {short(every)} MB on disk; " if every else ""
    return f"{told}\n\n{sizes}our image: {f'{short(image)} MB' if image else 'not measured'}."


def _size_of(server: str) -> str:
    own = {"floor": "floor", "floor-batching": "floor", "compiled-only": "ours, compiled only"}
    return SERVERS[server].packages or own.get(server, "ours[sklearn]")


def _others(results: Results) -> Iterable[str]:
    if results.offline:
        found = ratios(results.offline["pandas"], results.offline["ours"])
        yield "## F: 100,000 rows of CSV, from the command to the file"
        rows = [("`dragoman predict`", shown(results.offline["ours"])), ("pandas + predict", shown(results.offline["pandas"]))]
        yield f"{table(('', 'seconds'), rows)}\n\nTimes as fast: {shown(found)}."
    if results.grpc:
        yield "## gRPC, case A, 16 connections"
        yield "Both asked by h2load: one process, one core, HTTP/2 and HTTP/1.1.\n\n" + table(
            ("", "requests a second"), [(name, shown(values)) for name, values in results.grpc.items()]
        )
    if results.settled:
        yield "## What compiling came to"
        yield table(("case", "/status"), list(results.settled.items()))


def _left_out(results: Results) -> Iterable[str]:
    if results.left_out:
        yield "## Left out"
        yield table(("what", "why"), [(what, why.replace("\n", " ")[:300]) for what, why in results.left_out.items()])


def readme(results: Results) -> str:
    """Case A, and the way to the rest."""
    return (
        f"Requests a second for one row of a scikit-learn pipeline, all in one run on one core ({results.began}). "
        f"The floor is an endpoint that is written by hand for this one model; `x` is the ratio to it.\n\n"
        f"{rates(results, 'A')}\n\n"
        f"![requests a second, by server](bench/results/{results.plan}-rates.svg)\n\n"
        f"The other cases, latencies, memory, and every goal with what was measured, also where it was missed: "
        f"[bench/results/{results.plan}.md](bench/results/{results.plan}.md)."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown. A bar in a cell would end it."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
