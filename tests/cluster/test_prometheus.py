"""Prometheus scrapes what is installed, told where only by what the chart and the operator write on pods."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.cluster.installed import Release, Store, await_ready, merged
from tests.cluster.operating import Models, eventually
from tests.cluster.prometheus import Prometheus

V1 = "/v1/models/counted:predict"
V2 = "/v2/models/counted/infer"
TENSOR = {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [3.0]}]}
SENT: tuple[tuple[str, Any, int, int], ...] = (  # path, body, answered with, how often
    (V1, {"instances": [[3.0]]}, 200, 40),
    (V2, TENSOR, 200, 25),
    (V1, {"instances": [["three"]]}, 400, 5),
)


@pytest.fixture
def counted(models: Models, store: Store) -> str:
    """Where a model answers that nobody has asked yet. Two processes answer: what both have counted is one figure."""
    models.apply("counted", store.twice().spec() | {"serving": {"workers": 2}})
    await_ready(models, ["counted"])
    return f"http://{models.cluster.service('counted', models.namespace)}:8080"


def test_request_counts_equal_the_requests_sent(models: Models, counted: str, prometheus: Prometheus) -> None:
    for path, body, code, times in SENT:
        for _ in range(times):  # a connection each, so that both workers answer
            answer = httpx.post(counted + path, json=body)
            assert answer.status_code == code, answer.text

    of_model = f'{{namespace="{models.namespace}",model="counted"}}'
    query = f"sum by (dialect, code) (dragoman_request_duration_seconds_count{of_model})"
    wanted = {("v1", "200"): 40.0, ("v2", "200"): 25.0, ("v1", "400"): 5.0}

    def counts() -> dict[tuple[str, str], float]:
        return {(labels["dialect"], labels["code"]): value for labels, value in prometheus.query(query)}

    try:
        eventually(lambda: counts() == wanted, 30)
    except AssertionError:
        raise AssertionError(f"{counts()}, not {wanted}") from None
    ((labels, _),) = prometheus.query(f"dragoman_model_info{of_model}")
    eventually(lambda: models.status("counted")["model"].get("format"))
    status = models.status("counted")
    assert (labels["digest"], labels["revision"], labels["format"]) == (status["model"]["digest"], status["revision"], "python")


def test_the_operator_is_scraped(models: Models, store: Store, prometheus: Prometheus, release: Release) -> None:
    def reconciles() -> float:
        found = prometheus.query(f'sum(dragoman_operator_reconciles_total{{namespace="{release.namespace}"}})')
        return found[0][1] if found else 0.0

    before = eventually(reconciles, 30)
    models.apply("seen", merged(store.twice().spec(), {"pod": {"nodeSelector": {"disk": "none"}}}))
    eventually(lambda: reconciles() > before, 30)
    ((labels, leads),) = prometheus.query(f'dragoman_operator_leader{{namespace="{release.namespace}"}}')
    assert leads == 1
    assert {each["health"] for each in prometheus.targets() if each["labels"]["pod"] == labels["pod"]} == {"up"}
