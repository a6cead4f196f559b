"""The PodDisruptionBudget: how many pods a drained node may take at once."""

from __future__ import annotations

from dragoman_operator.build.metadata import metadata
from dragoman_operator.names import selector
from dragoman_operator.objects import Object
from dragoman_operator.spec import ModelDeployment


def pod_disruption_budget(md: ModelDeployment) -> Object | None:
    """At most one pod down at a time; none for a single replica, which could then never be drained. Broken pods block no drain."""
    if md.scale.replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(md),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(md)}, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    }
