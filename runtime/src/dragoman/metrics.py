"""Prometheus metrics: counted in each worker, summed over all of them when scraped.

prometheus-client's multi-process mode keeps each process's numbers in files. They are named here by the worker's index and not by its
process id: a respawned worker goes on counting where the dead one stopped, and the number of files, so the cost of a scrape, is bounded.
`prepare()` must run before the first import of prometheus_client in this process or a parent of it.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LOAD_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)
_identity = "supervisor"


def prepare(folder: Path) -> None:
    """Keep the numbers in `folder`, emptied first."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    use()


def use() -> None:
    """Keep this process's numbers where `PROMETHEUS_MULTIPROC_DIR` says, under this process's name."""
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: _identity)  # type: ignore[no-untyped-call]


def identify(identity: str) -> None:
    """This process's name in the files: "supervisor", or "worker-0"."""
    global _identity
    _identity = identity


def render(folder: Path) -> tuple[bytes, str]:
    """(body, content type) of a scrape: every process's numbers, summed."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one process. Label values are bounded: models, dialects, HTTP status codes and documented reasons."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        r = registry or REGISTRY
        self.request_duration: Histogram = Histogram(
            "dragoman_request_duration_seconds",
            "From the request's headers to the last byte of its reply handed to the socket.",
            ("model", "dialect", "code"),
            buckets=_SECONDS,
            registry=r,
        )
        self.requests_in_flight: Gauge = Gauge(
            "dragoman_requests_in_flight", "Requests being answered now.", registry=r, multiprocess_mode="mostrecent"
        )
        self.predict_duration: Histogram = Histogram(
            "dragoman_predict_duration_seconds", "One call of the model, for all rows of a batch.", ("model",), buckets=_SECONDS, registry=r
        )
        self.batch_rows: Histogram = Histogram("dragoman_batch_rows", "Rows a call of the model.", ("model",), buckets=_ROWS, registry=r)
        self.requests_rejected: Counter = Counter(
            "dragoman_requests_rejected_total", "Requests refused before they reached the model.", ("reason",), registry=r
        )
        self.model_load_seconds: Histogram = Histogram(
            "dragoman_model_load_seconds", "From the bytes on disk to a loaded model.", ("model",), buckets=_LOAD_SECONDS, registry=r
        )
        self.model_info: Gauge = Gauge(
            "dragoman_model_info",
            "1 for each model that is loaded.",
            ("model", "revision", "digest", "format"),
            registry=r,
            multiprocess_mode="mostrecent",
        )
        self.model_warnings: Gauge = Gauge(
            "dragoman_model_warnings",
            "Warnings about a loaded model (/status has their texts): saved with another version of its library, …",
            ("model",),
            registry=r,
            multiprocess_mode="mostrecent",
        )
        self.model_compiled: Gauge = Gauge(
            "dragoman_model_compiled",
            "1 for each model of which a compiled one answers small batches.",
            ("model",),
            registry=r,
            multiprocess_mode="mostrecent",
        )
        self.worker_restarts: Counter = Counter(
            "dragoman_worker_restarts_total", "Workers that ended without being told to, and were replaced.", registry=r
        )


class Tally:
    """One child of a histogram, made cheap to add to: each value is two stores into the shared numbers that a scrape reads.

    prometheus-client's own `observe` does the same under locks, by names, three times dearer. In this process one thread at a time may add,
    and nobody else observes by the child itself.
    """

    def __init__(self, child: Histogram) -> None:
        own: Any = child
        self._bounds: tuple[float, ...] = tuple(own._upper_bounds)
        values = [own._sum, *own._buckets]
        self._observe = None if all(hasattr(value, "_file") for value in values) else child.observe
        if self._observe is None:
            for value in values:
                value.inc(0)  # the files are this process's from here on, also after a fork
            self._numbers = [memoryview(value._file._m).cast("d") for value in values]
            self._at = [value._file._positions[value._key] // 8 for value in values]

    def add(self, amount: float) -> None:
        if self._observe is not None:  # one process's numbers alone, as in tests: there is no file
            self._observe(amount)
            return
        self._numbers[0][self._at[0]] += amount
        bucket = 1 + bisect_left(self._bounds, amount)
        self._numbers[bucket][self._at[bucket]] += 1.0


@cache
def metrics() -> Metrics:
    """This process's metrics; in a worker, first called after the fork."""
    return Metrics()
