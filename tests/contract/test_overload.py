"""Too many requests at once are refused at once, in each dialect's own shape, and those that were taken are answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.support.requests import refused, sent
from tests.support.serving import eventually, manifest, serving
from tests.support.wire import Wire, post
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODELS = Path(__file__).parents[1] / "models"


def test_more_than_the_bound_are_refused(tmp_path: Path) -> None:
    limits = {"maxConcurrency": 2, "timeoutSeconds": 30}
    target = manifest(tmp_path, "orders", MODELS / "on_order.py", serving={"limits": limits})
    order = triton_grpc.InferInput("order", [1], "BYTES").set_data_from_numpy(np.array(["sleep"], dtype=object))
    value = triton_grpc.InferInput("value", [1], "FP64").set_data_from_numpy(np.array([2.0]))
    with serving(tmp_path, target) as server, ThreadPoolExecutor(2) as pool, grpc.insecure_channel(server.grpc) as channel:
        client = triton_grpc.InferenceServerClient(server.grpc)
        over_http = pool.submit(server.predict, "orders", [{"order": "sleep", "value": 2}])
        over_grpc = pool.submit(client.infer, "orders", [order, value])
        eventually(lambda: server.metric("dragoman_requests_in_flight") == 2)

        for path in ("/v1/models/orders:predict", "/v2/models/orders/infer"):
            reply = sent(server, path, b"not even JSON")
            refused(reply, 429, "2 requests", "maxConcurrency")
            assert reply.headers["retry-after"] == "1"
        with Wire(server.rest) as wire:  # refused before its body has come, which is dropped: the connection stays
            path = "/v1/models/orders:predict"
            for size in (600_000, 1_000):
                assert wire.send(post(path, b"[" * 500, length=size)).answer().status == 429
                wire.send(b"GET / " * ((size - 500) // 6), b"!" * ((size - 500) % 6))
            assert wire.send(post(path, b"{}")).answer().status == 429
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(service_pb2.ModelInferRequest(model_name="orders"), timeout=10)
        error: grpc.Call = caught.value
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 requests" in (error.details() or "")

        assert httpx.get(f"{server.rest}/v2/models/orders/ready").status_code == 200
        assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=10).ready
        assert over_http.result().json() == {"predictions": [4.0]}
        assert over_grpc.result().as_numpy("predict").tolist() == [4.0]
        assert server.predict("orders", [{"order": "double", "value": 2}]).json() == {"predictions": [4.0]}
        assert server.metric("dragoman_requests_rejected_total", reason="Overloaded") == 6
        client.close()
