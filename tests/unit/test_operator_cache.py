"""What the watches told is kept, once, and never replaced by something older."""

from __future__ import annotations

from typing import Any

from dragoman_operator.cache import Cache
from dragoman_operator.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, POD
from dragoman_operator.objects import Key, Object
from dragoman_operator.observe import observe

IRIS = Key("science", "iris")


def child(version: int, name: str = "iris", uid: str = "u", owner: str = "iris", **rest: Any) -> Object:
    labels = {"dragoman.dev/modeldeployment": owner} if owner else {}
    return {"metadata": {"name": name, "namespace": "science", "uid": uid, "resourceVersion": str(version), "labels": labels}, **rest}


def test_news_is_told_once() -> None:
    cache = Cache()
    assert cache.put(DEPLOYMENT, child(5)) == IRIS
    assert cache.put(DEPLOYMENT, child(5)) is None
    assert cache.put(DEPLOYMENT, child(6)) == IRIS


def test_an_older_copy_is_ignored() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, child(10, spec={"replicas": 3}))
    assert cache.put(DEPLOYMENT, child(9, spec={"replicas": 1})) is None
    found = cache.get(DEPLOYMENT, IRIS)
    assert found is not None
    assert found["spec"] == {"replicas": 3}


def test_a_late_copy_does_not_bring_back_what_was_deleted() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, child(5))
    assert cache.drop(DEPLOYMENT, IRIS, "u") == IRIS
    assert cache.put(DEPLOYMENT, child(7)) is None
    assert cache.put(DEPLOYMENT, child(8, uid="its successor")) == IRIS


def test_deleting_what_was_replaced_changes_nothing() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, child(8, uid="its successor"))
    assert cache.drop(DEPLOYMENT, IRIS, "u") is None
    assert cache.get(DEPLOYMENT, IRIS) is not None


def test_children_are_found_by_the_label_and_follow_it() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, child(1))
    cache.put(POD, child(2, name="iris-1", status={"phase": "Running"}))
    assert len(list(cache.children(IRIS))) == 2
    assert cache.put(DEPLOYMENT, child(3, owner="tulip")) == Key("science", "tulip")
    assert [kind for kind, _ in cache.children(IRIS)] == [POD]


def test_what_concerns_no_model_is_not_kept() -> None:
    cache = Cache()
    assert cache.put(POD, child(1, owner="")) is None
    assert len(cache) == 0


def test_what_is_never_looked_at_is_not_kept() -> None:
    cache = Cache()
    obj = child(1, spec={"uri": "x"})
    obj["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    cache.put(MODEL_DEPLOYMENT, obj)
    found = cache.get(MODEL_DEPLOYMENT, IRIS)
    assert found is not None
    assert "managedFields" not in found["metadata"]
    assert found["spec"] == {"uri": "x"}


def test_a_model_is_observed_with_its_pods_in_order() -> None:
    cache = Cache()
    for name, created in (("iris-b", "2026-01-02"), ("iris-a", "2026-01-03"), ("iris-c", "2026-01-01")):
        pod = child(1, name=name, uid=name, status={})
        pod["metadata"]["creationTimestamp"] = created
        cache.put(POD, pod)
    cache.put(DEPLOYMENT, child(4, uid="d"))
    world = observe(cache, IRIS)
    assert [pod["metadata"]["name"] for pod in world.pods] == ["iris-c", "iris-b", "iris-a"]
    assert world.deployment("iris") is not None
