"""The goals, each with what was measured and whether that meets it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.contest import median
from bench.findings import Results, ratios


@dataclass(frozen=True)
class Verdict:
    measured: str
    met: bool


@dataclass(frozen=True)
class Goal:
    what: str
    goal: str
    judge: Callable[[Results], Verdict | None]  # None: not measured in this run


def judged(results: Results) -> list[tuple[Goal, Verdict | None]]:
    return [(goal, goal.judge(results)) for goal in GOALS]


def short(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def shown(values: Sequence[float]) -> str:
    """`median (min to max)`."""
    return f"{short(median(values))} ({short(min(values))} to {short(max(values))})"


def times(
    what: str, case: str, server: str, over: str, bound: float, connections: int, *, over_case: str | None = None, workers: int = 1
) -> Goal:
    """Requests a second, as a multiple of another server's in the same rounds."""
    named = f"{NAMES.get(over, over)} {over_case}" if over_case and over_case != case else NAMES.get(over, over)

    def judge(results: Results) -> Verdict | None:
        above, below = results.cell(case, server, connections, workers), results.cell(over_case or case, over, connections, workers)
        if above is None or below is None:
            return None
        found = ratios(above.rates(), below.rates())
        return Verdict(shown(found), median(found) >= bound)

    return Goal(f"{what}, {_count(connections, 'connection')}", f">= {bound:g} x {named}", judge)


def tail(what: str, case: str, server: str, bound: float, connections: int) -> Goal:
    def judge(results: Results) -> Verdict | None:
        cell = results.cell(case, server, connections)
        if cell is None:
            return None
        found = [load.p99 / load.p50 for load in cell.loads]
        return Verdict(shown(found), median(found) <= bound)

    return Goal(f"{what}, {_count(connections, 'connection')}", f"p99 <= {bound:g} x p50", judge)


def own_share(bound_ms: float) -> Goal:
    def judge(results: Results) -> Verdict | None:
        cell = results.cell("A", "ours", 16)
        if cell is None:
            return None
        found = [load.cpu_ms - (load.predict_ms or 0.0) for load in cell.loads]
        return Verdict(f"{shown(found)} ms", median(found) <= bound_ms)

    return Goal("our own share of a request beyond predict, A, 16 connections", f"<= {bound_ms:g} ms CPU", judge)


def start(what: str, server: str, bound: float, figure: str) -> Goal:
    """Seconds to readiness, or memory, as a share of the floor's."""

    def judge(results: Results) -> Verdict | None:
        above, below = results.starts.get(server), results.starts.get("floor")
        if above is None or below is None:
            return None
        found = ratios(getattr(above, figure), getattr(below, figure))
        return Verdict(shown(found), median(found) <= bound)

    named = {"seconds": "start to ready", "pss_mb": "PSS of all processes"}[figure]
    return Goal(f"{what}, {named}", f"<= {bound:g} x floor", judge)


def grpc_rest(bound: float) -> Goal:
    def judge(results: Results) -> Verdict | None:
        if not results.grpc:
            return None
        found = ratios(results.grpc["gRPC, v2"], results.grpc["REST, v2"])
        return Verdict(shown(found), median(found) >= bound)

    return Goal("gRPC, A, 16 connections", f">= {bound:g} x own REST (v2)", judge)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


NAMES = {"mlserver-batching": "MLServer batching", "kserve": "KServe", "ours": "our own"}

GOALS = (
    *(times("A, batching off", "A", "ours-unbatched", "floor", 0.9, count) for count in (1, 16, 64)),
    times("A, batching", "A", "ours", "floor", 0.95, 1),
    times("A, batching", "A", "ours", "floor", 3, 16),
    times("A, batching", "A", "ours", "mlserver-batching", 3.7, 16),
    times("A, batching", "A", "ours", "kserve", 7, 16),
    times("A, batching", "A", "ours", "floor", 3.5, 64),
    tail("A, batching", "A", "ours", 2, 64),
    times("A, compiled", "A", "compiled", "floor", 3.5, 1),
    times("A, compiled", "A", "compiled", "floor", 7, 16),
    times("G, RandomForest compiled", "G-forest", "compiled", "floor", 20, 1),
    times("G, RandomForest compiled", "G-forest", "compiled", "floor", 30, 16),
    times("G, HistGradientBoosting compiled", "G-hist", "compiled", "floor", 3, 1),
    start("A, compiled only", "compiled-only", 0.3, "seconds"),
    start("A, compiled only", "compiled-only", 0.6, "pss_mb"),
    times("B", "B", "ours", "floor", 1.15, 1),
    *(times("B", "B", "ours", "floor", 1.05, count) for count in (16, 64)),
    *(times("C", "C", "ours", "ours", 1.3, count, over_case="B") for count in (1, 16)),
    *(times("C", "C", "ours", "kserve", 4, count) for count in (1, 16)),
    times("D, XGBoost", "D-xgboost", "ours", "floor", 1, 1),
    times("D, XGBoost compiled", "D-xgboost", "compiled", "floor", 2, 1),
    times("D, LightGBM", "D-lightgbm", "ours", "floor", 1, 1),
    times("D, LightGBM compiled", "D-lightgbm", "compiled", "floor", 2, 1),
    times("E", "E", "ours", "floor", 0.9, 1),
    own_share(0.15),
    *(times(f"{case}, 2 workers each", case, "ours", "floor", 1.1, 64, workers=2) for case in ("A", "B")),
    start("A", "ours", 1.2, "seconds"),
    start("A", "ours", 1.2, "pss_mb"),
    grpc_rest(0.8),
)
