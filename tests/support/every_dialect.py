"""One ModelDeployment in every prediction API at once: how each is asked by clients that are not ours, and what its refusals look like."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
from sklearn.datasets import load_iris
from tests.support.seldon_page import classify, request_with, values
from tests.support.serving import manifest
from tritonclient.grpc import service_pb2

CLASSES = ("setosa", "versicolor", "virginica")
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
DEPLOYMENT = "5f22ba7ade0f435ba7217bcf"
DIALECTS: dict[str, dict[str, Any]] = {
    "v1": {},
    "v2": {},
    "porter": {"namespace": "flowers", "exposeDocs": True},
    "datarobot": {"deploymentId": DEPLOYMENT},
    "certifai": {"route": "scan/predict"},
    "mlup": {},
    "seldon": {},
}
PREDICTIONS = f"/predApi/v1.0/deployments/{DEPLOYMENT}/predictions"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

Row = list[float]


def iris(folder: Path, uri: Path, *, limits: dict[str, Any] | None = None, **changed: dict[str, Any]) -> Path:
    """The ModelDeployment; `changed` are other options of a dialect."""
    spec = {"dialects": DIALECTS | changed} | ({"limits": limits} if limits else {})
    return manifest(folder, "iris", uri, model={"outputs": {"target": "species", "classes": list(CLASSES)}}, serving=spec)


def flowers() -> list[Row]:
    """The 150 of them, each value one that 32 bits hold exactly, as seldon's gRPC carries them."""
    found: list[Row] = load_iris().data.astype(np.float32).astype(np.float64).tolist()
    return found


def objects(rows: Sequence[Row]) -> list[dict[str, float]]:
    return [dict(zip(FEATURES, row, strict=True)) for row in rows]


# --- asking ------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """In the order of the rows: each one's class by its name, and each class's probability where the API tells it."""

    labels: list[str]
    scores: list[list[float]] | None = None


def _posted(client: httpx.Client, path: str, document: Any) -> Any:
    return _read(client.post(path, json=document)).json()


def _read(reply: httpx.Response) -> httpx.Response:
    assert reply.status_code == 200, reply.text
    return reply


def _named(labels: Sequence[int]) -> list[str]:
    return [CLASSES[label] for label in labels]


def _v1(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    return Answer(_named(_posted(client, "/v1/models/iris:predict", {"instances": rows})["predictions"]))


def _v2(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    tensor = {"name": "input", "shape": [len(rows), 4], "datatype": "FP64", "data": rows}
    wanted = [{"name": "predict"}, {"name": "predict_proba"}]
    labels, scores = _posted(client, "/v2/models/iris/infer", {"inputs": [tensor], "outputs": wanted})["outputs"]
    return Answer(_named(labels["data"]), np.reshape(scores["data"], scores["shape"]).tolist())


def _porter(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    found = _posted(client, "/flowers/iris/v1/prediction", [{"id": i} | row for i, row in enumerate(objects(rows))])["predictions"]
    assert [one["id"] for one in found] == list(range(len(rows)))
    return Answer(_named([one["prediction"] for one in found]))


def _datarobot(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    return _of_datarobot(_posted(client, PREDICTIONS, objects(rows)))


def _datarobot_csv(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    body = io.StringIO()
    csv.writer(body).writerows([FEATURES, *rows])
    return _of_datarobot(_read(client.post(PREDICTIONS, content=body.getvalue(), headers={"content-type": "text/csv"})).json())


def _of_datarobot(document: Any) -> Answer:
    rows = document["data"]
    assert [row["rowId"] for row in rows] == list(range(len(rows)))
    assert all([one["label"] for one in row["predictionValues"]] == list(CLASSES) for row in rows)
    return Answer([row["prediction"] for row in rows], [[one["value"] for one in row["predictionValues"]] for row in rows])


def _certifai(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    payload = _posted(client, "/scan/predict", {"payload": {"instances": rows}})["payload"]
    assert payload["labels"] == list(CLASSES)
    return Answer(payload["predictions"], payload["scores"])


def _mlup(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    return Answer(_named(_posted(client, "/predict", {"X": rows})["predict_result"]))


def _seldon(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    asked = [{"client": "test", "json": json.dumps(row)} for row in objects(rows)]
    return _of_seldon([_read(client.get("/predict", params=one)).json() for one in asked])


def _seldon_form(client: httpx.Client, rows: Sequence[Row]) -> Answer:
    asked = [{"client": "test", "json": json.dumps({"data": row})} for row in rows]
    return _of_seldon([_read(client.post("/predict", data=one)).json() for one in asked])


def _of_seldon(documents: Sequence[Any]) -> Answer:
    assert all([one["classId"] for one in document["predictions"]] == list(CLASSES) for document in documents)
    scores = [[one["score"] for one in document["predictions"]] for document in documents]
    return Answer([CLASSES[int(np.argmax(row))] for row in scores], scores)


def _v2_grpc(channel: grpc.Channel, rows: Sequence[Row]) -> Answer:
    """With the messages of the public protocol, as NVIDIA's client has them."""
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        service_pb2.ModelInferRequest.SerializeToString,
        service_pb2.ModelInferResponse.FromString,
    )
    request = service_pb2.ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="input", datatype="FP64", shape=[len(rows), 4])
    tensor.contents.fp64_contents.extend(value for row in rows for value in row)
    for name in ("predict", "predict_proba"):
        request.outputs.add(name=name)
    labels, scores = call(request, timeout=60).outputs
    return Answer(_named(labels.contents.int64_contents), np.reshape(scores.contents.fp64_contents, scores.shape).tolist())


def _seldon_grpc(channel: grpc.Channel, rows: Sequence[Row]) -> Answer:
    replies = [classify(channel, request_with(values(*row)), timeout=60) for row in rows]
    assert all([one.predictedClass for one in reply.predictions] == list(CLASSES) for reply in replies)
    scores = [[one.prediction for one in reply.predictions] for reply in replies]
    return Answer([CLASSES[int(np.argmax(row))] for row in scores], scores)


class Kind(NamedTuple):
    """A way to ask."""

    dialect: str  # as metrics name it
    ask: Callable[[Any, Sequence[Row]], Answer]  # with an httpx.Client that has the base URL, or a channel
    over_grpc: bool = False
    row_a_request: bool = False  # a request has one row


KINDS: dict[str, Kind] = {
    "v1": Kind("v1", _v1),
    "v2": Kind("v2", _v2),
    "v2 over gRPC": Kind("v2_grpc", _v2_grpc, over_grpc=True),
    "porter": Kind("porter", _porter),
    "datarobot": Kind("datarobot", _datarobot),
    "datarobot with CSV": Kind("datarobot", _datarobot_csv),
    "certifai": Kind("certifai", _certifai),
    "mlup": Kind("mlup", _mlup),
    "seldon": Kind("seldon", _seldon, row_a_request=True),
    "seldon with a form": Kind("seldon", _seldon_form, row_a_request=True),
    "seldon over gRPC": Kind("seldon_grpc", _seldon_grpc, over_grpc=True, row_a_request=True),
}


# --- refusals ----------------------------------------------------------------------------------------------------


def shape_of(reply: httpx.Response) -> str:
    """Whose shape the body of an error has: "plain" is `{"error": "<text>"}`, which v1, v2, seldon and the server itself share."""
    assert reply.headers["content-type"] == "application/json", reply.text
    document = reply.json()
    assert isinstance(document, dict)
    found = [name for name, fits in _SHAPES.items() if fits(document)]
    assert len(found) == 1, reply.text
    return found[0]


def _line(text: Any) -> bool:
    return isinstance(text, str) and text != "" and not {"\n", "\r"} & set(text)


def _is_porters(document: dict[str, Any]) -> bool:
    error = document.get("error")
    return (
        {"error", "request_id"} <= set(document) <= {"error", "request_id", "model_context"}
        and isinstance(error, dict)
        and set(error) == {"name", "messages"}
        and all(isinstance(message, str) for message in error["messages"])
    )


def _is_mlups(document: dict[str, Any]) -> bool:
    if document in ({"detail": "Not Found"}, {"detail": "Method Not Allowed"}):
        return True
    details = document.get("detail")
    return set(document) == {"detail", "predict_id"} and all(set(one) == {"loc", "msg", "type"} for one in details or [{}])


def _is_certifais(document: dict[str, Any]) -> bool:
    payload: Any = document.get("payload")
    fits = set(document) == {"payload"} and isinstance(payload, dict) and set(payload) == {"success", "error"}
    return fits and payload["success"] is False and _line(payload["error"])


_SHAPES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "plain": lambda document: set(document) == {"error"} and _line(document["error"]),
    "porter": _is_porters,
    "datarobot": lambda document: set(document) == {"message"} and _line(document["message"]),
    "certifai": _is_certifais,
    "mlup": _is_mlups,
}
