"""The pod template: where a model's runtime runs. Rendered once for a revision, and stored with it (controller_revision.py).

It satisfies the *restricted* Pod Security Standard: non-root, a read-only root, no capabilities, seccomp RuntimeDefault. No
service-account token is mounted, and no Service leaks into the environment (one called `dragoman` would set DRAGOMAN_PORT).
"""

from __future__ import annotations

import math
from typing import Any

from dragoman_operator.names import CONTAINER, GRPC_PORT, HTTP_PORT, MANAGEMENT_PORT, REVISION_LABEL, labels, of_revision, selector
from dragoman_operator.objects import Object
from dragoman_operator.quantity import quantity
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment

MANIFEST_FOLDER = "/etc/dragoman"
MODEL_FOLDER = "/mnt/model"
CACHE_FOLDER = "/cache"
TOKEN_FOLDERS = {"tokens": "/run/dragoman/tokens", "adminTokens": "/run/dragoman/admin-tokens"}  # by the field of spec.serving.auth

PRE_STOP_SECONDS = 5  # the pod still answers while endpoints and proxies forget it
_DRAINING_SECONDS = 15  # beside the longest request: closing idle connections, ending workers
_CACHE_SHARE = 0.9  # of the volume's limit, beyond which the pod would be evicted

_TOKEN_VOLUMES = {"tokens": "tokens", "adminTokens": "admin-tokens"}

# in a pod's volumes as the user writes them: the rest is the volume's source
_MOUNT_FIELDS = ("name", "mountPath", "readOnly")


def pod_template(md: ModelDeployment, revision: str, settings: Settings) -> Object:
    """The template of a revision's pods."""
    pod = md.pod
    optional: Object = {
        "serviceAccountName": pod.service_account_name,
        "nodeSelector": pod.node_selector,
        "tolerations": list(pod.tolerations),
        "affinity": pod.affinity,
        "imagePullSecrets": [{"name": name} for name in _pull_secrets(md, settings)],
    }
    return {
        "metadata": {
            "labels": {**labels(md), REVISION_LABEL: revision},
            "annotations": {
                **pod.annotations,
                "kubectl.kubernetes.io/default-container": CONTAINER,
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(MANAGEMENT_PORT),
                "prometheus.io/path": "/metrics",
            },
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": PRE_STOP_SECONDS + math.ceil(md.serving.limits.timeout_seconds) + _DRAINING_SECONDS,
            "topologySpreadConstraints": [_spread(md, topology) for topology in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")],
            "containers": [_container(md, revision, settings)],
            "volumes": _volumes(md, revision),
            **{name: value for name, value in optional.items() if value},
        },
    }


def _container(md: ModelDeployment, revision: str, settings: Settings) -> Object:
    container: Object = {
        "name": CONTAINER,
        "image": md.pod.image or settings.runtime_image,
        "command": ["dragoman", "serve", f"{MANIFEST_FOLDER}/modeldeployment.yaml"],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in (("http", HTTP_PORT), ("grpc", GRPC_PORT), ("management", MANAGEMENT_PORT))
        ],
        "env": [*_environment(md, revision, settings), *md.pod.env],
        "resources": md.pod.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": _mounts(md),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        # alive from the first second, while it fetches and loads; a start is given up by the runtime itself, with a reason
        "startupProbe": _probe("/livez", period_seconds=1, failures=60),
        "livenessProbe": _probe("/livez", period_seconds=10, failures=3),
        "readinessProbe": _probe("/readyz", period_seconds=2, failures=2),
    }
    if settings.runtime_image_pull_policy:
        container["imagePullPolicy"] = settings.runtime_image_pull_policy
    if md.model.credentials is not None:
        container["envFrom"] = [{"secretRef": {"name": md.model.credentials.secret_name}}]
    return container


def _environment(md: ModelDeployment, revision: str, settings: Settings) -> list[Object]:
    """Each is written out, defaults too: what stands here wins over what a credentials Secret may hold."""
    cache = quantity(md.pod.cache.size_limit) or 0
    values = {
        "DRAGOMAN_HOST": "0.0.0.0",
        "DRAGOMAN_PORT": str(HTTP_PORT),
        "DRAGOMAN_GRPC_PORT": str(GRPC_PORT),
        "DRAGOMAN_MANAGEMENT_PORT": str(MANAGEMENT_PORT),
        "DRAGOMAN_CACHE_DIR": CACHE_FOLDER,
        "DRAGOMAN_CACHE_BYTES": str(int(float(cache) * _CACHE_SHARE)),
        "DRAGOMAN_CODE_FORMATS": settings.code_formats,
        "DRAGOMAN_REVISION": revision,
        "DRAGOMAN_LOG_FORMAT": "json",
        "DRAGOMAN_TERMINATION_LOG": "/dev/termination-log",
        "HOME": "/tmp",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _mounts(md: ModelDeployment) -> list[Object]:
    mounts: list[Object] = [
        {"name": "manifest", "mountPath": MANIFEST_FOLDER, "readOnly": True},
        {"name": "cache", "mountPath": CACHE_FOLDER},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if md.claim is not None:
        mounts.append({"name": "model", "mountPath": MODEL_FOLDER, "readOnly": True})
    for name in md.serving.auth.secrets:
        mounts.append({"name": _TOKEN_VOLUMES[name], "mountPath": TOKEN_FOLDERS[name], "readOnly": True})
    for volume in md.pod.volumes:
        mount: Object = {"name": volume["name"], "mountPath": volume["mountPath"]}
        mounts.append(mount | {"readOnly": True} if volume.get("readOnly", True) else mount)
    return mounts


def _volumes(md: ModelDeployment, revision: str) -> list[Object]:
    volumes: list[Object] = [
        {"name": "manifest", "configMap": {"name": of_revision(md, revision)}},
        {"name": "cache", "emptyDir": {"sizeLimit": md.pod.cache.size_limit}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if md.claim is not None:
        volumes.append({"name": "model", "persistentVolumeClaim": {"claimName": md.claim[0], "readOnly": True}})
    for name, secret in md.serving.auth.secrets.items():
        # Mounted and not in the environment, so that a rotated Secret reaches a running pod. Optional, because a pod whose volume cannot be
        # mounted says nothing: without tokens the runtime ends, and says why.
        volumes.append({"name": _TOKEN_VOLUMES[name], "secret": {"secretName": secret, "optional": True}})
    sources = [{name: value for name, value in volume.items() if name not in _MOUNT_FIELDS} for volume in md.pod.volumes]
    return volumes + [{"name": volume["name"], **source} for volume, source in zip(md.pod.volumes, sources, strict=True)]


def _pull_secrets(md: ModelDeployment, settings: Settings) -> list[str]:
    own = [str(secret["name"]) for secret in md.pod.image_pull_secrets]
    return own + [name for name in settings.image_pull_secrets if name not in own]


def _spread(md: ModelDeployment, topology: str) -> Object:
    """Over nodes and zones, where that is possible."""
    return {
        "topologyKey": topology,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(md)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "management"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
