"""Memory of four workers on a scikit-learn model of about 500 MB against that of one: proportional set size (PSS) of all processes.

Run: python -m bench.memory [--megabytes 500] [--predictions 1000]
The forest is trained once, on numbers made here, and kept in bench/.work.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from pathlib import Path

from bench.contest import WORK, ours, pss_bytes, started


def forest(megabytes: int) -> Path:
    """A random forest of about so many megabytes, on disk."""
    import joblib
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    path = WORK / f"forest-{megabytes}.joblib"
    if path.exists() and path.stat().st_size > 0.7e6 * megabytes:
        return path
    WORK.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 20))
    labels = rng.integers(0, 5, size=20_000)  # noise: trees that grow as deep as they can
    one = RandomForestClassifier(4, random_state=0, n_jobs=1).fit(rows, labels)
    joblib.dump(one, path)
    trees = max(4, round(4 * megabytes * 1e6 / path.stat().st_size))
    joblib.dump(RandomForestClassifier(trees, random_state=0, n_jobs=2).fit(rows, labels).set_params(n_jobs=1), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--predictions", type=int, default=1000, help="a worker, before its memory is read")
    options = parser.parse_args()
    model = forest(options.megabytes)
    print(f"model: {model.stat().st_size / 1e6:.0f} MB on disk")
    figures = {}
    for workers in (1, 4):
        command, url, management = ours(str(model), "--workers", str(workers))
        with started(f"memory-{workers}", command, url, management + "/readyz", core=None, seconds=300) as server:
            predict(f"{url}/v1/models/{model.stem}:predict", options.predictions * workers)
            time.sleep(1)
            figures[workers] = pss_bytes(server.pid)
            print(f"{workers} worker{'s' if workers > 1 else ' '}: {figures[workers] / 1e6:.0f} MB")
    print(f"4 workers / 1 worker: {figures[4] / figures[1]:.3f}")


def predict(url: str, count: int) -> None:
    """One row after the other, each on a connection of its own, so that all workers take part."""
    body = json.dumps({"instances": [[0.1 * i for i in range(20)]]}).encode()
    for _ in range(count):
        with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"}), timeout=60) as reply:
            reply.read()


if __name__ == "__main__":
    main()
