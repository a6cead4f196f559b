"""Dragoman as its users install it: both images in the node, the chart put there by helm, models in the S3 server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.cluster.cluster import Cluster
from tests.cluster.operating import Models, Object
from tests.cluster.own_images import REGISTRY, TAG
from tests.cluster.s3 import S3
from tests.support.chart import CHART

from dragoman.storage.digest import digest_of

RELEASE = "dragoman"
NAMESPACE = "dragoman-system"
SECRET = "s3-read"  # holds what enters the S3 server, in every namespace that `Installation.models` gives
LITTLE: Object = {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}  # spec.pod: there are two cores for all
VALUES: Mapping[str, Any] = {
    "image": {"registry": REGISTRY, "tag": TAG},
    "operator": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}},
    "allowPodImage": True,
}
TWICE = b"""
import dragoman


class Twice(dragoman.Model):
    inputs = {"a": "number"}

    def predict(self, table):
        return table.to_numpy()[:, 0] * 2
"""


@dataclass(frozen=True)
class Release:
    """The chart, installed."""

    cluster: Cluster
    name: str
    namespace: str

    @property
    def account(self) -> str:
        """The operator's, as the API server knows it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    @property
    def deployment(self) -> str:
        """The operator's."""
        return f"deployment/{self.name}"

    def scale(self, replicas: int) -> None:
        """So many operators, and no other; returns when that is so."""
        self.cluster.kubectl("scale", self.deployment, f"--replicas={replicas}", "-n", self.namespace)
        if replicas:
            self.cluster.kubectl("rollout", "status", self.deployment, "-n", self.namespace, "--timeout=60s")
        else:
            chosen = f"app.kubernetes.io/instance={self.name}"
            self.cluster.kubectl("wait", "--for=delete", "pod", "-l", chosen, "-n", self.namespace, "--timeout=60s")

    def upgrade(self, values: Mapping[str, Any] | None = None) -> None:
        """`helm upgrade --install` with `values` over `VALUES`, and nothing of what was chosen before."""
        self.cluster.helm("upgrade", "--install", *self._chosen(values), "--reset-values")

    def uninstall(self) -> None:
        self.cluster.helm("uninstall", self.name, "--namespace", self.namespace, "--wait")

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        self.cluster.helm("install", *self._chosen(values))

    def _chosen(self, values: Mapping[str, Any] | None) -> Sequence[str]:
        chosen = [f"--set-json={group}={json.dumps(value)}" for group, value in merged(VALUES, values or {}).items()]
        return self.name, str(CHART), "--namespace", self.namespace, *chosen, "--wait", "--timeout=120s"


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Object:
    """Groups of fields, as a spec's and the chart's are: the other's fields over the one's."""
    found = dict(one)
    for group, fields in other.items():
        both = isinstance(fields, dict) and isinstance(one.get(group), dict)
        found[group] = {**one[group], **fields} if both else fields
    return found


def install(cluster: Cluster, name: str = RELEASE, namespace: str = NAMESPACE, values: Mapping[str, Any] | None = None) -> Release:
    """`helm install`, into a namespace that enforces the restricted Pod Security Standard; the operator is ready when it returns.

    `values` come over `VALUES`, group by group.
    """
    cluster.make_namespace(namespace)
    installed = Release(cluster, name, namespace)
    installed.install(values)
    return installed


def enter_storage(cluster: Cluster, namespace: str, s3: S3, name: str = SECRET, **other: str) -> None:
    """A Secret with which pods enter the S3 server; `other` values take the place of the right ones."""
    metadata = {"name": name, "namespace": namespace}
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": s3.env | other}))


@dataclass(frozen=True)
class Stored:
    """A model in the S3 server."""

    uri: str
    file: Path  # the object
    digest: str

    def spec(self, *, pinned: bool = True, **model: Any) -> Object:
        """A spec that serves it, in a small pod."""
        pin = {"digest": self.digest} if pinned else {}
        return {"model": {"uri": self.uri, "credentials": {"secretName": SECRET}} | pin | model, "pod": LITTLE}


@dataclass(frozen=True)
class Store:
    """The bucket `models`. What is put there twice is overwritten."""

    bucket: Path

    def put(self, name: str, content: bytes) -> Stored:
        file = self.bucket / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return Stored(f"s3://{self.bucket.name}/{name}", file, digest_of(file))

    def step(self, name: str = "step.json", edge: float = 20.0) -> Stored:
        """A data format: 0 for x below the edge, else 1."""
        model = json.loads((CHART / "files" / "test-model.json").read_text(encoding="utf-8"))
        tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
        tree["split_conditions"][0] = float(edge)
        return self.put(name, json.dumps(model).encode())

    def twice(self) -> Stored:
        """The one that is loaded the fastest; its format is code. Gives `a` twice."""
        return self.put("twice.py", TWICE)

    def iris(self, name: str = "iris.joblib") -> tuple[Stored, Any]:
        """A format that runs code when it is loaded; and the model, here in this process."""
        rows, species = load_iris(return_X_y=True)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, species)
        file = self.bucket / name
        joblib.dump(model, file)
        return Stored(f"s3://{self.bucket.name}/{name}", file, digest_of(file)), model


def iris_rows(every: int = 10) -> list[list[float]]:
    rows: np.ndarray[Any, Any] = load_iris(return_X_y=True)[0]
    found: list[list[float]] = rows[::every].tolist()
    return found


def await_ready(models: Models, names: Sequence[str], seconds: int = 90) -> None:
    """As a user waits for it."""
    which = [f"md/{name}" for name in names]
    models.cluster.kubectl("wait", "--for=condition=Ready", *which, "-n", models.namespace, f"--timeout={seconds}s", timeout=seconds + 30)
