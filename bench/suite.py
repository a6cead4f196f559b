"""Ours beside the floor and the other servers: one run, interleaved rounds, each server's answers compared with the model's beforehand.

Run: python -m bench.suite short
     python -m bench.suite full
     python -m bench.suite --cases A --servers ours floor --connections 1 16 --rounds 3 --seconds 2
Servers have core 0, wrk has core 1. Writes bench/results/PLAN.json, PLAN.md and plots; chosen cases go into
bench/.work/results.
"""

from __future__ import annotations

import argparse
import compileall
import datetime
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import models, report, sizes
from bench.cases import chosen
from bench.contest import HERE, ROOT, WORK
from bench.findings import FOLDER, Results, save
from bench.grpc_rate import grpc_and_rest
from bench.measure import FAILURES, Pace, side_by_side, starts
from bench.offline import predict_file
from bench.quiet import Quiet, TimeUp
from bench.servers import SERVERS

OURS = ("ours", "ours-unbatched", "compiled")


_BRISK, _LONG, _SLOW = Pace(4, 1), Pace(5, 2), Pace(3, 3)


@dataclass(frozen=True)
class Step:
    """Some cases, with whom and how. A server that does not speak a case's form sits that case out."""

    cases: tuple[str, ...]
    servers: tuple[str, ...]
    connections: tuple[int, ...] = (1, 16, 64)
    pace: Pace = _BRISK
    workers: int = 1


@dataclass(frozen=True)
class Plan:
    limit_seconds: float
    steps: tuple[Step, ...]
    starts: tuple[str, ...] = ()
    start_rounds: int = 3
    grpc: Pace | None = None
    offline_rounds: int = 0


_SHORT_A = ("floor", *OURS, "mlserver-batching", "kserve")
_FULL = ("floor", "floor-batching", *OURS, "mlserver", "mlserver-batching", "kserve", "bentoml", "litserve", "mlflow")
PLANS = {
    "short": Plan(
        600,
        (
            Step(("A",), _SHORT_A, pace=Pace(4, 2)),
            Step(("B",), ("floor", "ours", "mlserver-batching", "kserve"), (1, 16), Pace(3, 2)),
            Step(("C",), ("floor", "ours", "kserve"), (1, 16), Pace(3, 2)),
            Step(("D", "E"), ("floor", "ours", "compiled"), (1,)),
            Step(("G",), ("floor", "ours", "compiled"), (1, 16)),
        ),
        ("floor", "ours", "compiled-only"),
        grpc=Pace(3, 2),
    ),
    "full": Plan(
        2700,
        (
            Step(("A",), (*_FULL, "compiled-only"), pace=Pace(4, 2)),
            Step(("B",), ("floor", "ours", "mlserver", "mlserver-batching", "kserve", "bentoml", "litserve", "mlflow"), pace=_SLOW),
            Step(("C",), ("floor", "ours", "kserve"), pace=_SLOW),
            Step(("D",), ("floor", "ours", "compiled"), (1, 16), _LONG),
            Step(("E",), ("floor", "ours", "compiled", "kserve", "mlflow"), (1, 16), Pace(4, 2)),
            Step(("G",), ("floor", "ours", "compiled", "mlserver-batching", "kserve"), (1, 16), Pace(4, 2)),
            Step(("A", "B"), ("floor", "ours"), (64,), _LONG, workers=2),
            Step(("A", "B"), ("floor", "ours"), (64,), _LONG, workers=4),
            Step(("A",), ("ray",), pace=Pace(3, 2)),  # by itself: its own processes are never idle
        ),
        ("floor", *OURS, "compiled-only", "mlserver", "kserve", "bentoml", "litserve", "mlflow", "ray"),
        grpc=_LONG,
        offline_rounds=3,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", nargs="?", choices=list(PLANS), help="what `make bench` and `make bench-full` run")
    parser.add_argument("--cases", nargs="+", default=["A"])
    parser.add_argument("--servers", nargs="+", default=["floor", "ours"], choices=list(SERVERS), metavar="SERVER", help=", ".join(SERVERS))
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="a round")
    parser.add_argument("--starts", action="store_true", help="also start to ready, and memory")
    parser.add_argument("--quick", action="store_true", help="one round of one second of everything: to see that it runs; into bench/.work")
    parser.add_argument("--limit", type=float, help="seconds after which no further figure is taken")
    parser.add_argument("--quiet-lock", type=Path, help="a file whose lock is held while figures are taken, where others use the machine")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are ended
    name = options.plan or "custom"
    pace = Pace(options.rounds, options.seconds)
    step = Step(tuple(options.cases), tuple(options.servers), tuple(options.connections), pace, options.workers)
    plan = PLANS.get(name) or Plan(1800, (step,), tuple(options.servers) if options.starts else (), options.rounds)
    plan = quick(plan) if options.quick else plan
    results = run(name, plan, Quiet(options.limit or plan.limit_seconds, options.quiet_lock, shared=options.quick))
    folder = FOLDER if options.plan and not options.quick else WORK / "results"
    save(results, folder)
    report.write(results, folder)
    print(report.goals(results) if options.plan else report.markdown(results))
    print(f"\n{folder}/{name}.md", file=sys.stderr)


def quick(plan: Plan) -> Plan:
    once = Pace(1, 1)
    steps = tuple(replace(step, pace=once) for step in plan.steps)
    return replace(plan, steps=steps, start_rounds=1, grpc=plan.grpc and once, offline_rounds=min(1, plan.offline_rounds))


def run(name: str, plan: Plan, quiet: Quiet) -> Results:
    """All that the time allows; what failed or was not reached is said in the results."""
    results = Results(name, _today(), _machine(), _pace(plan))
    began = time.monotonic()
    _prepare(plan, results)
    try:
        for number, work in enumerate(_work(plan, results, quiet), start=1):
            try:
                work()
            except FAILURES as error:
                results.left_out[f"step {number}"] = str(error)
        results.finished = True
    except TimeUp:
        results.left_out["the rest"] = "the run had taken as long as it may"
    results.took_seconds = round(time.monotonic() - began - quiet.waited, 1)
    return results


def _prepare(plan: Plan, results: Results) -> None:
    """Models are trained, bytecode is compiled: no server pays for it while it is measured."""
    for folder in (ROOT / "runtime/src", HERE):
        compileall.compile_dir(folder, quiet=1, rx=re.compile(r"/\.work/|/apps/"))
    for step in plan.steps:
        for case in chosen(step.cases):
            models.model(case.model)
    used = [SERVERS[name].packages for step in plan.steps for name in step.servers if SERVERS[name].packages]
    sizes.measure(results, list(dict.fromkeys(used)))


def _work(plan: Plan, results: Results, quiet: Quiet) -> Iterator[Callable[[], None]]:
    present = _present(plan, results)
    if plan.starts:
        yield partial(starts, results, quiet, [SERVERS[name] for name in plan.starts if name in present], plan.start_rounds)
    for step in plan.steps:
        for case in chosen(step.cases):
            able = [SERVERS[name] for name in step.servers if name in present and SERVERS[name].ask(case) is not None]
            yield partial(side_by_side, results, quiet, case, able, step.connections, step.pace, step.workers)
    if plan.grpc:
        yield partial(grpc_and_rest, results, quiet, plan.grpc)
    if plan.offline_rounds:
        yield partial(predict_file, results, quiet, plan.offline_rounds)


def _present(plan: Plan, results: Results) -> set[str]:
    """The servers that can be started here; why the others cannot is told."""
    named = dict.fromkeys([*plan.starts, *(name for step in plan.steps for name in step.servers)])
    missing: dict[str, str] = {name: why for name in named if (why := SERVERS[name].missing())}
    results.left_out |= {SERVERS[name].label: why for name, why in missing.items()}
    return set(named) - set(missing)


def _pace(plan: Plan) -> str:
    rounds, seconds = ({getattr(step.pace, name) for step in plan.steps} for name in ("rounds", "seconds"))
    return f"{_range(rounds)} interleaved rounds of {_range(seconds)} s"


def _range(found: set[int]) -> str:
    return str(min(found)) if len(found) == 1 else f"{min(found)} to {max(found)}"


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _machine() -> str:
    models_of = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{len(models_of)} cores ({models_of[0] if models_of else platform.machine()}), Python {platform.python_version()}"


if __name__ == "__main__":
    main()
