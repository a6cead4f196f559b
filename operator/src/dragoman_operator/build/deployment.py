"""The Deployment: how many pods of the stored template, and how one template follows another."""

from __future__ import annotations

from dragoman_operator.build.metadata import metadata
from dragoman_operator.names import ASKED_LABEL, REVISION_LABEL, selector
from dragoman_operator.objects import Object, label
from dragoman_operator.spec import ModelDeployment

_STARTING_SECONDS = 600  # beside loading: scheduling and pulling the image


def deployment(md: ModelDeployment, template: Object) -> Object:
    """`template` as its ControllerRevision holds it. Its Deployment reports a rollout as stuck only after the model's own limit."""
    owned = metadata(md)
    owned["labels"] |= {REVISION_LABEL: label(template, REVISION_LABEL), ASKED_LABEL: md.asked}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned,
        "spec": {
            "replicas": md.scale.replicas,
            "selector": {"matchLabels": selector(md)},
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": int(md.serving.limits.load_timeout_seconds) + _STARTING_SECONDS,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": md.rollout.max_surge, "maxUnavailable": md.rollout.max_unavailable},
            },
            "template": template,
        },
    }
