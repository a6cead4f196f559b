"""The Service: where clients find a model."""

from __future__ import annotations

from dragoman_operator.build.metadata import metadata
from dragoman_operator.names import GRPC_PORT, HTTP_PORT, selector
from dragoman_operator.objects import Object
from dragoman_operator.spec import ModelDeployment


def service(md: ModelDeployment) -> Object:
    """REST and gRPC. The management port is not here: metrics and status are each pod's own."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(md),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(md),
            "ports": [
                {"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
                {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    }
