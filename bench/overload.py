"""Twice as many requests as a server can answer: what is answered, how soon the rest is refused, and how long the answered ones took.

Run: python -m bench.overload [--cases A G-forest B] [--rounds 3] [--times 1 2] [--limit N] [--max-rows N]
One worker on one core, the load on the other. First, without a bound: the unloaded p99 (open loop, a tenth of the peak), and how many
connections it takes to the peak (closed loop). Then, with `maxConcurrency` set by the rule in docs/performance.md, in each round the peak
over so many connections, and after it requests that come by schedule, whatever becomes of those before them: `--times` 2 is twice that
peak. Shown are medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from bench import wrk
from bench.cases import Case, chosen, instances
from bench.contest import Running, median, ours, started
from bench.open_loop import Offered, offer, quantile, request_bytes

CONNECTIONS = (1, 2, 4, 16, 64, 128)
OPEN_CONNECTIONS = 512  # over which the scheduled requests come
UNBOUNDED = 100_000
_NAME = "model"


@dataclass(frozen=True)
class Capacity:
    """What a server does without a bound on what is in flight."""

    peak: float  # requests a second
    connections: int  # the fewest that reach 90 % of it: 95 % is within the noise of a shared machine
    unloaded_p99: float  # ms

    @property
    def max_concurrency(self) -> int:
        """Enough in flight for the peak, and no more than are answered in the time of a slow request that comes alone."""
        return max(self.connections, round(self.peak * self.unloaded_p99 / 1e3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["A", "G-forest", "B"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--times", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--limit", type=int, help="maxConcurrency, in place of the rule's")
    parser.add_argument("--max-rows", type=int, default=64, help="batching.maxRows; 1: a request is as dear as its predict")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    print("| case | offered | answered, of the peak | refused | 429, median | answered, p99 (of unloaded) | sent late, p99 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for case in chosen(options.cases):
        found = capacity(case, options.seconds, options.max_rows)
        limit = options.limit or found.max_concurrency
        batching = "" if options.max_rows == 64 else f", maxRows {options.max_rows}"
        title = f"{case.title}{batching}: peak {found.peak:.0f}/s, p99 {found.unloaded_p99:.1f} ms unloaded; maxConcurrency {limit}"
        with serving(case, limit, maxRows=options.max_rows) as server:
            for times in options.times:
                offered, shares = Offered(0, 0), []
                for _ in range(options.rounds):  # a machine that others share is not as fast in one round as in the next
                    peak = wrk.load(server.url, instances(case, ""), found.connections, options.seconds).per_second
                    came = ask(server, case, times * peak, options.seconds)
                    shares.append(came.per_second(200) / peak)
                    offered.add(came)
                print(row(title, times, found, offered, shares), flush=True)
                title = ""


def row(title: str, times: float, found: Capacity, offered: Offered, shares: Sequence[float]) -> str:
    """`shares`: of each round, what was answered of the peak."""
    refused = offered.per_second(429)
    p99 = offered.quantile(200, 0.99)
    cells = [
        title,
        f"{times:g} x",
        f"{median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})",
        f"{refused:.0f}/s" + (f", {offered.unanswered} not answered" if offered.unanswered else ""),
        f"{offered.quantile(429, 0.5):.1f} ms" if refused else "",
        f"{p99:.1f} ms ({p99 / found.unloaded_p99:.1f})",
        f"{1e3 * quantile(offered.late, 0.99):.1f} ms",
    ]
    return f"| {' | '.join(cells)} |"


def capacity(case: Case, seconds: int, max_rows: int) -> Capacity:
    with serving(case, UNBOUNDED, maxRows=max_rows) as server:
        question = instances(case, "")
        wrk.load(server.url, question, 1, 2)  # warm
        rates = {connections: wrk.load(server.url, question, connections, seconds).per_second for connections in CONNECTIONS}
        peak = max(rates.values())
        unloaded = ask(server, case, peak / 10, seconds)
    return Capacity(peak, min(c for c, rate in rates.items() if rate >= 0.9 * peak), unloaded.quantile(200, 0.99))


def ask(server: Running, case: Case, rate: float, seconds: float) -> Offered:
    parts = urlsplit(server.url)
    assert parts.port
    return offer(parts.port, request_bytes(instances(case, parts.path)), rate, seconds, OPEN_CONNECTIONS)


@contextmanager
def serving(case: Case, max_concurrency: int, **batching: int) -> Iterator[Running]:
    """One worker with so much in flight at most."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.yaml"
        spec = {"model": {"uri": str(case.path)}, "serving": {"limits": {"maxConcurrency": max_concurrency}, "batching": batching}}
        manifest = {"apiVersion": "dragoman.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": _NAME}, "spec": spec}
        file.write_text(yaml.safe_dump(manifest))
        command, url, management = ours(str(file))
        with started("overload", command, f"{url}/v1/models/{_NAME}:predict", f"{management}/readyz") as server:
            yield server


if __name__ == "__main__":
    main()
