"""The metadata of everything that is made for a ModelDeployment."""

from __future__ import annotations

from dragoman_operator.names import API_VERSION, KIND, REVISION_LABEL, labels, of_revision
from dragoman_operator.objects import Object
from dragoman_operator.spec import ModelDeployment


def metadata(md: ModelDeployment, revision: str = "") -> Object:
    """Of an object named after the ModelDeployment, or after one of its revisions; deleted with it by the garbage collector."""
    return {
        "name": of_revision(md, revision) if revision else md.name,
        "namespace": md.namespace,
        "labels": {**labels(md), **({REVISION_LABEL: revision} if revision else {})},
        "ownerReferences": [
            {"apiVersion": API_VERSION, "kind": KIND, "name": md.name, "uid": md.uid, "controller": True, "blockOwnerDeletion": True}
        ],
    }
