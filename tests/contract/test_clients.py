"""Real clients against a real server that fetched its model from a real bucket: their answers are the model's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import joblib
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sklearn.datasets import load_iris
from tests.servers.objects import ObjectServer
from tests.support.serving import Server, eventually, manifest, run, serving
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def rows() -> Array:
    measurements: Array = load_iris(return_X_y=True)[0]
    return measurements


@pytest.fixture(scope="module")
def answers(rows: Array) -> dict[str, Array]:
    """What the model itself answers, in this process."""
    import pandas as pd

    model = joblib.load(IRIS)
    frame = pd.DataFrame(rows, columns=list(NAMES))
    return {"predict": model.predict(frame), "predict_proba": model.predict_proba(frame)}


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As whoever trained the model prints it, where it was trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "iris").mkdir()
    (folder / "iris" / "model.joblib").write_bytes(IRIS.read_bytes())
    done = run(folder, "digest", folder / "iris")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, s3_server: ObjectServer, digest: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    s3_server.put("clients/iris/model.joblib", IRIS)
    target = manifest(folder, "iris", s3_server.uri("clients/iris/"), model={"digest": digest})
    with serving(folder, target, "--code-formats", "RequireDigest", "--workers", "2", env=s3_server.env) as started:
        yield started


def assert_same(name: str, found: Any, answers: dict[str, Array]) -> None:
    if name == "predict":
        assert np.array_equal(found, answers[name])
    else:
        np.testing.assert_allclose(found, answers[name], rtol=1e-12, atol=0)


def test_the_served_model_is_the_pinned_one(server: Server, digest: str) -> None:
    model = server.status()["models"][0]
    assert (model["state"], model["digest"], model["format"], model["bytes"]) == ("Loaded", digest, "sklearn", IRIS.stat().st_size)


# --- v1 --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        lambda rows: {"instances": rows.tolist()},
        lambda rows: {"instances": [dict(zip(reversed(NAMES), reversed(row), strict=True)) for row in rows.tolist()]},
        lambda rows: {"inputs": dict(zip(NAMES, rows.T.tolist(), strict=True))},
    ],
    ids=["lists", "objects", "columns"],
)
def test_curl_v1(server: Server, rows: Array, answers: dict[str, Array], body: Callable[[Array], Any]) -> None:
    command = ["curl", "--silent", "--fail", f"{server.rest}/v1/models/iris:predict", "--header", "content-type: application/json"]
    done = subprocess.run([*command, "--data", "@-"], input=json.dumps(body(rows)).encode(), capture_output=True, check=True, timeout=30)
    assert_same("predict", json.loads(done.stdout)["predictions"], answers)


# --- v2 over HTTP ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http_client(server: Server) -> Iterator[Any]:
    client = triton_http.InferenceServerClient(server.rest.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def grpc_client(server: Server) -> Iterator[Any]:
    client = triton_grpc.InferenceServerClient(server.grpc)
    yield client
    client.close()


def one_tensor(kind: Any, rows: Array, datatype: str = "FP64") -> list[Any]:
    return [kind("input", list(rows.shape), datatype)]


def tensor_a_feature(kind: Any, rows: Array, datatype: str = "FP64") -> list[Any]:
    return [kind(name, [len(rows)], datatype) for name in NAMES]


def filled(inputs: list[Any], rows: Array, **how: Any) -> list[Any]:
    for i, tensor in enumerate(inputs):
        tensor.set_data_from_numpy(rows if len(inputs) == 1 else np.ascontiguousarray(rows[:, i]), **how)
    return inputs


@pytest.mark.parametrize("shaped", [one_tensor, tensor_a_feature])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritonclient_http(
    http_client: Any, rows: Array, answers: dict[str, Array], shaped: Callable[..., list[Any]], binary_in: bool, binary_out: bool
) -> None:
    outputs = [triton_http.InferRequestedOutput(name, binary_data=binary_out) for name in answers]
    given = filled(shaped(triton_http.InferInput, rows), rows, binary_data=binary_in)
    result = http_client.infer("iris", given, outputs=outputs, request_id="seven")
    assert result.get_response()["id"] == "seven"
    for name in answers:
        assert_same(name, result.as_numpy(name), answers)


def test_tritonclient_http_compressed(http_client: Any, rows: Array, answers: dict[str, Array]) -> None:
    given = filled(one_tensor(triton_http.InferInput, rows), rows)
    result = http_client.infer("iris", given, request_compression_algorithm="gzip", response_compression_algorithm="gzip")
    assert_same("predict", result.as_numpy("predict"), answers)


def test_no_rows_are_answered_with_none(http_client: Any, grpc_client: Any) -> None:
    for client, kind in ((http_client, triton_http), (grpc_client, triton_grpc)):
        outputs = [kind.InferRequestedOutput(name) for name in ("predict", "predict_proba")]
        given = filled(one_tensor(kind.InferInput, np.empty((0, 4))), np.empty((0, 4)))
        result = client.infer("iris", given, outputs=outputs)
        assert (result.as_numpy("predict").shape, result.as_numpy("predict").dtype) == ((0,), np.int64)
        assert (result.as_numpy("predict_proba").shape, result.as_numpy("predict_proba").dtype) == ((0, 3), np.float64)


def test_tritonclient_http_asks_about_the_server(http_client: Any, digest: str) -> None:
    assert http_client.is_server_live()
    assert http_client.is_server_ready()
    assert http_client.is_model_ready("iris")
    assert not http_client.is_model_ready("rose")
    assert http_client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository"]
    version = digest.removeprefix("sha256:")[:12]
    described = http_client.get_model_metadata("iris", version)
    assert (described["name"], described["versions"], described["platform"]) == ("iris", [version], "sklearn")
    assert described["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}]
    assert {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]} in described["outputs"]
    assert http_client.get_model_repository_index() == [{"name": "iris", "version": version, "state": "READY", "reason": ""}]


def test_tritonclient_http_hears_what_was_wrong(http_client: Any, rows: Array) -> None:
    given = filled(one_tensor(triton_http.InferInput, rows[:, :3]), np.ascontiguousarray(rows[:, :3]))
    with pytest.raises(triton_http.InferenceServerException, match=r"'input' has shape \[150, 3\]") as caught:
        http_client.infer("iris", given)
    assert caught.value.status() == "400"


# --- v2 over gRPC ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shaped", [one_tensor, tensor_a_feature])
def test_tritonclient_grpc(grpc_client: Any, rows: Array, answers: dict[str, Array], shaped: Callable[..., list[Any]]) -> None:
    outputs = [triton_grpc.InferRequestedOutput(name) for name in answers]
    result = grpc_client.infer("iris", filled(shaped(triton_grpc.InferInput, rows), rows), outputs=outputs, request_id="seven")
    assert result.get_response().id == "seven"
    for name in answers:
        assert_same(name, result.as_numpy(name), answers)


def test_grpc_typed_contents_answer_as_raw_ones_do(server: Server, rows: Array, answers: dict[str, Array]) -> None:
    contents = service_pb2.InferTensorContents(fp64_contents=rows.reshape(-1).tolist())
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="input", datatype="FP64", shape=rows.shape, contents=contents)
    asked = [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in answers]
    with grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        reply = stub.ModelInfer(service_pb2.ModelInferRequest(model_name="iris", inputs=[tensor], outputs=asked), timeout=30)
    assert not reply.raw_output_contents
    assert_same("predict", list(reply.outputs[0].contents.int64_contents), answers)
    assert_same("predict_proba", np.reshape(reply.outputs[1].contents.fp64_contents, reply.outputs[1].shape), answers)


def test_tritonclient_grpc_asks_about_the_server(grpc_client: Any, digest: str) -> None:
    assert grpc_client.is_server_live()
    assert grpc_client.is_server_ready()
    assert grpc_client.is_model_ready("iris")
    assert list(grpc_client.get_server_metadata().extensions) == ["binary_tensor_data", "model_repository"]
    version = digest.removeprefix("sha256:")[:12]
    described = grpc_client.get_model_metadata("iris", version, as_json=True)
    assert described["inputs"] == [{"name": "input", "datatype": "FP64", "shape": ["-1", "4"]}]
    assert described["versions"] == [version]
    assert grpc_client.get_model_repository_index(as_json=True)["models"] == [{"name": "iris", "version": version, "state": "READY"}]


def test_grpc_health_and_reflection(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
        ]
        listed, described = reflection.ServerReflectionInfo(iter(asked), timeout=10)
    services = {service.name for service in listed.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services
    assert described.file_descriptor_response.file_descriptor_proto


def test_a_drain_is_seen_in_grpc_health_and_finishes_calls_but_waits_for_no_stream(tmp_path: Path) -> None:
    target = manifest(tmp_path, "orders", MODELS / "on_order.py")
    order = triton_grpc.InferInput("order", [1], "BYTES").set_data_from_numpy(np.array(["sleep"], dtype=object))
    value = triton_grpc.InferInput("value", [1], "FP64").set_data_from_numpy(np.array([1.5]))
    with serving(tmp_path, target) as server, grpc.insecure_channel(server.grpc) as channel, ThreadPoolExecutor(1) as pool:
        seen = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=60)
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        client = triton_grpc.InferenceServerClient(server.grpc)
        slow = pool.submit(client.infer, "orders", [order, value])
        eventually(lambda: server.metric("dragoman_requests_in_flight") == 1)
        server.process.terminate()
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert slow.result().as_numpy("predict").tolist() == [3.0]
        assert server.process.wait(30) == 0
        client.close()
