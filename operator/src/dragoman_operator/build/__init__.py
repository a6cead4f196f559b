"""What a ModelDeployment is made of in the cluster: pure functions, one kind a module."""

from dragoman_operator.build.config_map import config_map
from dragoman_operator.build.controller_revision import controller_revision, template_in
from dragoman_operator.build.deployment import deployment
from dragoman_operator.build.network_policy import network_policy
from dragoman_operator.build.pod_disruption_budget import pod_disruption_budget
from dragoman_operator.build.pod_template import pod_template
from dragoman_operator.build.service import service

__all__ = [
    "config_map",
    "controller_revision",
    "deployment",
    "network_policy",
    "pod_disruption_budget",
    "pod_template",
    "service",
    "template_in",
]
