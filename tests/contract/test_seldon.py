"""Seldon's microservice API, row by row from its page: plain HTTP, and grpcio with messages made from the page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.servers.memcached import MemcachedServer, memcached
from tests.servers.running import free_ports
from tests.servers.silent import silent
from tests.support.seldon_page import CLASSIFY, PACKAGE, classify, file_of_the_page, request_with, values
from tests.support.serving import Server, eventually, manifest, serving

from dragoman.seldon import save_pipeline

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ROW = (5.1, 3.5, 1.4, 0.2)
FEATURES = dict(zip(NAMES, ROW, strict=True))
MULTIPART = {"json": (None, json.dumps(FEATURES))}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    with memcached(tmp_path_factory.mktemp("memcached")) as started:
        for key, stored in _STORED.items():
            started.put(key, stored)
        yield started


_STORED = {
    "low": b"[1, 2, 3]",
    "high": b"[3, 30, 40]",
    "RecentItems:test1:0:100000": b"[7]",
    "none": b"[]",
    "no-json": b"[1, 2",
    "no-list": b'{"a": 1}',
    "no-ids": b"[1.5, true]",
    "secret": b'"a password"',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: MemcachedServer) -> Iterator[Server]:
    """iris with two of its classes named, and a recommender that has memcached."""
    folder = tmp_path_factory.mktemp("seldon")
    manifest(folder, "iris", IRIS, serving={"dialects": {"seldon": {"classMap": {"0": "setosa", "1": "versicolor"}}}})
    options = {"memcached": {"servers": [store.address], "timeoutSeconds": 5}}
    manifest(folder, "orders", MODELS / "orders_of_items.py", serving={"dialects": {"seldon": options}})
    with serving(folder, folder, "--drain-seconds", "0", env={"DRAGOMAN_REVISION": "iris-7f"}) as started:
        yield started


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


@pytest.fixture(scope="module")
def scores() -> list[float]:
    """What the model itself says of the row."""
    return cast(list[float], joblib.load(IRIS).predict_proba(pd.DataFrame([FEATURES]))[0].tolist())


# --- /predict ----------------------------------------------------------------------------------------------------


def query(document: Any, client: str = "test1") -> dict[str, str]:
    return {"client": client, "json": json.dumps(document)}


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        pytest.param("GET", {"params": query(FEATURES)}, id="an object of features"),
        pytest.param("GET", {"params": query(dict(reversed(FEATURES.items())))}, id="in any order"),
        pytest.param("GET", {"params": query({"data": FEATURES})}, id="an object under data"),
        pytest.param("GET", {"params": query({"data": list(ROW)})}, id="a row of values under data"),
        pytest.param("GET", {"params": {"json": json.dumps(FEATURES)}}, id="without a client"),
        pytest.param("GET", {"params": query({"data": FEATURES, "request": "x"})}, id="what stands beside data is not read"),
        pytest.param("POST", {"data": query(FEATURES)}, id="a form"),
        pytest.param("POST", {"files": MULTIPART}, id="a multipart form"),
        pytest.param("POST", {"params": query(FEATURES)}, id="a query without a body"),
        pytest.param("POST", {"params": query(FEATURES), "data": {"json": "no"}}, id="the query goes before the form"),
        pytest.param("POST", {"params": {"client": "a"}, "data": {"json": json.dumps({"data": list(ROW)})}}, id="the rest in the form"),
    ],
)
def test_a_row_is_answered_with_an_element_a_class(server: Server, scores: list[float], method: str, sent: dict[str, Any]) -> None:
    reply = httpx.request(method, f"{server.rest}/predict", timeout=30, **sent)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json()) == {"predictions"}
    elements = reply.json()["predictions"]
    assert [set(element) for element in elements] == [{"score", "classId", "confidence"}] * 3
    assert [element["classId"] for element in elements] == ["setosa", "versicolor", "2"]  # named, named, the label
    assert [element["score"] for element in elements] == pytest.approx(scores, rel=1e-12)
    assert [element["confidence"] for element in elements] == [element["score"] for element in elements]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, ['"json" is missing']),
        ({"json": ""}, ['"json" is not valid JSON']),
        ({"json": '{"sepal_length": NaN}'}, ['"json" is not valid JSON']),
        ({"json": "[5.1, 3.5, 1.4, 0.2]"}, ['"json" must be an object', "a list"]),
        ({"json": "5"}, ['"json" must be an object', "a number"]),
        ({"json": "null"}, ['"json" must be an object', "null"]),
        ({"json": "{}"}, ["'sepal_length' is missing"]),
        ({"json": json.dumps(FEATURES | {"petal_width": "wide"})}, ["'petal_width' must be a number", "wide"]),
        ({"json": json.dumps(FEATURES | {"petal_width": None})}, ["'petal_width'", "null"]),
        ({"json": json.dumps(FEATURES | {"petal_width": [1]})}, ["'petal_width'", "a list"]),
        ({"json": json.dumps(FEATURES).replace("0.2", "1" + "0" * 400)}, ["json"]),
        ({"json": json.dumps(FEATURES | {"colour": "blue"})}, ["'colour'"]),
        ({"json": '{"data": [5.1, 3.5]}'}, ["2 values"]),
        ({"json": '{"data": [[5.1, 3.5, 1.4, 0.2]]}'}, ["a list"]),
        ({"json": '{"data": []}'}, ["0 values"]),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_row_that_cannot_be_is_refused_with_its_reason(server: Server, method: str, sent: dict[str, str], words: list[str]) -> None:
    given: dict[str, Any] = {"params": sent} if method == "GET" else {"data": sent}
    refused(httpx.request(method, f"{server.rest}/predict", timeout=30, **given), 400, *words)


def refused(reply: httpx.Response, status: int, *words: str) -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    document = reply.json()
    assert list(document) == ["error"]
    for word in words:
        assert word in document["error"], document["error"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "multipart/form-data"}, b"--x\r\n", 400),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nnonsense", 400),
        ({"content-type": "application/x-www-form-urlencoded"}, b"json=%ff", 400),
        ({"content-type": "application/x-www-form-urlencoded"}, b"json=\xff", 400),
        ({"content-type": "application/x-www-form-urlencoded", "content-encoding": "gzip"}, b"no gzip", 400),
        ({"content-type": "application/x-www-form-urlencoded", "content-encoding": "br"}, b"json=1", 415),
        ({"content-type": "application/json"}, json.dumps(FEATURES).encode(), 400),  # no form: its fields are not looked for
    ],
)
def test_a_form_that_cannot_be_read_is_refused(server: Server, headers: dict[str, str], body: bytes, status: int) -> None:
    refused(httpx.post(f"{server.rest}/predict", content=body, headers=headers, timeout=30), status)


def test_a_get_with_a_query_that_is_not_utf_8_is_refused(server: Server) -> None:
    refused(httpx.get(f"{server.rest}/predict?json=%ff", timeout=30), 400, "UTF-8")


@pytest.mark.parametrize("path", ["/predict", "/recommend"])
def test_another_method_is_told_which_there_are(server: Server, path: str) -> None:
    reply = httpx.put(server.rest + path, timeout=30)
    refused(reply, 405)
    assert {"GET", "POST"} <= {part.strip() for part in reply.headers["allow"].split(",")}


def test_a_path_that_is_not_there_is_404(server: Server) -> None:
    refused(httpx.get(f"{server.rest}/recommend/1", timeout=30), 404, "/recommend/1")


# --- /recommend --------------------------------------------------------------------------------------------------

ASKED = {"client": "test1", "user_id": "1", "recent_interactions": "", "exclusion_items": "", "data_key": "", "limit": "3"}


def recommended(server: Server, method: str = "GET", **changes: str) -> list[Any]:
    sent = ASKED | changes
    given: dict[str, Any] = {"params": sent} if method == "GET" else {"data": sent}
    reply = httpx.request(method, f"{server.rest}/recommend", timeout=30, **given)
    assert reply.status_code == 200, reply.text
    assert list(reply.json()) == ["recommended"]
    found: list[Any] = reply.json()["recommended"]
    assert all(set(element) == {"item", "score"} for element in found)
    return found


def items(found: list[Any]) -> list[Any]:
    return [element["item"] for element in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"data_key": "low"}, [1, 2, 3], id="the candidates under a key"),
        pytest.param({"data_key": "high,low", "limit": "9"}, [1, 2, 3, 30, 40], id="the union of several keys"),
        pytest.param({"data_key": "RecentItems:test1:0:100000"}, [7], id="a key as Seldon names them"),
        pytest.param({"data_key": "nothing,low"}, [1, 2, 3], id="a missing key is an empty list"),
        pytest.param({"data_key": "nothing"}, [1, 2, 3], id="without candidates the recommender chooses"),
        pytest.param({"data_key": "none"}, [1, 2, 3], id="also where an empty list is stored"),
        pytest.param({}, [1, 2, 3], id="without a key it chooses, too"),
        pytest.param({"limit": "5"}, [1, 2, 3, 4, 5], id="at most limit"),
        pytest.param({"limit": "0"}, [], id="limit 0"),
        pytest.param({"data_key": "low,high", "exclusion_items": "1,3"}, [2, 30, 40], id="less the exclusions"),
        pytest.param({"data_key": "low", "exclusion_items": "1,2,3"}, [], id="every candidate excluded"),
        pytest.param({"exclusion_items": "1,2"}, [3, 4, 5], id="exclusions hold where the recommender chooses"),
        pytest.param({"client": "everything", "data_key": "low,high", "limit": "2"}, [1, 2], id="more than limit is cut"),
        pytest.param({"client": "numpy", "data_key": "low"}, [3, 2, 1], id="numbers of numpy, best first"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_items_are_recommended_best_first(server: Server, method: str, changes: dict[str, str], expected: list[int]) -> None:
    found = recommended(server, method, **changes)
    assert items(found) == expected
    scored = [element["score"] for element in found]
    assert scored == sorted(scored, reverse=True)
    assert all(0 <= score <= 1 for score in scored)
    assert not scored or scored[0] == 1.0


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("everything", {1: 1.0, 2: 0.5, 3: 1 / 3}),  # as parts of the best
        ("negative", {1: 1.0, 3: 0.5, 2: 0.0}),  # between the worst and the best
        ("alike", {1: 1.0, 2: 1.0}),
    ],
)
def test_scores_are_scaled_so_that_the_best_is_one(server: Server, client: str, expected: dict[int, float]) -> None:
    found = recommended(server, client=client, data_key="low")
    assert {element["item"]: element["score"] for element in found} == pytest.approx(expected)


def test_the_recommender_is_asked_with_every_argument(server: Server) -> None:
    found = recommended(server, client="echo", user_id="9007199254740993", recent_interactions="16,260", data_key="low", limit="4")
    assert items(found) == ["user=9007199254740993", "ids=[1, 2, 3]", "recent=[16, 260]", "limit=4"]


def test_the_pages_own_example_is_answered(server: Server) -> None:
    asked = "client=test1&user_id=1&recent_interactions=16,260&exclusion_items=&data_key=ce136f0d0fac274a7d353e672bf4b187&limit=30"
    reply = httpx.get(f"{server.rest}/recommend?{asked}", timeout=30)
    assert reply.status_code == 200
    assert len(reply.json()["recommended"]) == 20  # all that it knows


def test_lists_that_are_left_out_are_empty(server: Server) -> None:
    reply = httpx.get(f"{server.rest}/recommend", params={"client": "test1", "user_id": "1", "limit": "2"}, timeout=30)
    assert items(reply.json()["recommended"]) == [1, 2]


MALFORMED = [
    *(({name: value}, name) for name in ("user_id", "limit") for value in ("", "one", "1.5", "1,2", "0x1", "٣", "9" * 19, "9" * 5000)),
    *(({name: value}, name) for name in ("recent_interactions", "exclusion_items") for value in ("a", "1,", ",", "1,,2", "1 2", "[1]")),
    ({"limit": "-1"}, "limit"),
    ({"data_key": "two words"}, "data_key"),
    ({"data_key": "line\nbreak"}, "data_key"),
    ({"data_key": "low\r\nflush_all"}, "data_key"),
    ({"data_key": "k" * 251}, "data_key"),
    ({"data_key": ",".join(map(str, range(101)))}, "data_key"),
    ({"data_key": "no-json"}, "data_key"),
    ({"data_key": "no-list"}, "data_key"),
    ({"data_key": "no-ids"}, "data_key"),
    ({"data_key": "secret"}, "data_key"),
]


@pytest.mark.parametrize(("changes", "name"), MALFORMED, ids=lambda value: str(value)[:40])
def test_a_malformed_parameter_is_refused_by_name(server: Server, changes: dict[str, str], name: str) -> None:
    reply = httpx.get(f"{server.rest}/recommend", params=ASKED | changes, timeout=30)
    refused(reply, 400, f'"{name}"')
    assert "password" not in reply.text  # what is stored is nobody's to see
    assert len(reply.text) < 400


@pytest.mark.parametrize("name", ["client", "user_id", "limit"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_missing_parameter_is_refused_by_name(server: Server, method: str, name: str) -> None:
    sent = {key: value for key, value in ASKED.items() if key != name}
    given: dict[str, Any] = {"params": sent} if method == "GET" else {"data": sent}
    refused(httpx.request(method, f"{server.rest}/recommend", timeout=30, **given), 400, f'"{name}" is missing')


@pytest.mark.parametrize(("client", "words"), [("nan", ["item 1", "nan"]), ("no-pairs", ["the model failed"])])
def test_a_recommender_that_gives_no_scores_has_failed(server: Server, client: str, words: list[str]) -> None:
    refused(httpx.get(f"{server.rest}/recommend", params=ASKED | {"client": client}, timeout=30), 500, *words)


def test_requests_at_once_each_have_their_own_candidates(server: Server, store: MemcachedServer) -> None:
    for i in range(24):
        store.put(f"of-{i}", json.dumps([1000 + i]).encode())
    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(12) as threads:  # more at once than there are connections to memcached
        asked = [ASKED | {"data_key": f"of-{i}", "user_id": str(i)} for i in range(24)]
        replies = list(threads.map(lambda sent: client.get(f"{server.rest}/recommend", params=sent), asked))
    assert [items(reply.json()["recommended"]) for reply in replies] == [[1000 + i] for i in range(24)]


# --- gRPC --------------------------------------------------------------------------------------------------------


def test_classify_answers_with_a_result_a_class(channel: grpc.Channel, scores: list[float]) -> None:
    reply = classify(channel, request_with(values(*ROW), puid="p-1"))
    assert (reply.meta.puid, reply.meta.modelName, reply.meta.variation) == ("p-1", "iris", "iris-7f")
    assert [result.predictedClass for result in reply.predictions] == ["setosa", "versicolor", "2"]
    assert [result.prediction for result in reply.predictions] == pytest.approx(scores, rel=1e-5)  # the row came as 32-bit floats
    assert [result.confidence for result in reply.predictions] == [result.prediction for result in reply.predictions]
    assert not reply.HasField("custom")


@pytest.mark.parametrize("packed", [None, wrappers_pb2.StringValue(value="no row")], ids=["nothing", "another message"])
def test_what_cannot_be_unpacked_is_internal_invalid_data(channel: grpc.Channel, packed: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        classify(channel, request_with(packed))
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Invalid data")


def test_the_right_type_with_the_wrong_bytes_is_invalid_data(channel: grpc.Channel) -> None:
    request = request_with(values(*ROW))
    request.data.value = b"\xff\xff\xff"
    with pytest.raises(grpc.RpcError) as caught:
        classify(channel, request)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Invalid data")


@pytest.mark.parametrize(
    ("row", "words"),
    [((5.1, 3.5), "2 values"), ((), "0 values"), ((5.1, 3.5, 1.4, float("nan")), "petal_width"), ((float("inf"), 1, 1, 1), "sepal_length")],
)
def test_a_row_that_the_model_does_not_take_is_an_invalid_argument(channel: grpc.Channel, row: tuple[float, ...], words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        classify(channel, request_with(values(*row)))
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in error.details()


def test_reflection_describes_the_service_as_the_page_does(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (listed,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert f"{PACKAGE}.Seldon" in {service.name for service in listed.list_services_response.service}
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{PACKAGE}.Seldon")
    (told,) = stub.ServerReflectionInfo(iter([asked]))
    files = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in told.file_descriptor_response.file_descriptor_proto]
    (ours,) = [file for file in files if file.package == PACKAGE]
    assert {m.name: shape(m) for m in ours.message_type} == {m.name: shape(m) for m in file_of_the_page().message_type}
    ((service,),) = [[(s.name, m.name, m.input_type, m.output_type) for s in ours.service for m in s.method]]
    assert service == ("Seldon", "Classify", f".{PACKAGE}.ClassificationRequest", f".{PACKAGE}.ClassificationReply")
    assert f"/{PACKAGE}.Seldon/Classify" == CLASSIFY


def shape(message: Any) -> list[tuple[Any, ...]]:
    return [(field.name, field.number, field.type, field.label, field.type_name) for field in message.field]


# --- other models, other options ---------------------------------------------------------------------------------

IRIS_PROTO = """
syntax = "proto3";
package io.seldon.microservice.iris;
message IrisPredictRequest { float f1 = 1; float f2 = 2; float f3 = 3; float f4 = 4; }
message Unknown { string what = 1; }
"""

HANDLED = """
import pandas as pd
from dragoman.seldon import BadDataError, CustomDataHandler, Pipeline

import iris_pb2


class IrisCustomDataHandler(CustomDataHandler):
    def get_data(self, request):
        sent = iris_pb2.IrisPredictRequest()
        if not request.data.Unpack(sent):
            raise BadDataError("Invalid data")
        if sent.f1 == 13:
            raise KeyError("a handler's own mistake")
        return pd.DataFrame([{"f1": sent.f1, "f2": sent.f2, "f3": sent.f3, "f4": sent.f4}])


class Iris(Pipeline):
    data_handler = IrisCustomDataHandler()
"""


@pytest.fixture(scope="module")
def handled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder: a saved pipeline, a handler, and the messages that it knows."""
    folder = tmp_path_factory.mktemp("handled") / "iris"
    rows, species = load_iris(return_X_y=True)
    frame = pd.DataFrame(rows, columns=["f1", "f2", "f3", "f4"])
    save_pipeline(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(frame, species), folder / "pipeline", example=frame
    )
    (folder / "model.py").write_text(HANDLED)
    (folder / "iris.proto").write_text(IRIS_PROTO)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={folder}", "iris.proto"]
    subprocess.run(protoc, check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def lost() -> int:
    """A port where nobody listens."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, handled: Path) -> Iterator[Server]:
    """A pipeline with a data handler and every option, and a recommender whose memcached accepts connections and says nothing."""
    folder = tmp_path_factory.mktemp("other")
    options = {"shape": "seldon2", "confidence": 0.7, "modelName": "test_model", "classMap": {"2": "virginica"}}
    manifest(folder, "iris", f"{handled}/", serving={"dialects": {"v1": {}, "seldon": options}})
    with ExitStack() as stack:
        port = stack.enter_context(silent())
        stored = {"memcached": {"servers": [f"127.0.0.1:{port}"], "timeoutSeconds": 1}}
        manifest(folder, "orders", MODELS / "orders_of_items.py", serving={"dialects": {"seldon": stored}})
        yield stack.enter_context(serving(folder, folder, "--drain-seconds", "0"))


@pytest.fixture(scope="module")
def iris_messages(handled: Path) -> Any:
    """The author's own messages, as a client has them."""
    sys.path.insert(0, str(handled))
    try:
        import iris_pb2  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(handled))
    return iris_pb2


@pytest.fixture(scope="module")
def pipeline(handled: Path) -> Any:
    return joblib.load(handled / "pipeline" / "model.joblib")


def test_the_shape_seldon2_has_a_meta_and_names_of_its_own(other: Server, pipeline: Any) -> None:
    sent = query(dict(zip(("f1", "f2", "f3", "f4"), ROW, strict=True)))
    reply = httpx.get(f"{other.rest}/predict", params=sent, timeout=30).json()
    assert reply["meta"] == {"modelName": "test_model"}
    assert set(reply) == {"meta", "predictions"}
    assert [set(element) for element in reply["predictions"]] == [{"prediction", "predictedClass", "confidence"}] * 3
    expected = pipeline.predict_proba(pd.DataFrame([ROW], columns=["f1", "f2", "f3", "f4"]))[0]
    assert [element["prediction"] for element in reply["predictions"]] == pytest.approx(expected.tolist(), rel=1e-12)
    assert [element["predictedClass"] for element in reply["predictions"]] == ["0", "1", "virginica"]
    assert [element["confidence"] for element in reply["predictions"]] == [0.7] * 3


def test_a_data_handler_unpacks_a_message_of_the_models_own(other: Server, pipeline: Any, iris_messages: Any) -> None:
    with grpc.insecure_channel(other.grpc) as channel:
        sent = dict(zip(("f1", "f2", "f3", "f4"), ROW, strict=True))
        reply = classify(channel, request_with(iris_messages.IrisPredictRequest(**sent), puid="x"))
    as_floats = pd.DataFrame([np.array(ROW, dtype=np.float32).astype(float)], columns=["f1", "f2", "f3", "f4"])
    assert [result.prediction for result in reply.predictions] == pytest.approx(pipeline.predict_proba(as_floats)[0].tolist(), rel=1e-12)
    assert (reply.meta.puid, reply.meta.modelName) == ("x", "test_model")
    assert [result.confidence for result in reply.predictions] == [0.7] * 3
    version = next(model["digest"] for model in other.status()["models"] if model["name"] == "iris").removeprefix("sha256:")[:12]
    assert reply.meta.variation == version  # outside a cluster there is no revision


@pytest.mark.parametrize("which", ["another message", "the default message", "nothing", "a mistake of the handler"])
def test_what_a_handler_does_not_take_is_invalid_data(other: Server, iris_messages: Any, which: str) -> None:
    packed = {
        "another message": iris_messages.Unknown(what="?"),
        "the default message": values(*ROW),
        "nothing": None,
        "a mistake of the handler": iris_messages.IrisPredictRequest(f1=13),
    }[which]
    with grpc.insecure_channel(other.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        classify(channel, request_with(packed))
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Invalid data")


def test_messages_and_rows_at_once_are_each_answered_with_their_own(other: Server, pipeline: Any, iris_messages: Any) -> None:
    rows = [tuple(np.float32(value) for value in row) for row in load_iris(return_X_y=True)[0][::10]]
    columns = ["f1", "f2", "f3", "f4"]
    expected = pipeline.predict_proba(pd.DataFrame(np.array(rows, dtype=float), columns=columns))

    def over_grpc(row: Any) -> list[float]:
        reply = classify(channel, request_with(iris_messages.IrisPredictRequest(**dict(zip(columns, row, strict=True)))))
        return [result.prediction for result in reply.predictions]

    def over_rest(row: Any) -> list[float]:
        sent = query({"data": [float(value) for value in row]})
        found = httpx.get(f"{other.rest}/predict", params=sent, timeout=30).json()["predictions"]
        return [element["prediction"] for element in found]

    with grpc.insecure_channel(other.grpc) as channel, ThreadPoolExecutor(16) as threads:
        answers = [threads.map(ask, rows) for ask in (over_grpc, over_rest)]
        for answer in answers:
            np.testing.assert_allclose(list(answer), expected, rtol=1e-9)


def test_a_silent_memcached_is_a_503_and_stalls_nobody(other: Server) -> None:
    asked = ASKED | {"data_key": "low"}
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(httpx.get, f"{other.rest}/recommend", params=asked, timeout=30) for _ in range(8)]
        sent = query(dict(zip(("f1", "f2", "f3", "f4"), ROW, strict=True)))
        for _ in range(3):
            assert httpx.get(f"{other.rest}/predict", params=sent, timeout=30).status_code == 200
        assert not any(one.done() for one in waiting)  # they were answered while all of those waited
        for one in waiting:
            refused(one.result(), 503, "memcached at 127.0.0.1", "within 1 s")
            assert one.result().headers["retry-after"] == "1"
    assert other.metric("dragoman_worker_restarts_total") == 0


def test_without_a_key_a_silent_memcached_is_not_asked(other: Server) -> None:
    assert items(recommended(other)) == [1, 2, 3]


def test_a_malformed_parameter_is_told_though_memcached_is_silent(other: Server) -> None:
    refused(httpx.get(f"{other.rest}/recommend", params=ASKED | {"data_key": "low", "limit": "x"}, timeout=30), 400, '"limit"')


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory, lost: int) -> Iterator[Server]:
    """A regression, with mlup's API beside, and a recommender whose memcached is not there yet."""
    folder = tmp_path_factory.mktemp("third")
    rows, target = load_diabetes(return_X_y=True, as_frame=True)
    joblib.dump(LinearRegression().fit(rows[["bmi", "bp"]], target), folder / "model.joblib")
    manifest(folder, "diabetes", folder / "model.joblib", serving={"dialects": {"seldon": {}, "mlup": {}}})
    stored = {"memcached": {"servers": [f"127.0.0.1:{lost}"], "timeoutSeconds": 0.5}}
    manifest(folder, "orders", MODELS / "orders_of_items.py", serving={"dialects": {"seldon": stored}})
    with serving(folder, folder, "--drain-seconds", "0") as started:
        yield started


def test_a_regression_has_one_element_with_its_score(third: Server, tmp_path: Path) -> None:
    rows, target = load_diabetes(return_X_y=True, as_frame=True)
    expected = LinearRegression().fit(rows[["bmi", "bp"]], target).predict(pd.DataFrame([{"bmi": 0.05, "bp": 0.02}]))[0]
    reply = httpx.get(f"{third.rest}/predict", params=query({"bmi": 0.05, "bp": 0.02}), timeout=30).json()
    assert reply == {"predictions": [{"score": pytest.approx(expected, rel=1e-12)}]}
    with grpc.insecure_channel(third.grpc) as channel:
        (result,) = classify(channel, request_with(values(0.05, 0.02))).predictions
    assert (result.prediction, result.predictedClass) == (pytest.approx(expected, rel=1e-5), "")


def test_on_shared_ground_a_query_or_a_form_is_seldons_and_json_is_mlups(third: Server) -> None:
    row = query({"data": [0.05, 0.02]})
    for sent in ({"params": row}, {"data": row}, {"files": {"json": (None, row["json"])}}):
        found = httpx.post(f"{third.rest}/predict", timeout=30, **cast(Any, sent))
        assert list(found.json()) == ["predictions"], found.text
    by_mlup = httpx.post(f"{third.rest}/predict", json={"X": [[0.05, 0.02]]}, timeout=30).json()
    assert by_mlup["predict_result"] == [found.json()["predictions"][0]["score"]]
    assert httpx.get(f"{third.rest}/predict", params=row, timeout=30).json() == found.json()


def test_a_head_is_answered_without_a_body(third: Server) -> None:
    reply = httpx.head(f"{third.rest}/predict", params=query({"data": [0.05, 0.02]}), timeout=30)
    assert (reply.status_code, reply.content) == (200, b"")


def test_a_stopped_memcached_is_a_503_and_one_that_is_back_is_used(third: Server, lost: int, tmp_path: Path) -> None:
    asked = ASKED | {"data_key": "low"}

    def ask() -> httpx.Response:
        return httpx.get(f"{third.rest}/recommend", params=asked, timeout=30)

    refused(ask(), 503, f"memcached at 127.0.0.1:{lost}")
    with memcached(tmp_path, lost) as started:
        started.put("low", b"[8, 9]")
        reply = eventually(lambda: found if (found := ask()).status_code == 200 else None, seconds=20)
        assert items(reply.json()["recommended"]) == [8, 9]
    refused(eventually(lambda: found if (found := ask()).status_code != 200 else None), 503, f"memcached at 127.0.0.1:{lost}")
    with memcached(tmp_path, lost) as again:
        again.put("low", b"[6]")
        reply = eventually(lambda: found if (found := ask()).status_code == 200 else None, seconds=20)
        assert items(reply.json()["recommended"]) == [6]


def test_every_refusal_is_counted_by_its_reason(third: Server) -> None:
    before = third.metric("dragoman_requests_rejected_total", reason="StoreUnavailable")
    assert httpx.get(f"{third.rest}/recommend", params=ASKED | {"data_key": "low"}, timeout=30).status_code == 503
    found = third.metric("dragoman_request_duration_seconds_count", dialect="seldon", code="503", model="orders")
    assert found >= 1
    assert third.metric("dragoman_requests_rejected_total", reason="StoreUnavailable") >= before
