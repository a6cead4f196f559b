"""How the operator grows with the number of ModelDeployments: until all are Ready; a plot, and whether it is worse than linear.

Run: python -m bench.operator_growth [--models 100 300 1000 3000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
from bench.operator_scale import NAMESPACE, Watch, connect, cpu_seconds, is_ready, make, one_core, peak_mb, start_kwok, until
from tests.cluster import process
from tests.cluster.cluster import Cluster, control_plane
from tests.cluster.operating import install_crd

from dragoman_operator.kinds import MODEL_DEPLOYMENT

RESULTS = Path(__file__).parent / "results"
SHOWN = {
    "cpu_seconds": "CPU seconds until all are Ready",
    "ready_seconds": "seconds until all are Ready",
    "peak_mb": "memory at its peak, MB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # one size, in a process of its own
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    found = []
    for count in options.models:
        command = [sys.executable, "-m", "bench.operator_growth", "--one", str(count)]
        found.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]))
        print(json.dumps(found[-1]), flush=True)
    plot(found)


def measured(count: int) -> dict[str, float]:
    with control_plane("growth") as cluster:
        install_crd(cluster)
        cluster.kubectl("create", "namespace", NAMESPACE)
        process.stop(cluster.place, "kube-controller-manager")
        start_kwok(cluster, "deployment-ready")
        return asyncio.run(until_ready(cluster, count))


async def until_ready(cluster: Cluster, count: int) -> dict[str, float]:
    kube = connect(cluster)
    with tempfile.TemporaryDirectory() as folder, one_core(cluster, Path(folder) / "operator.log") as running:
        await asyncio.to_thread(until, lambda: running.leads)
        ready, idle, began = Watch(kube, MODEL_DEPLOYMENT, is_ready), cpu_seconds(running), time.monotonic()
        await make(kube, count, NAMESPACE)
        await asyncio.to_thread(until, lambda: len(ready.seen) >= count, 900)
        seconds = time.monotonic() - began
        await asyncio.sleep(2)
        return {
            "models": count,
            "ready_seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds(running) - idle, 2),
            "peak_mb": peak_mb(running),
        }


def plot(found: list[dict[str, float]]) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dragoman"  # the same figures give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SHOWN), figsize=(12, 3.5))
    models = [one["models"] for one in found]
    for axis, (name, title) in zip(axes, SHOWN.items(), strict=True):
        values = [one[name] for one in found]
        axis.plot(models, values, marker="o", label="measured")
        if name != "peak_mb":
            axis.plot(models, [values[0] * count / models[0] for count in models], linestyle=":", label="linear from the first")
            axis.legend()
        axis.set(xlabel="ModelDeployments", title=title, xlim=(0, None), ylim=(0, None))
    figure.tight_layout()
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "operator_growth.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
