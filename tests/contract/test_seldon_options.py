"""Seldon's API of other models with other options: a data handler, a regression, a memcached that is silent, gone, and back."""

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
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.servers.memcached import memcached
from tests.servers.running import free_ports
from tests.servers.silent import silent
from tests.support.seldon_asks import ASKED, items, query, recommended, refused
from tests.support.seldon_page import classify, request_with, values
from tests.support.serving import Server, eventually, manifest, serving

from dragoman.seldon import save_pipeline

MODELS = Path(__file__).parents[1] / "models"
ROW = (5.1, 3.5, 1.4, 0.2)
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
    told = [line["message"] for line in map(json.loads, third.log.read_text().splitlines()) if "memcached" in line["logger"]]
    assert f"memcached at 127.0.0.1:{lost} could not be reached within 0.5 s; what needs it is answered with 503 until it is back" in told
    assert told.count(f"memcached at 127.0.0.1:{lost} answers again") == 2
    assert "ConnectionPool" not in third.log.read_text()


def test_every_refusal_is_counted_by_its_reason(third: Server) -> None:
    before = third.metric("dragoman_requests_rejected_total", reason="StoreUnavailable")
    assert httpx.get(f"{third.rest}/recommend", params=ASKED | {"data_key": "low"}, timeout=30).status_code == 503
    found = third.metric("dragoman_request_duration_seconds_count", dialect="seldon", code="503", model="orders")
    assert found >= 1
    assert third.metric("dragoman_requests_rejected_total", reason="StoreUnavailable") >= before
