"""The operator: serves ModelDeployments on Kubernetes."""

__version__ = "0.1.0"
