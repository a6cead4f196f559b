"""The kinds that are watched and written."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from dragoman_operator.names import GROUP, KIND, VERSION


@dataclass(frozen=True)
class Kind:
    """A kind of the API server's. `group` is "" for the core."""

    group: str
    version: str
    plural: str
    name: str
    create_only: bool = False  # its content cannot be changed: it is created, or replaced, and never applied
    look_first: bool = False  # one of its name may conflict with nothing that is applied: without a selector

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The URL's path of a namespace's objects (None: of all namespaces), or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(("namespaces", quote(namespace)) if namespace else ()), self.plural, quote(name), subresource]
        return "/".join(part for part in parts if part)


MODEL_DEPLOYMENT = Kind(GROUP, VERSION, "modeldeployments", KIND)
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
CONTROLLER_REVISION = Kind("apps", "v1", "controllerrevisions", "ControllerRevision", create_only=True)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", create_only=True)
SERVICE = Kind("", "v1", "services", "Service", look_first=True)
POD = Kind("", "v1", "pods", "Pod")
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", look_first=True)
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
EVENT = Kind("", "v1", "events", "Event")

OWNED = (CONFIG_MAP, CONTROLLER_REVISION, SERVICE, NETWORK_POLICY, POD_DISRUPTION_BUDGET, DEPLOYMENT)
"""What a ModelDeployment controls, in the order in which it is written: the Deployment last, when all it needs is there."""

CHILDREN = (*OWNED, POD)
WATCHED = (MODEL_DEPLOYMENT, *CHILDREN)
BY_NAME = {kind.name: kind for kind in (*WATCHED, LEASE, EVENT)}
