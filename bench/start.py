"""From the command to readiness, iris from a local file: ours against the floor, interleaved, bytecode compiled for both.

Run: python -m bench.start [--rounds 7]
"""

from __future__ import annotations

import argparse
import compileall
import time

from bench.contest import ROOT, WORK, floor, ours, spread, started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for folder in (ROOT / "runtime/src", ROOT / "bench"):
        compileall.compile_dir(folder, quiet=1)
    WORK.mkdir(exist_ok=True)
    iris = ROOT / "examples/iris"
    seconds: dict[str, list[float]] = {"floor": [], "ours": []}
    for turn in range(options.rounds + 1):
        for name in seconds:
            command, url, management = floor(iris / "model.joblib") if name == "floor" else ours(str(iris / "modeldeployment.yaml"))
            began = time.monotonic()
            with started(name, command, url, management + "/readyz", core=None):
                if turn:  # the first warms the page cache
                    seconds[name].append(time.monotonic() - began)
    for name, values in seconds.items():
        print(f"{name:6} {spread(values, 2)} s")
    print(f"ours / floor, pair by pair: {spread([a / b for a, b in zip(seconds['ours'], seconds['floor'], strict=True)], 2)}")


if __name__ == "__main__":
    main()
