"""What `batching.maxRows` does: one row a request over many connections, one worker.

Run: python -m bench.batch_rows [--cases A G-forest] [--connections 64 256] [--rows 1 16 64 256]
"""

from __future__ import annotations

import argparse

from bench import wrk
from bench.cases import chosen, instances
from bench.overload import UNBOUNDED, serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["A", "G-forest"])
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    print("| case | maxRows | connections | requests/s | p50 | p99 |\n|---|---|---|---|---|---|", flush=True)
    for case in chosen(options.cases):
        question = instances(case, "")
        for rows in options.rows:
            with serving(case, UNBOUNDED, maxRows=rows) as server:
                wrk.load(server.url, question, options.connections[0], 1)
                for connections in options.connections:
                    load = wrk.load(server.url, question, connections, options.seconds)
                    figures = f"{load.per_second:.0f} | {load.p50:.1f} ms | {load.p99:.1f} ms"
                    print(f"| {case.title} | {rows} | {connections} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
