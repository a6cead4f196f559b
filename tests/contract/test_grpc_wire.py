"""gRPC over HTTP/2 as its protocol has it: what no generated client sends, what many calls at once are answered, what is left behind."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from tests.support.requests import ROW
from tests.support.serving import Server, eventually, manifest, serving

from dragoman.proto import open_inference as pb

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("grpc-wire")
    manifest(folder, "iris", IRIS, serving={"limits": {"maxRequestBytes": 8_000_000, "timeoutSeconds": 2, "maxConcurrency": 1000}})
    manifest(folder, "orders", MODELS / "on_order.py", serving={"limits": {"maxRequestBytes": 8_000_000, "timeoutSeconds": 2}})
    with serving(folder, folder) as started:
        yield started


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


def rows(count: int = 1, *, raw: bool = False) -> bytes:
    request = pb.ModelInferRequest(model_name="iris", id="mine")
    tensor = request.inputs.add(name="input", datatype="FP64", shape=[count, 4])
    if raw:
        request.raw_input_contents.append(np.tile(np.array(ROW), count).astype("<f8").tobytes())
    else:
        tensor.contents.fp64_contents.extend(list(ROW) * count)
    sent: bytes = request.SerializeToString()
    return sent


def prefixed(message: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


class Said:
    """What a server answered on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.body = b""
        self.reset: int | None = None

    @property
    def status(self) -> tuple[str, str]:
        told = self.headers | self.trailers
        return told.get("grpc-status", ""), told.get("grpc-message", "")


def asked(server: Server, body: bytes, path: str = INFER, *, end: bool = True, **changes: str | None) -> Said:
    """One call, by a client that sends whatever it is told to."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    for name, value in changes.items():
        key = {"method": ":method"}.get(name, name.replace("_", "-"))
        if value is None:
            del fields[key]
        else:
            fields[key] = value
    host, _, port = server.grpc.rpartition(":")
    client: Any = H2Connection(H2Configuration(header_encoding="latin-1"))
    client.initiate_connection()
    said = Said()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(client.data_to_send())
        while client.remote_settings.initial_window_size < len(body):
            client.receive_data(connection.recv(65536))
        client.send_headers(1, list(fields.items()), end_stream=not body and end)
        for begin in range(0, len(body), 16_384):
            client.send_data(1, body[begin : begin + 16_384], end_stream=end and begin + 16_384 >= len(body))
        connection.sendall(client.data_to_send())
        over = False
        while not over:
            data = connection.recv(65536)
            if not data:
                break
            for event in client.receive_data(data):
                if isinstance(event, ResponseReceived):
                    said.headers = {str(name): str(value) for name, value in event.headers}
                elif isinstance(event, TrailersReceived):
                    said.trailers = {str(name): str(value) for name, value in event.headers}
                elif isinstance(event, DataReceived):
                    said.body += event.data
                elif isinstance(event, StreamReset):
                    said.reset = event.error_code
                over = over or isinstance(event, StreamEnded | StreamReset)
            connection.sendall(client.data_to_send())
    return said


def test_a_call_is_answered_as_the_protocol_has_it(server: Server) -> None:
    said = asked(server, prefixed(rows()))
    assert said.headers[":status"] == "200"
    assert said.headers["content-type"] == "application/grpc"
    assert said.status == ("0", "")
    reply = pb.ModelInferResponse.FromString(said.body[5:])
    assert (said.body[:5], reply.id) == (prefixed(said.body[5:])[:5], "mine")
    assert len(said.trailers["x-request-id"]) == 32


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_messages_may_be_compressed(server: Server, encoding: str) -> None:
    message = gzip.compress(rows()) if encoding == "gzip" else rows()
    said = asked(server, prefixed(message, flag=encoding == "gzip"), grpc_encoding=encoding)
    assert said.status[0] == "0"


def test_a_bomb_is_refused_at_the_limit(server: Server) -> None:
    said = asked(server, prefixed(gzip.compress(bytes(50_000_000)), 1), grpc_encoding="gzip")
    assert said.status[0] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert "maxRequestBytes" in said.status[1]


@pytest.mark.parametrize(
    ("body", "changes", "code", "words"),
    [
        (prefixed(rows()), {"grpc_encoding": "snappy"}, grpc.StatusCode.UNIMPLEMENTED, "'snappy'"),
        (prefixed(rows(), 1), {}, grpc.StatusCode.INVALID_ARGUMENT, "grpc-encoding"),
        (prefixed(b"not gzip", 1), {"grpc_encoding": "gzip"}, grpc.StatusCode.INVALID_ARGUMENT, "gzip"),
        (prefixed(rows())[:-1], {}, grpc.StatusCode.INVALID_ARGUMENT, "cut short"),
        (b"\0", {}, grpc.StatusCode.INVALID_ARGUMENT, "cut short"),
        (b"", {}, grpc.StatusCode.INVALID_ARGUMENT, "there is none"),
        (prefixed(rows()) * 2, {}, grpc.StatusCode.INVALID_ARGUMENT, "there are more"),
        (b"\0\xff\xff\xff\xff", {}, grpc.StatusCode.RESOURCE_EXHAUSTED, "4294967295"),
        (prefixed(rows()), {"grpc_timeout": "soon"}, grpc.StatusCode.INVALID_ARGUMENT, "'soon'"),
        (prefixed(rows()), {"grpc_timeout": "1n"}, grpc.StatusCode.DEADLINE_EXCEEDED, ""),
    ],
)
def test_what_is_wrong_with_a_call_is_said(server: Server, body: bytes, changes: dict[str, Any], code: grpc.StatusCode, words: str) -> None:
    said = asked(server, body, **changes)
    assert said.headers[":status"] == "200"
    assert said.status[0] == str(code.value[0]), said.status
    assert words in said.status[1]


def test_what_is_no_call_is_answered_by_http(server: Server) -> None:
    assert asked(server, b"", method="GET").headers[":status"] == "405"
    assert asked(server, b"{}", content_type="application/json").headers[":status"] == "415"
    assert asked(server, b"{}", content_type=None).headers[":status"] == "415"
    said = asked(server, prefixed(b""), "/no.Such/Method")
    assert said.status == (str(grpc.StatusCode.UNIMPLEMENTED.value[0]), "there is no method /no.Such/Method here")


def test_a_message_that_does_not_come_is_given_up_at_the_deadline_and_leaves_nothing_behind(server: Server) -> None:
    whole = prefixed(rows(20_000, raw=True))
    for sent in (whole[:300_000], whole, b""):  # cut; whole, and no end of the request; no byte of it
        said = asked(server, sent, end=False)
        assert said.status[0] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        assert f"{len(sent)} bytes" in said.status[1]
    assert server.metric("dragoman_requests_in_flight") == 0


def test_a_message_in_many_parts_is_one(server: Server, channel: grpc.Channel) -> None:
    sent = rows(200_000, raw=True)  # 6.4 MB: larger than the client may send before it is told to go on
    reply = pb.ModelInferResponse.FromString(channel.unary_unary(INFER)(sent, timeout=30))
    assert reply.outputs[0].shape == [200_000]
    assert set(np.frombuffer(reply.raw_output_contents[0], "<i8").tolist()) == {0}


def test_a_thousand_calls_at_once_on_one_channel_are_each_answered_with_their_own(server: Server) -> None:
    measurements = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.2, 4.0, 1.0], [6.3, 3.3, 6.0, 2.5]]

    async def one(call: Any, index: int) -> None:
        request = pb.ModelInferRequest(model_name="iris", id=str(index))
        tensor = request.inputs.add(name="input", datatype="FP64", shape=[1, 4])
        tensor.contents.fp64_contents.extend(measurements[index % 3])
        reply = pb.ModelInferResponse.FromString(await call(request.SerializeToString(), timeout=30))
        assert (reply.id, list(reply.outputs[0].contents.int64_contents)) == (str(index), [index % 3])

    async def all_of_them() -> None:
        async with grpc.aio.insecure_channel(server.grpc) as opened:
            await asyncio.gather(*(one(opened.unary_unary(INFER), index) for index in range(1000)))

    asyncio.run(all_of_them())
    eventually(lambda: server.metric("dragoman_requests_in_flight") == 0)


def test_a_call_that_its_client_takes_back_is_not_predicted(server: Server, channel: grpc.Channel) -> None:
    def order(what: str) -> bytes:
        request = pb.ModelInferRequest(model_name="orders")
        request.inputs.add(name="order", datatype="BYTES", shape=[3]).contents.bytes_contents.extend([what.encode()] * 3)
        request.inputs.add(name="value", datatype="FP64", shape=[3]).contents.fp64_contents.extend([0.7] * 3)
        sent: bytes = request.SerializeToString()
        return sent

    call = channel.unary_unary(INFER)
    busy = call.future(order("sleep"), timeout=30)
    eventually(lambda: server.metric("dragoman_requests_in_flight") == 1)
    waiting = call.future(order("sleep"), timeout=30)
    eventually(lambda: server.metric("dragoman_requests_in_flight") == 2)
    waiting.cancel()
    eventually(lambda: server.metric("dragoman_requests_in_flight") == 1, seconds=0.6)
    assert busy.result()
    eventually(lambda: server.metric("dragoman_request_duration_seconds_count", code="499", dialect="v2_grpc") == 1)


def test_health_is_told_of_each_service(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="no.Such"), timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    watching = health.Watch(health_pb2.HealthCheckRequest(service="no.Such"), timeout=10)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


def test_reflection_answers_each_question_by_itself(channel: grpc.Channel) -> None:
    kinds: list[dict[str, Any]] = [
        {"file_by_filename": "open_inference.proto"},
        {"file_containing_symbol": "inference.GRPCInferenceService.ModelInfer"},
        {"file_containing_symbol": "io.seldon.api.rpc.ClassificationRequest"},
        {"file_containing_symbol": "no.such.Thing"},
        {"file_by_filename": "no_such.proto"},
        {"all_extension_numbers_of_type": "inference.ModelInferRequest"},
        {"file_containing_extension": reflection_pb2.ExtensionRequest(containing_type="inference.ModelInferRequest", extension_number=7)},
        {},
    ]
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [reflection_pb2.ServerReflectionRequest(host="here", **kind) for kind in kinds]
    answers = list(stub.ServerReflectionInfo(iter(requests), timeout=20))
    assert [answer.original_request for answer in answers] == requests
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        *["file_descriptor_response"] * 3,
        *["error_response"] * 2,
        "all_extension_numbers_response",
        *["error_response"] * 2,
    ]
    assert [len(answer.file_descriptor_response.file_descriptor_proto) for answer in answers[:3]] == [1, 1, 2]
    assert [answers[i].error_response.error_code for i in (3, 4, 6, 7)] == [5, 5, 5, 3]
