"""Names, labels and selectors. They are fixed for ever: a Deployment's selector cannot be changed, and objects are found by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragoman_operator.spec import ModelDeployment

GROUP, VERSION, KIND = "dragoman.dev", "v1alpha1", "ModelDeployment"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "dragoman-operator"  # of every server-side apply
MANAGED_BY = {"app.kubernetes.io/managed-by": FIELD_MANAGER}  # what the watches of children select

MODEL_LABEL = f"{GROUP}/modeldeployment"  # on every child and pod: the ModelDeployment's name
REVISION_LABEL = f"{GROUP}/revision"  # on what belongs to one revision
ASKED_LABEL = f"{GROUP}/asked"  # on a ControllerRevision: the hash of what the user asked for

REFRESH_ANNOTATION = f"{GROUP}/refresh"  # on a ModelDeployment, set by its user: render the pod template anew

CONTAINER = "model"
HTTP_PORT, GRPC_PORT, MANAGEMENT_PORT = 8080, 9000, 9090

LONGEST_NAME = 50  # of a ModelDeployment: with a revision it must fit into a label, 63 characters


def selector(md: ModelDeployment) -> dict[str, str]:
    """What selects a model's pods; never with a label of the user's, which may change."""
    return {MODEL_LABEL: md.name}


def labels(md: ModelDeployment) -> dict[str, str]:
    """The labels of every object made for a model."""
    return {
        "app.kubernetes.io/name": "dragoman",
        "app.kubernetes.io/instance": md.name,
        "app.kubernetes.io/component": "model-server",
        "app.kubernetes.io/part-of": "dragoman",
        **MANAGED_BY,
        **selector(md),
    }


def as_selector(wanted: dict[str, str]) -> str:
    """Labels as a selector in a string, as the scale subresource and list requests write it."""
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def of_revision(md: ModelDeployment, revision: str) -> str:
    """The name of a revision's ConfigMap and ControllerRevision."""
    return f"{md.name}-{revision}"
