"""The operator sees what happens: through watches that break or hang, an API server that restarts, and from what runtimes report."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import joblib
import pytest
from sklearn.dummy import DummyClassifier
from tests.cluster.cluster import Cluster
from tests.cluster.operating import Models, Object, eventually, install_crd, operator
from tests.cluster.stalling import proxied

SPEC: Object = {"model": {"uri": "s3://models/iris.joblib"}, "scale": {"replicas": 2}}
NUMBERS = itertools.count(1)


@pytest.fixture
def models(control_plane: Cluster) -> Iterator[Models]:
    install_crd(control_plane)
    name = f"watching-{next(NUMBERS)}"
    control_plane.kubectl("create", "namespace", name)
    yield Models(control_plane, name)
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def test_watches_that_hang_silently_delay_a_change_and_do_not_lose_it(models: Models, tmp_path: Path) -> None:
    with (
        proxied(models.cluster, tmp_path / "kubeconfig") as proxy,
        operator(
            models.cluster,
            models.namespace,
            tmp_path / "log",
            # a lease that outlives the silence: losing it would end the operator, which nobody restarts here
            settings={"AUDIT_SECONDS": "20", "LEASE_SECONDS": "90"},
            kubeconfig=tmp_path / "kubeconfig",
        ) as running,
    ):
        models.apply("iris", SPEC)
        models.await_pods("iris", 2)
        for replicas in (3, 1):
            assert proxy.hang() > 5, "watches and requests"
            models.apply("iris", SPEC | {"scale": {"replicas": replicas}})
            models.await_pods("iris", replicas, 60)
        assert running.running


def test_liveness_tells_of_a_watch_that_stays_dead(models: Models, tmp_path: Path) -> None:
    with (
        proxied(models.cluster, tmp_path / "kubeconfig") as proxy,
        operator(
            models.cluster,
            models.namespace,
            tmp_path / "log",
            settings={"AUDIT_SECONDS": "1", "LEASE_SECONDS": "90"},
            kubeconfig=tmp_path / "kubeconfig",
        ) as running,
    ):
        models.apply("iris", SPEC)
        models.await_pods("iris", 2)
        alive = f"http://127.0.0.1:{running.port}/livez"
        assert httpx.get(alive).status_code == 200
        proxy.hang()
        changes = itertools.count(1)

        def dead() -> bool:
            models.patch("md", "iris", {"metadata": {"annotations": {"changed": str(next(changes))}}})
            return httpx.get(alive).status_code == 503

        eventually(dead, 80)
        assert "modeldeployments" in httpx.get(alive).text


def test_it_waits_for_a_crd_that_is_installed_later(control_plane: Cluster, tmp_path: Path) -> None:
    control_plane.kubectl("create", "namespace", "early")
    control_plane.kubectl("delete", "crd", "modeldeployments.dragoman.dev", "--ignore-not-found")
    with operator(control_plane, "early", tmp_path / "log") as running:
        eventually(lambda: "waiting for modeldeployments" in (tmp_path / "log").read_text())
        install_crd(control_plane)
        models = Models(control_plane, "early")
        models.apply("iris", SPEC)
        models.await_pods("iris", 2, 30)
        assert running.running
    control_plane.kubectl("delete", "namespace", "early", "--wait=false")


def test_watches_that_break_are_taken_up_again(models: Models, tmp_path: Path) -> None:
    with (
        proxied(models.cluster, tmp_path / "kubeconfig") as proxy,
        operator(models.cluster, models.namespace, tmp_path / "log", kubeconfig=tmp_path / "kubeconfig") as running,
    ):
        models.apply("iris", SPEC)
        models.await_pods("iris", 2)
        for replicas in (3, 1):
            proxy.cut()
            models.apply("iris", SPEC | {"scale": {"replicas": replicas}})
            models.await_pods("iris", replicas, 30)
        assert running.running


def test_an_api_server_that_restarts_is_found_again(models: Models, tmp_path: Path) -> None:
    with operator(models.cluster, models.namespace, tmp_path / "log", settings={"LEASE_SECONDS": "90"}) as running:
        models.apply("iris", SPEC)
        models.await_pods("iris", 2)
        models.cluster.restart("kube-apiserver")
        models.apply("iris", SPEC | {"scale": {"replicas": 3}})
        models.await_pods("iris", 3, 60)
        assert running.running


@contextmanager
def runtime(model: Path, address: str, folder: Path) -> Iterator[str]:
    """A real runtime on the management port of a loopback address; the digest of what it serves."""
    command = [sys.executable, "-m", "dragoman", "serve", str(model), "--host", address, "--port", "0", "--grpc-port", "0"]
    with (folder / f"{address}.log").open("wb") as log:
        process = subprocess.Popen([*command, "--cache-dir", str(folder / "cache")], stdout=log, stderr=log)
    try:
        url = f"http://{address}:9090"
        eventually(lambda: _answers(f"{url}/readyz"), 60, what=(folder / f"{address}.log").read_text())
        yield str(httpx.get(f"{url}/status").json()["models"][0]["digest"])
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def test_what_runtimes_report_is_told_and_different_bytes_too(models: Models, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "iris.joblib", tmp_path / "b" / "iris.joblib"
    for path, label in ((first, "old"), (second, "new")):
        path.parent.mkdir()
        joblib.dump(DummyClassifier(strategy="most_frequent").fit([[0.0], [1.0]], [label, label]), path)
    with ExitStack() as running:
        digest = running.enter_context(runtime(first, "127.7.0.1", tmp_path))
        running.enter_context(operator(models.cluster, models.namespace, tmp_path / "log", settings={"PROBE_SECONDS": "1"}))
        models.apply("iris", SPEC | {"scale": {"replicas": 1}})
        models.await_pods("iris", 1)
        models.run_pods("iris", ready=False, address="127.7.0.1")
        loading = eventually(lambda: models.status("iris").get("model", {}).get("digest") == digest)
        assert loading
        models.run_pods("iris", address="127.7.0.1")
        status = models.await_reason("iris", "RolledOut")
        assert (status["model"]["digest"], status["model"]["format"], status["model"]["state"]) == (digest, "sklearn", "Loaded")

        other = running.enter_context(runtime(second, "127.7.0.2", tmp_path))
        assert other != digest
        models.apply("iris", SPEC)
        (new,) = [pod["metadata"]["name"] for pod in models.await_pods("iris", 2) if "podIP" not in pod["status"]]
        models.run_pods("iris", address="127.7.0.2", only=new)
        told = models.await_reason("iris", "DigestDrift", 30)
        assert "was overwritten" in told["conditions"][1]["message"]


def test_a_pod_that_does_not_answer_is_unknown_and_not_failed(models: Models, tmp_path: Path) -> None:
    with operator(models.cluster, models.namespace, tmp_path / "log", settings={"PROBE_SECONDS": "0.5"}):
        models.apply("iris", SPEC)
        models.await_pods("iris", 2)
        models.run_pods("iris", ready=False, address="127.7.0.9")  # where nothing listens
        time.sleep(2)
        assert models.condition("iris") == ("False", "WaitingForPods")
        assert "failure" not in models.status("iris")["model"]
