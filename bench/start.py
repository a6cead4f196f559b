"""From the command to readiness, and the memory then: ours and ours compiled against the floor, interleaved.

Run: python -m bench.start [--rounds 7]
Case A, as `bench.suite --starts` has it, alone: seconds to ready, PSS of all processes after a second of requests, and the four ratios
that have goals, round by round.
"""

from __future__ import annotations

import argparse
import compileall

from bench.contest import ROOT, spread
from bench.measure import start
from bench.servers import SERVERS

_OURS = ("ours", "compiled-only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for folder in (ROOT / "runtime/src", ROOT / "bench"):
        compileall.compile_dir(folder, quiet=1)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("floor", *_OURS)}
    for turn in range(options.rounds + 1):
        for name, figures in found.items():
            seconds, memory = start(SERVERS[name])
            if turn:  # the first warms the page cache
                figures.append((seconds, memory / 1e6))
    for name, figures in found.items():
        print(f"{name:14} {spread([s for s, _ in figures], 2)} s   {spread([m for _, m in figures])} MB")
    for name in _OURS:
        time, memory_ = ([own[i] / floor[i] for own, floor in zip(found[name], found["floor"], strict=True)] for i in (0, 1))
        print(f"{name:14} / floor: time {spread(time, 2)}, memory {spread(memory_, 2)}")


if __name__ == "__main__":
    main()
