"""Seldon's microservice API, row by row from its page: plain HTTP, and grpcio with messages made from the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import joblib
import pandas as pd
import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.servers.memcached import MemcachedServer, memcached
from tests.support.seldon_asks import ASKED, items, query, recommended, refused
from tests.support.seldon_page import CLASSIFY, PACKAGE, classify, file_of_the_page, request_with, values
from tests.support.serving import Server, manifest, serving

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
