"""What is wrong with a gRPC call is said by its status and a message that names the thing, and leaves the server serving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.requests import ROW, assert_serves
from tests.support.serving import Server, eventually, manifest, serving
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
LIMIT = 100_000
Tensor = pb.ModelInferRequest.InferInputTensor
Contents = pb.InferTensorContents
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bad-grpc")
    manifest(folder, "iris", IRIS, serving={"limits": {"maxRequestBytes": LIMIT}})
    manifest(folder, "orders", MODELS / "on_order.py", serving={"limits": {"maxRequestBytes": 10 * LIMIT, "timeoutSeconds": 1}})
    with serving(folder, folder) as started:
        yield started


@pytest.fixture(autouse=True)
def _still_serving(server: Server) -> Iterator[None]:
    yield
    assert_serves(server)


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


def tensor(*, name: str = "input", datatype: str = "FP64", shape: Any = (1, 4), contents: Any = None) -> Any:
    return Tensor(name=name, datatype=datatype, shape=shape, contents=Contents(fp64_contents=ROW) if contents is None else contents)


def request(*inputs: Any, raw: Any = (), model: str = "iris", outputs: Any = (), **more: Any) -> Any:
    asked = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return pb.ModelInferRequest(model_name=model, inputs=inputs, raw_input_contents=raw, outputs=asked, **more)


def order(what: str, value: float, rows: int = 1) -> Any:
    return request(
        tensor(name="order", datatype="BYTES", shape=[rows], contents=Contents(bytes_contents=[what.encode()] * rows)),
        tensor(name="value", shape=[rows], contents=Contents(fp64_contents=[value] * rows)),
        model="orders",
    )


def refused(call: Callable[[], Any], code: grpc.StatusCode, *words: str) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() == code, error
    for word in words:
        assert word in error.details(), error.details()
    return error


NOTHING = Contents()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(), ["'inputs' is empty"]),
        (request(tensor(shape=[1, 5])), ["'input'"]),
        (request(tensor(shape=[2, 4])), ["'input'"]),
        (request(tensor(shape=[-1, 4])), ["'input'", "-1"]),
        (request(tensor(shape=[2**62, 4])), ["'input'"]),
        (request(tensor(shape=[2**40, 2**40])), ["'input'"]),
        (request(tensor(shape=[])), ["'input'"]),
        (request(tensor(datatype="FP128")), ["'input'", "FP128"]),
        (request(tensor(datatype="FP32")), ["'input'", "fp64_contents"]),
        (request(tensor(datatype="FP16", contents=NOTHING)), ["'input'", "FP16", "raw_input_contents"]),
        (request(tensor(datatype="INT8", contents=Contents(int_contents=[1, 2, 3, 300]))), ["'input'", "300"]),
        (request(tensor(datatype="BYTES", contents=Contents(bytes_contents=[b"\xff"] * 4))), ["'input'"]),
        (request(tensor(contents=Contents(fp64_contents=[float("nan"), 1, 2, 3]))), ["row 0", "'sepal_length'"]),
        (request(tensor(contents=Contents(fp64_contents=[1, 2, 3, float("-inf")]))), ["row 0", "'petal_width'"]),
        (request(tensor(), tensor()), ["'input'", "twice"]),
        (request(tensor(), raw=[b"\0" * 32]), ["'input'", "raw_input_contents"]),
        (request(tensor(contents=NOTHING), raw=[b"\0" * 31]), ["'input'", "31"]),
        (request(tensor(contents=NOTHING), raw=[b"\0" * 32, b"\0" * 32]), ["2 entries"]),
        (request(tensor(contents=NOTHING, datatype="BYTES"), raw=[b"\xff\xff\xff\xff"]), ["'input'"]),
        (request(tensor(name="sepal_length", shape=[1], contents=Contents(fp64_contents=[1]))), ["'sepal_width'", "missing"]),
        (request(tensor(), outputs=["nonsense"]), ["'nonsense'", "predict"]),
        (request(tensor(), outputs=["predict", "predict"]), ["'predict'", "twice"]),
    ],
)
def test_what_is_wrong_with_the_tensors_is_said(channel: grpc.Channel, asked: Any, words: list[str]) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    refused(lambda: stub.ModelInfer(asked, timeout=20), Code.INVALID_ARGUMENT, *words)


def test_what_is_not_there_is_said_by_name(channel: grpc.Channel) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    refused(lambda: stub.ModelInfer(request(tensor(), model="rose")), Code.NOT_FOUND, "'rose'", "iris")
    refused(lambda: stub.ModelInfer(request(tensor(), model_version="7")), Code.NOT_FOUND, "'iris'", "'7'")
    refused(lambda: stub.ModelMetadata(pb.ModelMetadataRequest(name="rose")), Code.NOT_FOUND, "'rose'")
    refused(lambda: stub.ModelReady(pb.ModelReadyRequest(name="rose")), Code.NOT_FOUND, "'rose'")
    refused(lambda: stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="iris")), Code.PERMISSION_DENIED, "token")
    refused(lambda: stub.ModelStatistics(pb.ModelStatisticsRequest(name="iris")), Code.UNIMPLEMENTED)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady", "RepositoryIndex"])
def test_a_garbled_message_is_the_callers_fault(channel: grpc.Channel, method: str) -> None:
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}", lambda sent: sent, lambda received: received)
    refused(lambda: call(b"\xff\xff\xff not protobuf"), Code.INVALID_ARGUMENT, method)


def test_a_message_over_the_limit_is_refused(channel: grpc.Channel) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    rows = LIMIT // 32 + 1
    one_model = request(tensor(shape=[rows, 4], contents=NOTHING), raw=[b"\0" * 32 * rows])
    refused(lambda: stub.ModelInfer(one_model), Code.RESOURCE_EXHAUSTED, str(LIMIT), "maxRequestBytes")
    all_models = request(tensor(shape=[10 * rows, 4], contents=NOTHING), raw=[b"\0" * 320 * rows])
    refused(lambda: stub.ModelInfer(all_models), Code.RESOURCE_EXHAUSTED, str(10 * LIMIT))


def test_deadlines_hold(channel: grpc.Channel, server: Server) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    # Numbers of rows that were not seen before run in the thread, so that the loop can answer.
    refused(lambda: stub.ModelInfer(order("sleep", 1.8, rows=3)), Code.DEADLINE_EXCEEDED, "timeoutSeconds")
    refused(lambda: stub.ModelInfer(order("sleep", 0.5, rows=7), timeout=0.2), Code.DEADLINE_EXCEEDED)
    eventually(lambda: server.metric("dragoman_requests_in_flight") == 0)


def test_a_model_that_raises_is_an_internal_error_without_a_stack_trace(channel: grpc.Channel) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    error: Any = refused(lambda: stub.ModelInfer(order("raise", 1)), Code.INTERNAL)
    assert error.details() == "the model failed: RuntimeError: told to raise"


def test_the_request_id_comes_back(channel: grpc.Channel) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    given = (("x-request-id", "mine"),)
    _, call = stub.ModelInfer.with_call(request(tensor()), metadata=given)
    assert dict(call.trailing_metadata())["x-request-id"] == "mine"
    _, call = stub.ServerLive.with_call(pb.ServerLiveRequest())
    assert len(dict(call.trailing_metadata())["x-request-id"]) == 32
    error: Any = refused(lambda: stub.ModelInfer(request(), metadata=given), Code.INVALID_ARGUMENT)
    assert dict(error.trailing_metadata())["x-request-id"] == "mine"
