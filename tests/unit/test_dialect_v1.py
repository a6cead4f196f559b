"""v1 as a codec: what its requests become, and what its replies look like."""

from __future__ import annotations

import contextlib
import json
import shlex
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import Call, Prediction
from dragoman.check import Checker
from dragoman.dialects.dialect import Predict, Request, Surface
from dragoman.dialects.v1 import V1
from dragoman.errors import BadRequest
from dragoman.signature import Field, Output, Signature
from dragoman.table import Table


def surface(*models: ServedAs) -> Surface:
    return V1().surface([(model, msgspec.Struct()) for model in models or (IRIS,)])


def predicting(path: str, *models: ServedAs) -> Predict:
    return next(p for p in surface(*models).predicts if p.path == path)


def post(body: bytes | Any, path: str = "/v1/models/iris:predict") -> Request:
    return Request("POST", path, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def decoded(body: bytes | Any, model: ServedAs = IRIS) -> Call:
    return predicting(f"/v1/models/{model.name}:predict", model).decode(post(body))


def encoded(outputs: dict[str, Any], path: str = "/v1/models/iris:predict") -> Any:
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    prediction = Prediction(arrays, len(next(iter(arrays.values()))))
    reply = predicting(path).encode(post(b"", path), Call(None), prediction)  # type: ignore[arg-type]
    assert (reply.status, reply.media_type) == (200, "application/json")
    return json.loads(reply.body)


def answered(path: str, *models: ServedAs) -> tuple[int, Any]:
    answer = next(a for a in surface(*models).answers if a.path == path)
    reply = answer.reply(Request("GET", path, {}, b""))
    return reply.status, json.loads(reply.body)


ROW = [5.1, 3.5, 1.4, 0.2]
NAMED = dict(zip(IRIS.signature.example_row(), ROW, strict=True))


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [ROW, ROW]},
        {"instances": [NAMED, NAMED]},
        {"instances": [dict(reversed(NAMED.items())), NAMED]},
        {"inputs": [ROW, ROW]},
        {"inputs": [NAMED, NAMED]},
        {"inputs": {name: [value, value] for name, value in NAMED.items()}},
        {"inputs": {name: [[value], [value]] for name, value in reversed(NAMED.items())}},
        {"instances": [ROW, ROW], "signature_name": "serving_default"},
        {"instances": [ROW, ROW], "signature_name": None, "unknown": 1},
    ],
    ids=["lists", "objects", "any order", "inputs lists", "inputs objects", "columns", "columns of lists", "signature_name", "other keys"],
)
def test_rows_come_in_every_form_that_clients_send(body: Any) -> None:
    checked = Checker(IRIS.signature)(decoded(body).table)
    assert checked.to_numpy().tolist() == [ROW, ROW]


def test_scalars_are_rows_of_one_feature() -> None:
    table = decoded({"instances": [1.5, 2]}).table
    assert table.to_numpy().tolist() == [[1.5], [2.0]]


def test_strings_numbers_and_nulls_mix() -> None:
    rows = [{"island": "Dream", "bill_length": 40.1, "year": 2007}, {"island": "Biscoe", "bill_length": None, "year": 2009}]
    frame = Checker(PENGUINS.signature)(decoded({"instances": rows}, PENGUINS).table).to_frame()
    assert frame["island"].tolist() == ["Dream", "Biscoe"]
    assert frame["bill_length"].isna().tolist() == [False, True]


def test_predict_asks_for_predict_and_explain_for_both() -> None:
    assert decoded({"instances": [ROW]}).outputs == ("predict",)
    assert predicting("/v1/models/iris:explain").decode(post({"instances": [ROW]})).outputs == ("predict", "explain")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"{", "not valid JSON"),
        (b'{"instances": [[NaN]]}', "not valid JSON"),
        (b'{"instances": [["\xff"]]}', "not valid JSON"),
        (b'{"instances": ' + b"[" * 100_000, "not valid JSON"),
        (b'{"instances": [[1e999]]}', "not valid JSON"),
        ([1], "must be an object with 'instances' or 'inputs', got a list"),
        ({}, "neither 'instances'"),
        ({"instances": [ROW], "inputs": [ROW]}, "both 'instances' and 'inputs'"),
        ({"instances": {"a": 1}}, "'instances' must be a list of rows, got an object"),
        ({"instances": None}, "'instances' must be a list of rows, got null"),
        ({"instances": [ROW, ROW[:3]]}, "row 1: has 3 values, row 0 has 4"),
        ({"instances": [ROW, {"a": 1}]}, "row 1: must be a list as row 0 is, got an object"),
        ({"instances": [[[1, 2], 3]]}, "row 0: 0 must be a single value, got a list"),
        ({"inputs": 5}, "'inputs' must be an object of columns or a list of rows, got a number"),
        ({"inputs": {}}, "'inputs' has no column"),
        ({"inputs": {"a": 1}}, "column 'a' must be a list, got a number"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "column 'b' has 2 values, 'a' has 1"),
        ({"inputs": {"a": [[1, 2]]}}, "column 'a', row 0 must be a single value, got a list"),
        ({"instances": [ROW], "signature_name": 5}, "'signature_name' must be a string, got a number"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(body: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoded(body)
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["instances", "inputs", "a", "b"]), inner, max_size=3),
    max_leaves=12,
)


BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps({"instances": value}).encode()),
    JSON.map(lambda value: json.dumps({"inputs": value}).encode()),
)


@given(BODIES, st.sampled_from([IRIS, PENGUINS]))
def test_any_body_becomes_rows_or_a_bad_request(body: bytes, model: ServedAs) -> None:
    with contextlib.suppress(BadRequest):
        Checker(model.signature)(decoded(body, model).table)


@pytest.mark.parametrize(
    ("array", "predictions"),
    [
        (np.array([0, 2]), [0, 2]),
        (np.array(["setosa", "virginica"]), ["setosa", "virginica"]),
        (np.array(["setosa", None], dtype=object), ["setosa", None]),
        (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
        (np.array([0.1], dtype=np.float32), [float(np.float32(0.1))]),
        (np.array([[0.25, 0.75]]), [[0.25, 0.75]]),
        (np.array([[1.0, 2.0], [3.0, 4.0]])[:, ::-1], [[2.0, 1.0], [4.0, 3.0]]),
        (np.array([1, 2], dtype=">i4"), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array([{"score": np.float64(1.5)}, [1, None]], dtype=object), [{"score": 1.5}, [1, None]]),
    ],
    ids=["int", "str", "object", "not finite", "float32 exactly", "two-dimensional", "strided", "big-endian", "bool", "structured"],
)
def test_every_kind_of_answer_has_its_json(array: Any, predictions: Any) -> None:
    assert encoded({"predict": array}) == {"predictions": predictions}


def test_explain_answers_with_both() -> None:
    outputs = {"predict": [0, 1], "explain": [[0.5, 0.1], [0.0, 0.2]]}
    reply = encoded(outputs, "/v1/models/iris:explain")
    assert reply == {"predictions": [0, 1], "explanations": [[0.5, 0.1], [0.0, 0.2]]}


def test_explanations_that_the_runtime_makes_are_named_by_input() -> None:
    explain = Output("explain", width=4, dtype="float64", how="exact (linear) against zero")
    signature = msgspec.structs.replace(IRIS.signature, outputs=(*IRIS.signature.outputs, explain))
    model = msgspec.structs.replace(IRIS, signature=signature)
    explained = predicting("/v1/models/iris:explain", model).encode(
        post(b""), Call(Table.of_rows([ROW])), Prediction({"predict": np.array([1]), "explain": np.array([[0.5, -1, 0, np.nan]])}, 1)
    )
    assert json.loads(explained.body) == {
        "predictions": [1],
        "explanations": [{"sepal_length": 0.5, "sepal_width": -1.0, "petal_length": 0.0, "petal_width": None}],
    }
    items = surface(model).openapi["/v1/models/iris:explain"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert items["properties"]["explanations"]["description"].endswith("exact (linear) against zero")


def test_models_are_listed_and_say_whether_they_are_ready() -> None:
    loading = msgspec.structs.replace(IRIS, name="slow", state="Loading")
    assert answered("/v1/models", IRIS, loading) == (200, {"models": ["iris", "slow"]})
    assert answered("/v1/models/iris", IRIS, loading) == (200, {"name": "iris", "ready": True})
    assert answered("/v1/models/slow", IRIS, loading) == (503, {"name": "slow", "ready": False})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/models/wine:predict", "model 'wine' is not served here; it serves iris"),
        ("/v1/models/iris:fit", "model 'iris' has :predict and :explain, not ':fit'"),
        ("/v1/other", "nothing is served at /v1/other; v1 has /v1/models"),
    ],
)
def test_a_path_that_is_not_there_says_what_is(path: str, message: str) -> None:
    error = surface().not_found(Request("GET", path, {}, b""))
    assert error.status == 404
    assert error.message.startswith(message)
    reply = V1().error(error, Request("GET", path, {}, b""))
    assert (reply.status, json.loads(reply.body)) == (404, {"error": error.message})


@pytest.mark.parametrize("model", [IRIS, PENGUINS, ServedAs("plain", signature=Signature((Field("f0"), Field("f1")), named=False))])
def test_the_curl_example_predicts(model: ServedAs) -> None:
    words = shlex.split(V1().example(model, msgspec.Struct(), "http://127.0.0.1:8080"))
    assert words[:3] == ["curl", "-s", f"http://127.0.0.1:8080/v1/models/{model.name}:predict"]
    assert Checker(model.signature)(decoded(words[-1].encode(), model).table).rows == 1


def test_a_quote_in_a_name_survives_the_shell() -> None:
    model = ServedAs("m", signature=Signature((Field("it's", "string"),), (Output("predict"),)))
    words = shlex.split(V1().example(model, msgspec.Struct(), "http://127.0.0.1:8080"))
    assert json.loads(words[-1]) == {"instances": [{"it's": "text"}]}


def test_booleans_in_a_list_row_stay_booleans() -> None:
    signature = Signature((Field("member", "boolean"), Field("age", "integer")))
    table = Checker(signature)(decoded({"instances": [[True, 31], [False, 40]]}, ServedAs("m", signature=signature)).table)
    assert table.column(0).tolist() == [True, False]


def test_one_long_string_does_not_cost_its_length_for_every_row() -> None:
    table = decoded({"instances": [["a" * 1_000_000], *[["b"]] * 100_000]}).table
    assert (table.rows, table.column(0)[-1]) == (100_001, "b")
