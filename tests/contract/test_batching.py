"""Requests that come together are predicted together, and answered as if each had come alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_iris
from tests.support.serving import Server, manifest, serving

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
CLIENTS = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("batching")
    manifest(folder, "iris", IRIS)
    manifest(folder, "orders", MODELS / "on_order.py")
    with serving(folder, folder) as started:
        yield started


def one_by_one(server: Server, path: str, bodies: Sequence[Any]) -> list[tuple[int, Any]]:
    with httpx.Client(base_url=server.rest, timeout=30) as client:
        return [_asked(client, path, body) for body in bodies]


def together(server: Server, path: str, bodies: Sequence[Any]) -> list[tuple[int, Any]]:
    """Each client takes every sixteenth, over a connection of its own."""
    barrier = Barrier(CLIENTS)
    answers: list[Any] = [None] * len(bodies)

    def ask(first: int) -> None:
        with httpx.Client(base_url=server.rest, timeout=30) as client:
            barrier.wait()
            for i in range(first, len(bodies), CLIENTS):
                answers[i] = _asked(client, path, bodies[i])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    return answers


def _asked(client: httpx.Client, path: str, body: Any) -> tuple[int, Any]:
    reply = client.post(path, json=body)
    return reply.status_code, reply.json()


def batches(server: Server, model: str) -> tuple[float, float]:
    """How many batches there were, and how many rows in them."""
    return server.metric("dragoman_batch_rows_count", model=model), server.metric("dragoman_batch_rows_sum", model=model)


def test_requests_that_come_together_are_predicted_together_and_answered_apart(server: Server) -> None:
    bodies = [{"instances": [row]} for row in load_iris().data.tolist()]
    alone = one_by_one(server, "/v1/models/iris:predict", bodies)
    assert batches(server, "iris") == (len(bodies), len(bodies))
    assert {status for status, _ in alone} == {200}
    assert together(server, "/v1/models/iris:predict", bodies) == alone
    number, rows = batches(server, "iris")
    assert rows == 2 * len(bodies)
    assert number < 2 * len(bodies)


def test_what_each_request_asks_for_is_what_it_gets(server: Server) -> None:
    """v1 and v2, labels and probabilities, one row and several: one batch computes what all of them want."""
    rows = load_iris().data.tolist()
    wanted = (["predict"], ["predict_proba"], ["predict_proba", "predict"])
    bodies = [
        {
            "inputs": [{"name": "input", "shape": [n, 4], "datatype": "FP64", "data": rows[i : i + n]}],
            "outputs": [{"name": name} for name in wanted[i % 3]],
            "id": str(i),
        }
        for i in range(96)
        for n in [1 + i % 4]
    ]
    alone = one_by_one(server, "/v2/models/iris/infer", bodies)
    for (_, one), (status, other) in zip(alone, together(server, "/v2/models/iris/infer", bodies), strict=True):
        assert status == 200
        assert other["id"] == one["id"]
        for given, expected in zip(other["outputs"], one["outputs"], strict=True):
            assert (given["name"], given["shape"]) == (expected["name"], expected["shape"])
            if given["name"] == "predict":
                assert given["data"] == expected["data"]
            else:
                assert given["data"] == pytest.approx(expected["data"], rel=1e-12, abs=0)


def test_a_bad_row_fails_alone(server: Server) -> None:
    """Whether the signature refuses it or the model raises at it."""
    orders = [{"order": ("raise" if i % 7 == 3 else "double"), "value": float(i)} for i in range(160)]
    bodies: list[Any] = [{"instances": [order if i % 11 else order | {"value": "wide"}]} for i, order in enumerate(orders)]
    before = batches(server, "orders")
    for i, (status, answer) in enumerate(together(server, "/v1/models/orders:predict", bodies)):
        if i % 11 == 0:
            assert (status, json.dumps(answer)) == (400, json.dumps({"error": "row 0: 'value' must be a number, got \"wide\""}))
        elif i % 7 == 3:
            assert (status, answer) == (500, {"error": "the model failed: RuntimeError: told to raise"})
        else:
            assert (status, answer) == (200, {"predictions": [2.0 * i]})
    number, rows = batches(server, "orders")
    assert number - before[0] < rows - before[1]
