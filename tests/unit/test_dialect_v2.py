"""v2 over REST as a codec: what its requests become, and what its replies look like."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import Call, Prediction
from dragoman.check import Checker
from dragoman.dialects.dialect import Predict, Reply, Request, Surface
from dragoman.dialects.v2 import V2
from dragoman.errors import BadRequest, CallError, NotReady
from dragoman.signature import Field, Signature

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
INPUT = {"name": "input-0", "shape": [2, 4], "datatype": "FP64", "data": ROWS}
HEADER = "inference-header-content-length"
LOADING = msgspec.structs.replace(IRIS, name="slow", state="Loading", version="", signature=Signature())
FAILED = msgspec.structs.replace(IRIS, name="bad", state="Failed", reason="ModelLoadFailed: no", version="", signature=Signature())


def surface(*models: ServedAs) -> Surface:
    return V2().surface([(model, msgspec.Struct()) for model in models or (IRIS,)])


def predicting(path: str, *models: ServedAs) -> Predict:
    return next(p for p in surface(*models).predicts if p.path == path)


def post(document: Any, content: bytes | None = None, headers: Mapping[str, str] | None = None) -> Request:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    lengths = {} if content is None else {HEADER: str(len(head))}
    return Request("POST", "", {**lengths, **(headers or {})}, head + (content or b""), request_id="made-here")


def decoded(request: Request, model: ServedAs = IRIS) -> Call:
    return predicting(f"/v2/models/{model.name}/infer", model).decode(request)


def replied(document: Any, outputs: dict[str, Any], content: bytes | None = None) -> Reply:
    predict = predicting("/v2/models/iris/infer")
    request = post(document, content)
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    return predict.encode(request, predict.decode(request), Prediction(arrays, len(next(iter(arrays.values())))))


def answered(path: str, *models: ServedAs, method: str = "GET", body: bytes = b"") -> tuple[int, Any]:
    answer = next(a for a in surface(*models).answers if (a.path, a.method) == (path, method))
    reply = answer.reply(Request(method, path, {}, body))
    return reply.status, json.loads(reply.body)


def rows_of(call: Call, model: ServedAs = IRIS) -> Any:
    return Checker(model.signature)(call.table).to_numpy().tolist()


# --- requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [ROWS, [value for row in ROWS for value in row]], ids=["nested", "flat"])
@pytest.mark.parametrize("path", ["/v2/models/iris/infer", "/v2/models/iris/versions/0123456789ab/infer"])
def test_one_tensor_of_all_features_as_json(data: Any, path: str) -> None:
    call = predicting(path).decode(post({"inputs": [INPUT | {"data": data}]}))
    assert rows_of(call) == ROWS
    assert call.outputs == ("predict",)


def test_one_tensor_a_feature_as_json() -> None:
    inputs = [
        {"name": "year", "shape": [2], "datatype": "INT64", "data": [2007, 2009]},
        {"name": "island", "shape": [2, 1], "datatype": "BYTES", "data": ["Dream", "Biscoe"]},
        {"name": "bill_length", "shape": [2], "datatype": "FP64", "data": [39.5, None]},
    ]
    call = decoded(post({"inputs": inputs}), PENGUINS)
    frame = Checker(PENGUINS.signature)(call.table).to_frame()
    assert frame["island"].tolist() == ["Dream", "Biscoe"]
    assert frame["bill_length"].isna().tolist() == [False, True]


def test_tensors_as_bytes_and_as_json_mix() -> None:
    island = b"".join(len(text).to_bytes(4, "little") + text for text in (b"Dream", b"Biscoe"))
    bill = np.array([39.5, np.nan]).astype("<f4").tobytes()
    inputs = [
        {"name": "island", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(island)}},
        {"name": "year", "shape": [2], "datatype": "INT64", "data": [2007, 2009]},
        {"name": "bill_length", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": len(bill)}},
    ]
    frame = Checker(PENGUINS.signature)(decoded(post({"inputs": inputs}, island + bill), PENGUINS).table).to_frame()
    assert frame["island"].tolist() == ["Dream", "Biscoe"]
    assert frame["bill_length"].tolist()[0] == 39.5


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT16"])
def test_a_matrix_of_any_number_type_as_bytes(datatype: str) -> None:
    dtype = {"FP": "f", "IN": "i", "UI": "u"}[datatype[:2]] + str(int(datatype.lstrip("FPUINT")) // 8)
    matrix = np.array([[5, 3, 1, 0], [6, 3, 5, 2]], dtype="<" + dtype)
    tensor = {"name": "x", "shape": [2, 4], "datatype": datatype, "parameters": {"binary_data_size": matrix.nbytes}}
    assert rows_of(decoded(post({"inputs": [tensor]}, matrix.tobytes()))) == matrix.astype(float).tolist()


def test_a_body_of_raw_bytes_is_the_single_input() -> None:
    request = Request("POST", "", {HEADER: "0"}, np.array(ROWS).tobytes(), request_id="made-here")
    assert rows_of(decoded(request)) == ROWS
    words = ServedAs("words", signature=Signature((Field("word", "string"),)))
    assert decoded(Request("POST", "", {HEADER: "0"}, "größer".encode()), words).table.column(0).tolist() == ["größer"]


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        (PENGUINS, b"\0" * 8, "a body of raw bytes needs a model with one input of known width; this one has island, bill_length, year"),
        (ServedAs("m"), b"\0" * 8, "a body of raw bytes needs a model with one input of known width"),
        (IRIS, b"\0" * 33, "tensor 'input': a row of FP64 is 32 bytes, the body's 33 are not a number of rows"),
    ],
)
def test_raw_bytes_that_are_no_rows_are_refused(model: ServedAs, body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoded(Request("POST", "", {HEADER: "0"}, body), model)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("parameters", "tensor_parameters"),
    [({"content_type": "np"}, {}), ({}, {"content_type": "np"}), ({}, {"content_type": "str"}), ({"content_type": 5}, {})],
)
def test_content_type_np_is_one_tensor_of_all_features(parameters: Any, tensor_parameters: Any) -> None:
    document = {"parameters": parameters, "inputs": [INPUT | {"name": "sepal_length", "parameters": tensor_parameters}]}
    assert rows_of(decoded(post(document))) == ROWS


def test_content_type_pd_is_one_tensor_a_feature() -> None:
    inputs = [{"name": f.name, "shape": [1], "datatype": "FP64", "data": [5]} for f in IRIS.signature.inputs]
    assert rows_of(decoded(post({"parameters": {"content_type": "pd"}, "inputs": inputs}))) == [[5, 5, 5, 5]]
    with pytest.raises(BadRequest, match="tensor 'input-0' is not one of the model's inputs"):
        decoded(post({"parameters": {"content_type": "pd"}, "inputs": [INPUT]}))
    with pytest.raises(BadRequest, match="tensor 'input-0' is not one of the model's inputs"):
        decoded(post({"inputs": [INPUT | {"parameters": {"content_type": "pd"}}]}))


def test_outputs_are_asked_for_by_name() -> None:
    call = decoded(post({"inputs": [INPUT], "outputs": [{"name": "predict_proba"}, {"name": "predict"}]}))
    assert call.outputs == ("predict_proba", "predict")


def test_parameters_are_arguments_of_a_python_model_and_of_no_other() -> None:
    parameters = {"threshold": 0.5, "content_type": "np", "priority": 1, "triton_enable_empty_final_response": True}
    document = {"inputs": [INPUT], "parameters": parameters}
    python = msgspec.structs.replace(IRIS, name="own", format="python")
    assert decoded(post(document), python).arguments == {"threshold": 0.5}
    assert decoded(post(document)).arguments == {}


BYTES_INPUT = {"name": "x", "shape": [1, 4], "datatype": "FP64", "parameters": {"binary_data_size": 32}}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (post(b""), "the body is empty"),
        (post(b"{"), "not valid JSON"),
        (post(b"[" * 100_000), "not valid JSON"),
        (post([]), "the body is not an inference request: Expected `object`, got `array`"),
        (post({}), "missing required field `inputs`"),
        (post({"inputs": []}), "'inputs' is empty"),
        (post({"inputs": [{"name": "x"}]}), "`$.inputs[0]`"),
        (post({"inputs": [INPUT | {"shape": [2.5, 4]}]}), "`$.inputs[0].shape[0]`"),
        (post({"inputs": [INPUT | {"shape": "24"}]}), "`$.inputs[0].shape`"),
        (post({"inputs": [INPUT | {"name": 5}]}), "`$.inputs[0].name`"),
        (post({"inputs": [INPUT], "id": 5}), "`$.id`"),
        (post({"inputs": [INPUT], "outputs": [{}]}), "`$.outputs[0]`"),
        (post({"inputs": [INPUT | {"shape": [-2, -4]}]}), "tensor 'input-0': a dimension must be between 0 and"),
        (post({"inputs": [INPUT | {"shape": [2**62, 2**62]}]}), "tensor 'input-0': a dimension must be between 0 and"),
        (post({"inputs": [INPUT | {"shape": [2, 3]}]}), "tensor 'input-0': shape [2, 3] has lists of 3, 'data' has one of 4"),
        (post({"inputs": [INPUT | {"datatype": "FLOAT"}]}), "tensor 'input-0': datatype \"FLOAT\" is not one of BOOL"),
        (post({"inputs": [INPUT, INPUT]}), "tensor 'input-0' is there twice"),
        (post({"inputs": [{k: v for k, v in INPUT.items() if k != "data"}]}), "tensor 'input-0' has neither 'data' nor"),
        (post({"inputs": [INPUT], "outputs": [{"name": "predict"}, {"name": "predict"}]}), "output 'predict' is asked for twice"),
        (post({"inputs": [INPUT], "parameters": {"binary_data_output": "yes"}}), "the request: parameter binary_data_output must be"),
        (post({"inputs": [INPUT], "outputs": [{"name": "predict", "parameters": {"binary_data": 1}}]}), "output 'predict': parameter"),
        (post({"inputs": [BYTES_INPUT]}), "tensor 'x': binary_data_size is 32, the body has 0 bytes left for it"),
        (post({"inputs": [BYTES_INPUT]}, b"\0" * 31), "tensor 'x': binary_data_size is 32, the body has 31 bytes left for it"),
        (post({"inputs": [BYTES_INPUT]}, b"\0" * 33), "the body has 1 bytes more than"),
        (post({"inputs": [INPUT]}, b"\0"), "the body has 1 bytes more than"),
        (post({"inputs": [BYTES_INPUT | {"data": [1]}]}, b"\0" * 32), "tensor 'x' has both 'data' and binary_data_size"),
        (post({"inputs": [BYTES_INPUT | {"parameters": {"binary_data_size": -1}}]}, b""), "tensor 'x': binary_data_size must be"),
        (post({"inputs": [BYTES_INPUT | {"parameters": {"binary_data_size": "32"}}]}, b""), "tensor 'x': binary_data_size must be"),
        (post({"inputs": [BYTES_INPUT | {"parameters": {"binary_data_size": True}}]}, b""), "tensor 'x': binary_data_size must be"),
        (post({"inputs": [BYTES_INPUT | {"shape": [1, 3]}]}, b"\0" * 32), "tensor 'x': shape [1, 3] of FP64 is 24 bytes, got 32"),
        (post({"inputs": [INPUT]}, headers={HEADER: "999"}), "the header Inference-Header-Content-Length says 999 bytes, the body has"),
        (post({"inputs": [INPUT]}, headers={HEADER: "-1"}), "must be a number of bytes, got '-1'"),
        (post({"inputs": [INPUT]}, headers={HEADER: "٣"}), "must be a number of bytes"),
        (post({"inputs": [INPUT]}, headers={HEADER: "9" * 5000}), "must be a number of bytes"),
        (post({"inputs": [INPUT]}, headers={HEADER: "5"}), "not valid JSON"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(request_: Request, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoded(request_)
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input", "year", "island", "bill_length"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "datatype": st.sampled_from(["FP64", "INT64", "BYTES", "BOOL", "BF16"]) | JSON,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40)}) | JSON,
        "data": JSON,
    },
)
DOCUMENT = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3) | JSON},
    optional={"id": JSON, "parameters": JSON, "outputs": st.lists(st.fixed_dictionaries({"name": st.text(max_size=3)}), max_size=2) | JSON},
)


@given(DOCUMENT | JSON, st.binary(max_size=48), st.sampled_from(["right", "none", "0", "3", "60", "x"]), st.sampled_from([IRIS, PENGUINS]))
def test_any_body_becomes_rows_or_a_bad_request(document: Any, content: bytes, length: str, model: ServedAs) -> None:
    request = post(document, content) if length == "right" else post(document, headers={} if length == "none" else {HEADER: length})
    with contextlib.suppress(BadRequest):
        Checker(model.signature)(decoded(request, model).table)


# --- replies -----------------------------------------------------------------------------------------------------


def test_a_reply_names_model_version_and_id_and_has_flat_values() -> None:
    wanted = [{"name": "predict"}, {"name": "predict_proba"}]
    outputs = {"predict": [0, 2], "predict_proba": [[0.75, 0.25, 0], [0, np.nan, 1]]}
    reply = replied({"id": "mine", "inputs": [INPUT], "outputs": wanted}, outputs)
    assert (reply.status, reply.media_type, reply.headers) == (200, "application/json", ())
    assert json.loads(reply.body) == {
        "model_name": "iris",
        "model_version": "0123456789ab",
        "id": "mine",
        "outputs": [
            {"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 2]},
            {"name": "predict_proba", "shape": [2, 3], "datatype": "FP64", "data": [0.75, 0.25, 0.0, 0.0, None, 1.0]},
        ],
    }


def test_a_reply_without_an_id_gets_the_requests_own() -> None:
    assert json.loads(replied({"inputs": [INPUT]}, {"predict": [0, 1]}).body)["id"] == "made-here"


@pytest.mark.parametrize(
    ("everywhere", "here", "binary"),
    [(None, None, False), (True, None, True), (None, True, True), (True, False, False), (False, True, True), (False, None, False)],
)
def test_an_output_comes_as_bytes_where_asked(everywhere: bool | None, here: bool | None, binary: bool) -> None:
    output = {"name": "predict", "parameters": {} if here is None else {"binary_data": here}}
    parameters = {} if everywhere is None else {"binary_data_output": everywhere}
    reply = replied({"inputs": [INPUT], "parameters": parameters, "outputs": [output]}, {"predict": [7, 8]})
    lengths = dict(reply.headers)
    head = json.loads(reply.body[: int(lengths[HEADER])] if binary else reply.body)
    assert ("data" in head["outputs"][0]) is not binary
    if binary:
        assert reply.media_type == "application/octet-stream"
        assert head["outputs"][0]["parameters"] == {"binary_data_size": 16}
        assert np.frombuffer(reply.body[int(lengths[HEADER]) :], "<i8").tolist() == [7, 8]


def test_outputs_as_bytes_follow_each_other_in_order() -> None:
    wanted = [{"name": "predict"}, {"name": "labels", "parameters": {"binary_data": False}}, {"name": "names"}]
    outputs = {"predict": [1.5], "labels": [3], "names": np.array(["ab"], dtype=object)}
    reply = replied({"inputs": [INPUT], "parameters": {"binary_data_output": True}, "outputs": wanted}, outputs)
    content = reply.body[int(dict(reply.headers)[HEADER]) :]
    assert content == np.array([1.5]).tobytes() + b"\x02\0\0\0ab"


def test_a_request_of_raw_bytes_gets_bytes() -> None:
    predict = predicting("/v2/models/iris/infer")
    request = Request("POST", "", {HEADER: "0"}, np.array(ROWS).tobytes(), request_id="r")
    reply = predict.encode(request, predict.decode(request), Prediction({"predict": np.array([1, 2])}, 2))
    assert reply.body.endswith(np.array([1, 2], "<i8").tobytes())


# --- metadata, health, repository --------------------------------------------------------------------------------


def test_the_server_and_its_models_describe_themselves() -> None:
    status, about = answered("/v2")
    assert (status, about["name"], about["extensions"]) == (200, "dragoman", ["binary_tensor_data", "model_repository"])
    metadata = {
        "name": "iris",
        "versions": ["0123456789ab"],
        "platform": "sklearn",
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
        ],
    }
    assert answered("/v2/models/iris") == answered("/v2/models/iris/versions/0123456789ab") == (200, metadata)
    with pytest.raises(NotReady, match="model 'slow' is not ready: Loading"):
        answered("/v2/models/slow", LOADING)


def test_health_follows_the_models() -> None:
    assert answered("/v2/health/live", LOADING) == (200, {"live": True})
    assert answered("/v2/health/ready", IRIS) == (200, {"ready": True})
    assert answered("/v2/health/ready", IRIS, FAILED) == (200, {"ready": True})
    assert answered("/v2/health/ready", IRIS, LOADING) == (503, {"ready": False})
    assert answered("/v2/health/ready", FAILED) == (503, {"ready": False})
    assert answered("/v2/models/iris/versions/0123456789ab/ready") == (200, {"name": "iris", "ready": True})
    assert answered("/v2/models/slow/ready", LOADING) == (503, {"name": "slow", "ready": False})


def test_the_repository_is_listed() -> None:
    ready = {"name": "iris", "version": "0123456789ab", "state": "READY", "reason": ""}
    loading = {"name": "slow", "state": "LOADING", "reason": ""}
    failed = {"name": "bad", "state": "UNAVAILABLE", "reason": "ModelLoadFailed: no"}
    models = (IRIS, LOADING, FAILED)
    assert answered("/v2/repository/index", *models, method="POST") == (200, [ready, loading, failed])
    assert answered("/v2/repository/index", *models, method="POST", body=b'{"ready": true}') == (200, [ready])
    for body in (b'{"ready": 1}', b"[]", b"{"):
        with pytest.raises(BadRequest):
            answered("/v2/repository/index", method="POST", body=body)


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_loading_and_unloading_are_orders_of_an_administrator(verb: str) -> None:
    path = f"/v2/repository/models/iris/{verb}"
    answer = next(a for a in surface().answers if (a.path, a.method) == (path, "POST"))
    assert answer.order == verb
    assert answer.admin
    assert answer.model is IRIS
    assert answer.reply(Request("POST", path, {}, b"")).body == b""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v2/models/wine/infer", "model 'wine' is not served here; it serves iris"),
        ("/v2/models/wine", "model 'wine' is not served here"),
        ("/v2/repository/models/wine/load", "model 'wine' is not served here"),
        ("/v2/models/iris/versions/7/infer", "model 'iris' has version '0123456789ab', not '7'"),
        ("/v2/models/iris/versions/7", "model 'iris' has version '0123456789ab', not '7'"),
        ("/v2/models/iris/generate", "nothing is served at /v2/models/iris/generate; v2 has /v2, "),
        ("/v2/", "nothing is served at /v2/; v2 has /v2, "),
    ],
)
def test_a_path_that_is_not_there_says_what_is(path: str, message: str) -> None:
    request = Request("GET", path, {}, b"")
    error: CallError = surface().not_found(request)
    assert error.status == 404
    assert error.message.startswith(message)
    assert json.loads(V2().error(error, request).body) == {"error": error.message}


@pytest.mark.parametrize("model", [IRIS, PENGUINS, ServedAs("plain", signature=Signature((Field("f0"), Field("f1")), named=False))])
def test_the_curl_example_predicts(model: ServedAs) -> None:
    words = shlex.split(V2().example(model, msgspec.Struct(), "http://127.0.0.1:8080"))
    assert words[2] == f"http://127.0.0.1:8080/v2/models/{model.name}/infer"
    assert Checker(model.signature)(decoded(post(words[-1].encode()), model).table).rows == 1
