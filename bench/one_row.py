"""One row of iris over v1, one worker: ours against the floor, interleaved rounds in one run.

Run: python -m bench.one_row [--rounds 5] [--seconds 3] [--connections 1 16 64]
"""

from __future__ import annotations

import argparse
import urllib.request
from contextlib import ExitStack

from bench.contest import ROOT, floor, median, ours, rate, spread, started

BODY = b'{"instances":[[5.1,3.5,1.4,0.2]]}'
PATH = "/v1/models/iris:predict"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    iris = ROOT / "examples/iris"
    with ExitStack() as stack:
        servers = []
        for name, (command, url, management) in {
            "floor": floor(iris / "model.joblib"),
            "ours": ours(str(iris / "modeldeployment.yaml")),
        }.items():
            servers.append(stack.enter_context(started(name, command, url + PATH, management + "/readyz")))
        answers = {s.name: _answer(s.url) for s in servers}
        if len(set(answers.values())) != 1:
            raise SystemExit(f"the servers do not agree: {answers}")
        for connections in options.connections:
            figures: dict[str, list[tuple[float, float, float]]] = {s.name: [] for s in servers}
            for server in servers:
                rate(server.url, BODY, connections, 1)
            for _ in range(options.rounds):
                for server in servers:
                    figures[server.name].append(rate(server.url, BODY, connections, options.seconds))
            print(f"\n{connections} connection{'s' if connections > 1 else ''}")
            for name, rounds in figures.items():
                requests, p50, p99 = ([figure[i] for figure in rounds] for i in range(3))
                print(f"  {name:6} {spread(requests):>28} requests/s   p50 {median(p50):6.2f} ms   p99 {median(p99):6.2f} ms")
            ratios = [a[0] / b[0] for a, b in zip(figures["ours"], figures["floor"], strict=True)]
            print(f"  ours / floor, pair by pair: {spread(ratios, 2)}")


def _answer(url: str) -> bytes:
    request = urllib.request.Request(url, BODY, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        body: bytes = reply.read()
        return body


if __name__ == "__main__":
    main()
