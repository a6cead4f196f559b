"""While models change, scale, lose pods and lose their operator, each request that is sent is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.errors import ClusterError
from tests.cluster.images import renamed
from tests.cluster.installed import Release, Store, await_ready
from tests.cluster.operating import Models, Object, eventually
from tests.cluster.own_images import RUNTIME_IMAGE, runtime_archive
from tests.support.load import Load, load

QUESTION = json.dumps({"instances": [[22]]}).encode()
BELOW, ABOVE = 0, 1  # what a step answers, with its edge over 22 and under
NEXT_IMAGE = RUNTIME_IMAGE + "-next"
PATIENCE = 180  # seconds


@contextmanager
def asked(models: Models, name: str) -> Iterator[Load]:
    """Hundreds of requests a second to its Service, by clients that come and go; each is answered with 200."""
    url = f"http://{models.cluster.service(name, models.namespace)}:8080/v1/models/{name}:predict"
    with load(url, lambda _: QUESTION, 8, keep_bodies=True, seconds=600, pause_seconds=0.015, per_connection=50) as running:
        await_more(running)
        yield running
        await_more(running)
    tally = running.tally
    assert tally.failed == []
    assert tally.refused == 0
    assert tally.statuses.keys() == {200}


def await_more(running: Load, answers: int = 300) -> None:
    """So many more answers, or failures: nobody is left to ask then."""
    start = running.tally.answered
    eventually(lambda: running.tally.answered > start + answers or running.tally.failed or running.tally.refused, 60, what="answers")


def answers(running: Load, since: int = 0) -> set[int]:
    """Different ones, from a place in all bodies on."""
    found: set[int] = set()
    for body in {body for _, body in running.tally.bodies[since:]}:
        found.update(json.loads(body)["predictions"])
    return found


def conditions(status: Object) -> Mapping[str, str]:
    return {one["type"]: one["status"] for one in status["conditions"]}


def uids(models: Models, name: str) -> set[str]:
    """Of its pods, also of those that are ending."""
    return {pod["metadata"]["uid"] for pod in _all_pods(models, name)}


def restarts(models: Models, name: str) -> int:
    return sum(one["restartCount"] for pod in _all_pods(models, name) for one in pod["status"]["containerStatuses"])


def _all_pods(models: Models, name: str) -> list[Any]:
    found: list[Any] = models.cluster.get("pods", "-n", models.namespace, "-l", f"dragoman.dev/modeldeployment={name}")["items"]
    return found


def test_a_new_version_rolls_out_without_a_failed_request(models: Models, store: Store) -> None:
    models.apply("step", store.step("old.json").spec() | {"scale": {"replicas": 2}})
    await_ready(models, ["step"], PATIENCE)
    before, old_pods = models.status("step"), uids(models, "step")
    seen: list[Mapping[str, str]] = []

    def rolled_out() -> bool:
        seen.append(conditions(models.status("step")))
        return models.condition("step") == ("True", "RolledOut")

    with asked(models, "step") as running:
        new = store.step("new.json", edge=25)
        models.apply("step", new.spec() | {"scale": {"replicas": 2}})
        eventually(rolled_out, PATIENCE, what="the new version is Ready")
        eventually(lambda: not uids(models, "step") & old_pods, PATIENCE, what="the old pods are gone")
        await_more(running)
        since_then = len(running.tally.bodies)

    assert {one["Available"] for one in seen} == {"True"}
    assert "False" in {one["Ready"] for one in seen}
    assert answers(running) == {ABOVE, BELOW}
    assert answers(running, since_then) == {BELOW}
    after = models.status("step")
    assert after["revision"] != before["revision"]
    assert after["model"]["digest"] == new.digest
    assert after["readyReplicas"] == 2


def test_a_broken_new_version_leaves_the_old_one_serving(models: Models, store: Store) -> None:
    good = store.step().spec()
    models.apply("step", good)
    await_ready(models, ["step"], PATIENCE)
    before, pods = models.status("step"), uids(models, "step")

    with asked(models, "step") as running:
        for broken, reason in (
            ({"digest": "sha256:" + "0" * 64}, "DigestMismatch"),
            ({"uri": "s3://models/absent.json"}, "ModelNotFound"),
        ):
            models.apply("step", good | {"model": good["model"] | broken})
            status = models.await_reason("step", reason, PATIENCE)
            assert conditions(status)["Available"] == "True"
            assert models.condition("step") == ("False", reason)
            with pytest.raises(ClusterError, match="timed out waiting for the condition"):
                await_ready(models, ["step"], 2)

        models.apply("step", good)
        await_ready(models, ["step"], PATIENCE)

    assert answers(running) == {ABOVE}
    assert models.status("step")["revision"] == before["revision"]
    eventually(lambda: uids(models, "step") == pods, PATIENCE, what="the old pods, and no other")
    assert restarts(models, "step") == 0


def test_scaling_and_eviction_fail_no_request(models: Models, store: Store) -> None:
    models.apply("step", store.step().spec())
    await_ready(models, ["step"], PATIENCE)

    with asked(models, "step") as running:
        for replicas in (4, 2):
            models.cluster.kubectl("scale", "md/step", f"--replicas={replicas}", "-n", models.namespace)
            await_replicas(models, "step", replicas)
            await_more(running)

        eventually(lambda: disruptions_allowed(models, "step") == 1, PATIENCE, what="one pod may be evicted")
        first, second = uids(models, "step"), [pod["metadata"]["name"] for pod in models.pods("step")]
        evict(models, second[0])
        with pytest.raises(ClusterError, match="would violate the pod's disruption budget"):
            evict(models, second[1])
        eventually(lambda: len(uids(models, "step") & first) == 1, PATIENCE, what="the evicted pod is gone")
        await_replicas(models, "step", 2)

        models.cluster.kubectl("scale", "md/step", "--replicas=1", "-n", models.namespace)
        await_replicas(models, "step", 1)
        assert models.get("poddisruptionbudget", "step") is None

    assert answers(running) == {ABOVE}


def await_replicas(models: Models, name: str, replicas: int) -> None:
    """So many pods that answer, and none that ends."""

    def are_there() -> bool:
        ready = models.condition(name)[0] == "True" and models.status(name).get("readyReplicas") == replicas
        return ready and len(uids(models, name)) == replicas

    eventually(are_there, PATIENCE, what=f"{replicas} replicas: {models.status(name)}")


def disruptions_allowed(models: Models, name: str) -> int:
    found = models.get("poddisruptionbudget", name) or {}
    return int(found.get("status", {}).get("disruptionsAllowed", 0))


def evict(models: Models, pod: str) -> None:
    """As `kubectl drain` does."""
    metadata = {"name": pod, "namespace": models.namespace}
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})
    models.cluster.kubectl("create", "--raw", f"/api/v1/namespaces/{models.namespace}/pods/{pod}/eviction", "-f", "-", stdin=body)


def test_an_autoscaler_scales_it(models: Models, store: Store) -> None:
    models.cluster.start_metrics_server()
    models.apply("step", store.step().spec())
    await_ready(models, ["step"], PATIENCE)
    models.cluster.kubectl("autoscale", "md/step", "--cpu=50%", "--min=1", "--max=2", "-n", models.namespace)
    with asked(models, "step"):
        await_replicas(models, "step", 2)
    assert (models.get("md", "step") or {})["spec"]["scale"] == {"replicas": 2}


def test_models_serve_through_an_upgrade_and_without_any_operator(models: Models, store: Store, release: Release, tmp_path: Path) -> None:
    names = ("moved", "kept")
    for name in names:
        models.apply(name, store.step().spec())
    await_ready(models, names, PATIENCE)
    moved, kept = (uids(models, name) for name in names)
    release.cluster.load_image(renamed(runtime_archive(), NEXT_IMAGE, tmp_path / "next.tar"))

    try:
        with asked(models, "kept") as running, asked(models, "moved"):
            release.upgrade({"runtime": {"image": NEXT_IMAGE}})
            await_more(running)
            assert (uids(models, "moved"), uids(models, "kept")) == (moved, kept)

            models.cluster.kubectl("annotate", "md/moved", "dragoman.dev/refresh=now", "-n", models.namespace)
            eventually(lambda: images(models, "moved") == {NEXT_IMAGE}, PATIENCE, what="the other image")
            await_ready(models, names, PATIENCE)
            assert not uids(models, "moved") & moved
            assert images(models, "kept") == {RUNTIME_IMAGE}

            release.uninstall()
            await_more(running)
            assert models.condition("kept")[0] == "True"  # its definition was kept, and it
    finally:
        release.upgrade()
    models.cluster.kubectl("scale", "md/kept", "--replicas=2", "-n", models.namespace)
    await_replicas(models, "kept", 2)
    assert kept < uids(models, "kept")
    assert restarts(models, "kept") == 0


def images(models: Models, name: str) -> set[str]:
    return {one["image"] for pod in _all_pods(models, name) for one in pod["spec"]["containers"]}
