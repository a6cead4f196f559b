"""The ControllerRevision: the pod template of one revision, as it was rendered when the revision was made.

Its content is immutable, and the `edit` role cannot write it, whereas whoever may write ConfigMaps could have had the operator create
any pod. The Deployment is always applied from here, so that an upgrade of the operator changes no running pod.
"""

from __future__ import annotations

from dragoman_operator.build.metadata import metadata
from dragoman_operator.names import ASKED_LABEL
from dragoman_operator.objects import Object
from dragoman_operator.spec import ModelDeployment


def controller_revision(md: ModelDeployment, revision: str, number: int, template: Object) -> Object:
    """`number` orders a model's revisions by when they were made."""
    owned = metadata(md, revision)
    owned["labels"][ASKED_LABEL] = md.asked
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": owned,
        "revision": number,
        "data": {"template": template},
    }


def template_in(stored: Object) -> Object:
    """The pod template that a ControllerRevision holds."""
    found: Object = (stored.get("data") or {}).get("template") or {}
    return found
