"""How promptly `/livez` and `/metrics` answer on a server that is saturated, and on one that is unpickling 500 MB.

Run: python -m bench.busy_health [--megabytes 500] [--seconds 10]
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from bench.contest import ROOT, WORK, ours, rate, started
from bench.memory import forest

BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]] * 200}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    saturated(options.seconds)
    unpickling(options.megabytes)


def saturated(seconds: int) -> None:
    command, url, management = ours(str(ROOT / "examples/iris/modeldeployment.yaml"), "--workers", "2")
    with started("saturated", command, url, management + "/readyz", core=None):
        load = threading.Thread(target=rate, args=(f"{url}/v1/models/iris:predict", BODY, 64, seconds + 1))
        load.start()
        time.sleep(0.5)
        due = time.monotonic() + seconds
        ask("saturated by 64 connections", management, lambda: time.monotonic() < due)
        load.join()


def unpickling(megabytes: int) -> None:
    model = forest(megabytes)
    command, _, management = ours(str(model))
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while state(management) != "Loading":
                time.sleep(0.01)
            ask(f"unpickling {model.stat().st_size / 1e6:.0f} MB", management, lambda: state(management) == "Loading")
        finally:
            process.terminate()
            process.wait(60)


def ask(what: str, management: str, going_on: Callable[[], bool]) -> None:
    """Asks both in turn for as long as it goes on, and prints the 99th percentile of the answers' times."""
    host = management.removeprefix("http://")
    times: dict[str, list[float]] = {"/livez": [], "/metrics": []}
    while going_on():
        for path, taken in times.items():
            connection = http.client.HTTPConnection(host, timeout=30)
            began = time.perf_counter()
            connection.request("GET", path)
            reply = connection.getresponse()
            reply.read()
            taken.append(time.perf_counter() - began)
            connection.close()
            if reply.status != 200:
                sys.exit(f"{path} answered {reply.status}")
        time.sleep(0.01)
    for path, taken in times.items():
        ordered = sorted(taken)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        print(f"{what}: {path:9} p50 {ordered[len(ordered) // 2] * 1000:6.1f} ms   p99 {p99 * 1000:6.1f} ms   of {len(ordered)}")


def state(management: str) -> str:
    try:
        connection = http.client.HTTPConnection(management.removeprefix("http://"), timeout=5)
        connection.request("GET", "/status")
        phase: str = json.loads(connection.getresponse().read())["phase"]
    except OSError:
        return ""
    return phase


if __name__ == "__main__":
    main()
