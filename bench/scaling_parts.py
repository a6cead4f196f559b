"""What is measured for the scaling laws, a part a function: columns of figures, the first of which grows.

The server has core 0 and one worker, whoever asks has core 1. Times are medians.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import yaml
from bench import wrk
from bench.contest import WORK, Running, descendants, ours, pss_bytes, started
from bench.models import model
from bench.wrk import Question

ROWS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
FEATURES = (4, 10, 30, 100, 300, 1000, 3000, 10_000)
CONNECTIONS = (1, 4, 16, 64, 256, 1024, 4000)
MODELS = (1, 3, 10, 30, 100, 300, 1000)
_BUDGET_SECONDS = 1.5  # for the repetitions of one figure
_MB = 1e6

Columns = dict[str, list[float]]


def rows() -> Columns:
    """One request at a time with so many rows of iris (4 numbers): v1 in JSON; v2 with binary tensors in and out."""
    found: Columns = {"rows": [], "v1_ms": [], "v2_ms": [], "v1_mb": [], "v2_mb": []}
    one = np.array([[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [7.3, 2.8, 6.3, 1.8]])
    with serving("rows", str(model("iris"))) as server:
        for count in ROWS:
            numbers = np.resize(one, (count, 4))
            found["rows"].append(count)
            for name, question in {"v1": _v1("iris", numbers), "v2": _v2("iris", numbers)}.items():
                idle = _resident(server, "VmRSS")
                _forget_peak(server)
                found[f"{name}_ms"].append(1e3 * asked(server, question))
                found[f"{name}_mb"].append(max(1.0, _resident(server, "VmHWM") - idle))
            print({name: values[-1] for name, values in found.items()}, flush=True)
    return found


def features() -> Columns:
    """One row of a linear model with so many features: until it is ready, one request at a time, and memory."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: Columns = {"features": [], "v1_ms": [], "v2_ms": [], "ready_s": [], "pss_mb": []}
    for width in FEATURES:
        rng = np.random.default_rng(width)
        sample = rng.normal(size=(100, width))
        path = WORK / "models" / f"wide-{width}.joblib"
        joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(sample, sample[:, 0] > 0), path)
        began = time.monotonic()
        with serving("features", str(path)) as server:
            ready = time.monotonic() - began
            values = [
                width,
                1e3 * asked(server, _v1(path.stem, sample[:1])),
                1e3 * asked(server, _v2(path.stem, sample[:1])),
                ready,
                pss_bytes(server.pid) / _MB,
            ]
        _add(found, values)
    return found


def connections() -> Columns:
    """One row of iris over so many connections, each closed loop, with `maxConcurrency` out of the way; memory while they ask."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    found: Columns = {"connections": [], "ms_a_request": [], "p50_ms": [], "p99_ms": [], "pss_mb": []}
    with tempfile.TemporaryDirectory() as folder, serving("connections", _manifest(Path(folder), "iris", maxConcurrency=100_000)) as server:
        question = _v1("iris", np.array([[5.1, 3.5, 1.4, 0.2]]))
        wrk.load(server.url, question, 16, 2)
        for count in CONNECTIONS:
            memory: list[float] = []
            timer = threading.Timer(2.5, lambda kept=memory: kept.append(pss_bytes(server.pid) / _MB))
            timer.start()
            load = wrk.load(server.url, question, count, 4)
            timer.join()
            _add(found, [count, 1e3 / load.per_second, load.p50, load.p99, memory[0]])
    return found


def models() -> Columns:
    """So many iris models, each with a manifest of its own in one folder: until all are ready, one request at a time, and memory."""
    found: Columns = {"models": [], "ready_s": [], "v1_ms": [], "scrape_ms": [], "pss_mb": [], "openapi_mb": []}
    body = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
    for count in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(count):
                _manifest(Path(folder), f"iris-{i}")
            began = time.monotonic()
            with serving("models", folder, core=None) as server:
                ready = time.monotonic() - began
                paths = [f"/v1/models/iris-{i * count // min(count, 100)}:predict" for i in range(min(count, 100))]
                times = [asked(server, Question(path, body), budget=0.01) for path in paths]
                scrape = asked_once(f"{server.management}/metrics")
                began = time.monotonic()
                with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=60) as reply:
                    size = len(reply.read())
                values = [count, ready, 1e3 * statistics.median(times), 1e3 * scrape, pss_bytes(server.pid) / _MB, size / _MB]
        _add(found, values)
    return found


def _add(found: Columns, values: list[float]) -> None:
    for name, value in zip(found, values, strict=True):
        found[name].append(round(value, 5))
    print(dict(zip(found, values, strict=True)), flush=True)


@contextmanager
def serving(name: str, target: str, *, core: int | None = 0) -> Iterator[Running]:
    command, url, management = ours(target)
    os.sched_setaffinity(0, {1} if core == 0 else {0, 1})
    with started(f"scaling-{name}", command, url, f"{management}/readyz", core=core, seconds=200) as server:
        yield server


def _manifest(folder: Path, name: str, **limits: int) -> str:
    spec: dict[str, Any] = {"model": {"uri": str(model("iris"))}, "serving": {"limits": limits}}
    document = {"apiVersion": "dragoman.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def _v1(name: str, numbers: np.ndarray[Any, Any]) -> Question:
    return Question(f"/v1/models/{name}:predict", json.dumps({"instances": numbers.tolist()}).encode())


def _v2(name: str, numbers: np.ndarray[Any, Any]) -> Question:
    tensor = {"name": "input", "shape": list(numbers.shape), "datatype": "FP64", "parameters": {"binary_data_size": numbers.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Question(f"/v2/models/{name}/infer", head + numbers.tobytes(), headers)


def asked(server: Running, question: Question, budget: float = _BUDGET_SECONDS) -> float:
    """Seconds from sending to the reply's last byte, on a kept connection: the median of what the budget allows, of three at least."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
    times: list[float] = []
    until = 0.0
    while len(times) < 4 or (time.perf_counter() < until and len(times) < 2000):
        began = time.perf_counter()
        connection.request("POST", question.path, question.body, dict(question.headers))
        reply = connection.getresponse()
        body = reply.read()
        times.append(time.perf_counter() - began)
        if reply.status != 200:
            raise SystemExit(f"{question.path}: {reply.status} {body[:300]!r}")
        if len(times) == 1:
            until = time.perf_counter() + budget
    connection.close()
    return statistics.median(times[1:])


def asked_once(url: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=120) as reply:
        reply.read()
    return time.perf_counter() - began


def _worker(server: Running) -> int:
    """The last of a server's processes to be started."""
    return descendants(server.pid)[-1]


def _resident(server: Running, field: str) -> float:
    """Megabytes of the worker, now (VmRSS) or at the peak (VmHWM)."""
    text = Path(f"/proc/{_worker(server)}/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1e3


def _forget_peak(server: Running) -> None:
    Path(f"/proc/{_worker(server)}/clear_refs").write_text("5")
