"""The NetworkPolicy: data ports are open, the management port is for the operator and the scrapers."""

from __future__ import annotations

from dragoman_operator.build.metadata import metadata
from dragoman_operator.names import GRPC_PORT, HTTP_PORT, MANAGEMENT_PORT, selector
from dragoman_operator.objects import Object
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment


def network_policy(md: ModelDeployment, settings: Settings) -> Object | None:
    """None where the installation has them off. Egress is open (storage may be anywhere) unless the installation narrows it."""
    if not settings.network_policy:
        return None
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "dragoman-operator"}},
    }
    spec: Object = {
        "podSelector": {"matchLabels": selector(md)},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"ports": [_tcp(HTTP_PORT), _tcp(GRPC_PORT)]},
            {"ports": [_tcp(MANAGEMENT_PORT)], "from": [operator, *settings.monitoring_from]},
        ],
    }
    if settings.egress:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = list(settings.egress)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(md), "spec": spec}


def _tcp(port: int) -> Object:
    return {"port": port, "protocol": "TCP"}
