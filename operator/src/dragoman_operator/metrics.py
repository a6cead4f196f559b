"""The operator's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """One set for one operator, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "dragoman_operator_reconcile_duration_seconds",
            "How long reconciling one ModelDeployment took.",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=self.registry,
        )
        self.reconciles = self._counter("dragoman_operator_reconciles", "Reconciles, by how they ended: done or error.", "result")
        self.writes = self._counter("dragoman_operator_writes", "Writes sent to the API server.", "kind", "method")
        self.stale = self._counter("dragoman_operator_stale_objects", "Objects that the watches had missed, found by an audit.", "kind")
        self.leader = Gauge("dragoman_operator_leader", "Whether this operator is the active one.", registry=self.registry)
        self.queue = Gauge("dragoman_operator_queue_length", "Keys that wait for a worker.", registry=self.registry)
        self.models = Gauge("dragoman_operator_modeldeployments", "ModelDeployments, by readiness.", ("ready",), registry=self.registry)

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)
