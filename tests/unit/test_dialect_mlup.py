"""mlup as a codec: what its requests become, what is refused, and what /info says."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import Call, Prediction
from dragoman.check import Checker
from dragoman.dialects.dialect import Line, Reply, Request, Surface
from dragoman.dialects.mlup import Mlup
from dragoman.dialects.mlup.refusals import TransformFailed, Unprocessable
from dragoman.errors import CallError, InvalidSpec
from dragoman.mlup_options import Mlup as Options
from dragoman.signature import Output, Parameter, Signature
from dragoman.table import Table, concat

ROW = [5.1, 3.5, 1.4, 0.2]
NAMES = tuple(field.name for field in IRIS.signature.inputs)
PLAIN = ServedAs("plain", format="python", signature=Signature(outputs=(Output("predict"),)))


def options(**given: Any) -> Options:
    found = msgspec.convert(given, Options)
    assert list(found.problems()) == []
    return found


def surface(model: ServedAs = IRIS, **given: Any) -> Surface:
    return Mlup().surface([(model, options(**given))])


def post(body: Any) -> Request:
    return Request("POST", "/predict", {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def decoded(body: Any, model: ServedAs = IRIS, **given: Any) -> Call:
    (predict,) = surface(model, **given).predicts
    return predict.decode(post(body))


def rows(call: Call) -> list[list[Any]]:
    return [list(row) for row in call.table.to_numpy(object).tolist()]


def refused(body: Any, model: ServedAs = IRIS, **given: Any) -> list[tuple[Any, ...]]:
    """The details of a 422."""
    with pytest.raises(Unprocessable) as caught:
        decoded(body, model, **given)
    return [(tuple(d["loc"]), d["msg"], d["type"]) for d in caught.value.details]


def encoded(outputs: dict[str, Any], columns: dict[str, tuple[str, ...]] | None = None, **given: Any) -> Any:
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    (predict,) = surface(**given).predicts
    reply = predict.encode(post(b""), Call(None), Prediction(arrays, len(next(iter(arrays.values()))), columns))  # type: ignore[arg-type]
    assert (reply.status, reply.media_type) == (200, "application/json")
    uuid.UUID(dict(reply.headers)["x-predict-id"], version=4)
    return json.loads(reply.body)


# --- keys and arguments ------------------------------------------------------------------------------------------


def taking(*parameters: Parameter, format: str = "python") -> ServedAs:
    return ServedAs("m", format=format, signature=Signature(outputs=(Output("predict"),), parameters={"predict": parameters}))


THREE = taking(Parameter("X"), Parameter("check", False, "bool"), Parameter("threshold"), Parameter("note", False))


@pytest.mark.parametrize(
    ("model", "key", "given"),
    [
        (THREE, "X", {}),
        (taking(Parameter("table")), "table", {}),
        (taking(Parameter("table")), "data_for_predict", {"autoDetectPredictParams": False}),
        (PLAIN, "X", {}),
        (ServedAs("o", format="onnx", signature=Signature(outputs=(Output("predict"),))), "input_data", {}),
    ],
)
def test_rows_are_under_the_name_of_the_methods_first_argument(model: ServedAs, key: str, given: dict[str, Any]) -> None:
    assert rows(decoded({key: [[1, 2]], "threshold": 3, "unknown": 4}, model, **given)) == [[1, 2]]
    message, type_ = "field required", "value_error.missing"
    assert ((key,), message, type_) in refused({"other": [[1, 2]], "threshold": 1}, model, **given)


def test_other_arguments_are_the_methods_own_each_of_its_type_and_what_it_does_not_take_is_passed_over() -> None:
    call = decoded({"X": [[1]], "threshold": {"any": "thing"}, "check": "yes", "note": None, "extra": 1}, THREE)
    assert call.arguments == {"threshold": {"any": "thing"}, "check": True, "note": None}
    assert refused({"X": [[1]], "check": "perhaps"}, THREE) == [
        (("check",), "value could not be parsed to a boolean", "type_error.bool"),
        (("threshold",), "field required", "value_error.missing"),
    ]
    assert refused({"X": [[1]], "threshold": 1, "check": None}, THREE) == [
        (("check",), "none is not an allowed value", "type_error.none.not_allowed")
    ]


def test_without_detection_there_are_no_other_arguments() -> None:
    assert decoded({"data_for_predict": [[1]], "threshold": 1}, THREE, autoDetectPredictParams=False).arguments == {}


def test_a_model_that_is_loaded_later_is_asked_in_its_own_words_then() -> None:
    class Later:
        name, version, revision, format, state, reason = "later", "", "", "python", "Loaded", ""
        signature = Signature()

    model: Any = Later()
    (predict,) = Mlup().surface([(model, Options())]).predicts
    assert rows(predict.decode(post({"X": [[1]]}))) == [[1]]
    model.signature = Signature(outputs=(Output("predict"),), parameters={"predict": (Parameter("table"),)})
    assert rows(predict.decode(post({"table": [[1]]}))) == [[1]]


@pytest.mark.parametrize(
    ("body", "starts"),
    [
        (b"", "Invalid json data: "),
        (b'{"X": [', "Invalid json data: "),
        (b'{"X": [[NaN]]}', "Invalid json data: "),
        (b"\xff", "Invalid json data: "),
        (b"[[1, 2]]", "Invalid json data: an object was expected, got a list"),
        (b"null", "Invalid json data: an object was expected, got null"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, starts: str) -> None:
    ((location, message, type_),) = refused(body)
    assert (location, type_) == ((), "validation_error")
    assert message.startswith(starts)


@pytest.mark.parametrize(
    ("value", "message", "type_"),
    [
        (None, "none is not an allowed value", "type_error.none.not_allowed"),
        ({"a": 1}, "value is not a valid list", "type_error.list"),
        ("rows", "value is not a valid list", "type_error.list"),
    ],
)
def test_rows_are_a_list(value: Any, message: str, type_: str) -> None:
    assert refused({"X": value}) == [(("X",), message, type_)]


# --- columns -----------------------------------------------------------------------------------------------------

COLUMNS = [
    {"name": "a", "type": "int"},
    {"name": "b", "type": "float", "required": False},
    {"name": "c", "type": "str", "default": "none"},
    {"name": "d", "type": "bool", "required": False},
]
VALIDATED: dict[str, Any] = {"columns": COLUMNS, "columnValidation": True}


def test_a_valid_row_has_the_columns_in_their_order_with_what_is_absent_filled() -> None:
    call = decoded({"X": [{"d": "on", "a": "7", "c": 1.5, "b": 2, "extra": 0}, {"a": 1.0}]}, PLAIN, **VALIDATED)
    assert rows(call) == [[7, 2.0, "1.5", True], [1, None, "none", None]]


@pytest.mark.parametrize(
    ("row", "place", "shape", "shape_04"),
    [
        ({}, "a", ("field required", "value_error.missing"), ("Field required", "missing")),
        (
            {"a": None},
            "a",
            ("none is not an allowed value", "type_error.none.not_allowed"),
            ("Input should be a valid integer", "int_type"),
        ),
        ({"a": 1.5}, "a", ("value is not a valid integer", "type_error.integer"), ("Input should be a valid integer", "int_type")),
        ({"a": "x"}, "a", ("value is not a valid integer", "type_error.integer"), ("Input should be a valid integer", "int_type")),
        ({"a": 1, "b": "x"}, "b", ("value is not a valid float", "type_error.float"), ("Input should be a valid number", "float_type")),
        (
            {"a": 1, "b": None},
            "b",
            ("none is not an allowed value", "type_error.none.not_allowed"),
            ("Input should be a valid number", "float_type"),
        ),
        ({"a": 1, "c": [1]}, "c", ("str type expected", "type_error.str"), ("Input should be a valid string", "string_type")),
        (
            {"a": 1, "d": 2},
            "d",
            ("value could not be parsed to a boolean", "type_error.bool"),
            ("Input should be a valid boolean", "bool_type"),
        ),
    ],
)
def test_a_wrong_field_is_told_by_its_place(row: Any, place: str, shape: tuple[str, str], shape_04: tuple[str, str]) -> None:
    body = {"X": [{"a": 1}, row]}
    assert refused(body, PLAIN, **VALIDATED) == [(("X", 1, place), *shape)]
    assert refused(body, PLAIN, **VALIDATED, compatibility="0.4") == [(("X", 1, place), *shape_04)]


def test_every_wrong_place_is_told_and_a_row_that_is_no_object_too() -> None:
    assert refused({"X": [[1, 2], {"a": 1}, {}, None]}, PLAIN, **VALIDATED) == [
        (("X", 0), "value is not a valid dict", "type_error.dict"),
        (("X", 2, "a"), "field required", "value_error.missing"),
        (("X", 3), "none is not an allowed value", "type_error.none.not_allowed"),
    ]


def test_text_is_made_of_numbers_but_not_in_0_4() -> None:
    text = {"columns": [{"name": "c", "type": "str"}], "columnValidation": True}
    assert rows(decoded({"X": [{"c": 5}]}, PLAIN, **text)) == [["5"]]
    assert refused({"X": [{"c": 5}]}, PLAIN, **text, compatibility="0.4") == [
        (("X", 0, "c"), "Input should be a valid string", "string_type")
    ]


def test_so_many_details_and_no_more() -> None:
    assert len(refused({"X": [[]] * 5000}, PLAIN, **VALIDATED)) == 1000


# --- transformers ------------------------------------------------------------------------------------------------


def untransformed(body: Any, model: ServedAs = PLAIN, **given: Any) -> str:
    with pytest.raises(TransformFailed) as caught:
        decoded(body, model, **given)
    return caught.value.message


AB = [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]


@pytest.mark.parametrize(
    ("sent", "given", "expected", "names"),
    [
        ([[1, 2], [3, 4]], {}, [[1, 2], [3, 4]], None),
        ([{"b": 1, "a": 2}, {"a": 4, "b": 3, "c": 9}], {}, [[1, 2], [3, 4]], None),
        ([{"b": 1, "a": 2}], {"columns": AB}, [[2, 1]], None),
        ([[1, 2]], {"columns": AB, "dataTransformerForPredict": "pandas"}, [[1, 2]], ("a", "b")),
        ([[1, 2, 3]], {"columns": AB, "dataTransformerForPredict": "pandas"}, [[1, 2]], ("a", "b")),
        ([{"b": 1, "a": 2}], {"columns": AB, "dataTransformerForPredict": "pandas"}, [[1, 2]], ("b", "a")),
        ([{"b": 1, "a": None}], {"dataTransformerForPredict": "pandas"}, [[1, None]], ("b", "a")),
        ([[1, "x"]], {"dataTransformerForPredict": "src"}, [[1, "x"]], None),
        ([{"b": 1}, {"a": 2}], {"dataTransformerForPredict": "src"}, [[1, None], [None, 2]], ("b", "a")),
        (["some text", "more"], {"dataTransformerForPredict": "src"}, [["some text"], ["more"]], None),
        ([[1, [2]], [3]], {"dataTransformerForPredict": "src"}, [[[1, [2]]], [[3]]], None),
    ],
)
def test_rows_are_transformed(sent: Any, given: dict[str, Any], expected: Any, names: Any) -> None:
    call = decoded({"X": sent}, PLAIN, **given)
    assert (rows(call), call.table.names) == (expected, names)
    assert not call.checked


@pytest.mark.parametrize(
    ("sent", "given", "message"),
    [
        ([[1, 2]], {"dataTransformerForPredict": "pandas"}, "If input data have type list, than need set columns."),
        ([[1]], {"columns": AB, "dataTransformerForPredict": "pandas"}, "row 0: has 1 values, columns names 2"),
        ([{"a": 1}, {"b": 1}], {"dataTransformerForPredict": "pandas"}, "row 1: has no 'a'"),
        ([{"a": 1}, {"a": 1, "b": 1}], {"dataTransformerForPredict": "pandas"}, "row 1: alone has 'b'"),
        ([1], {"dataTransformerForPredict": "pandas"}, "row 0: must be a list or an object, got a number"),
        ([{"a": 1}], {"columns": AB}, "row 0: has no 'b'"),
        ([{"a": 1}, [1]], {}, "row 1: must be an object as row 0 is, got a list"),
        ([[1], {"a": 1}], {}, "row 1: must be a list as row 0 is, got an object"),
        ([[1, 2], [1]], {}, "row 1: has 1 values, row 0 has 2"),
        (["text"], {}, "row 0: must be a list or an object, got a string"),
        ([["x"]], {"dtypeForPredict": "float32"}, "the rows cannot be float32: could not convert string to float: 'x'"),
    ],
)
def test_rows_that_cannot_be_transformed_are_told_so(sent: Any, given: dict[str, Any], message: str) -> None:
    assert untransformed({"X": sent}, **given) == message


def test_rows_of_many_dimensions_stay_whole() -> None:
    assert decoded({"X": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}, PLAIN).table.to_numpy().shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("dtype", "transformer", "kind"),
    [("float32", "numpy", "float32"), ("int16", "numpy", "int16"), ("bool_", "numpy", "bool"), ("Float32Dtype", "pandas", "float32")],
)
def test_values_are_of_the_type_that_is_asked_for(dtype: str, transformer: str, kind: str) -> None:
    call = decoded({"X": [[1, 2]]}, PLAIN, columns=AB, dtypeForPredict=dtype, dataTransformerForPredict=transformer)
    assert call.table.column(0).dtype.name == kind


def test_null_stays_null_in_pandas_types() -> None:
    sent = [{"a": 1, "b": None}, {"a": 2, "b": 5}]
    call = decoded({"X": sent}, PLAIN, dtypeForPredict="Int64Dtype", dataTransformerForPredict="pandas")
    assert rows(call) == [[1, None], [2, 5]]


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        ([ROW], {}),
        ([dict(zip(NAMES[::-1], ROW[::-1], strict=True))], {"dataTransformerForPredict": "pandas"}),
        ([dict(zip(NAMES[::-1], ROW[::-1], strict=True))], {"dataTransformerForPredict": "src"}),
    ],
)
def test_the_models_own_columns_carry_its_names_in_its_order(sent: Any, given: dict[str, Any]) -> None:
    call = decoded({"X": sent}, **given)
    assert (call.table.names, rows(call)) == (NAMES, [ROW])


@pytest.mark.parametrize("sent", [ROW, [5, 3, 1, 0], [5.1, None, 1.4, 0.2]])
def test_rows_of_the_models_own_columns_share_a_predict_with_other_dialects(sent: list[Any]) -> None:
    checked = Checker(IRIS.signature)(Table.of_rows([ROW]))
    mine = decoded({"X": [sent]}).table
    assert concat([mine, checked]).to_numpy(object).tolist() == [sent, ROW]
    assert concat([checked, mine]).to_numpy(object).tolist() == [ROW, sent]


def test_no_rows_are_no_error() -> None:
    for transformer in ("numpy", "pandas", "src"):
        assert decoded({"X": []}, dataTransformerForPredict=transformer).table.rows == 0


# --- how it waits ------------------------------------------------------------------------------------------------


def test_each_mode_is_a_line_of_its_own() -> None:
    assert surface().predicts[0].line is None
    assert surface(throttlingMaxRequests=3, throttlingMaxRequestLen=9).predicts[0].line == Line(max_requests=3, max_rows=9)
    assert surface(mode="worker_and_queue", maxQueueSize=7).predicts[0].line == Line(queue=7, wait_seconds=30.0)
    gathering = surface(mode="batching", minBatchLen=5, batchWorkerTimeout=0.5, ttlClientWait=3).predicts[0].line
    assert gathering == Line(queue=100, gather_rows=5, gather_seconds=0.5, wait_seconds=3.0)


def test_only_calls_of_a_window_mix_with_others() -> None:
    modes = ("directly_to_predict", "worker_and_queue", "batching")
    assert [decoded({"X": [ROW]}, mode=mode).mixes for mode in modes] == [False, False, True]


def test_a_long_predict_is_kept_under_the_id_that_its_client_is_told() -> None:
    shown = surface(isLongPredict=True, ttlPredictedData=5, ttlClientWait=2)
    (predict,), (kept,) = shown.predicts, shown.kept
    request = post({"X": [ROW]})
    assert predict.line is not None
    assert predict.line.deferred is not None
    reply = predict.line.deferred.accepted(request)
    identity = dict(reply.headers)["x-predict-id"]
    assert json.loads(reply.body) == {"predict_id": identity, "predict_result": {"predict_id": identity}}
    assert list(json.loads(reply.body)) == ["predict_id", "predict_result"]
    asked = Request("GET", f"/get-predict/{identity}", {}, b"")
    assert kept.key(asked) == predict.line.deferred.key(request)
    assert (kept.wait_seconds, predict.line.deferred.keep_seconds) == (2.0, 5)
    for unknown in ("", "x", "../../etc/passwd", identity + "/", identity.upper() + "0"):
        assert kept.key(Request("GET", f"/get-predict/{unknown}", {}, b"")) is None


# --- replies -----------------------------------------------------------------------------------------------------


def test_results_are_written() -> None:
    assert encoded({"predict": [0, 2]}) == {"predict_result": [0, 2]}
    assert encoded({"predict": [[0.5, float("nan")]]}) == {"predict_result": [[0.5, None]]}
    assert encoded({"predict_proba": [[0.1, 0.9]]}, predictMethodName="predict_proba") == {"predict_result": [[0.1, 0.9]]}
    pandas: dict[str, Any] = {"dataTransformerForPredicted": "pandas"}
    assert encoded({"predict": [[1, 2]]}, {"predict": ("a", "b")}, **pandas) == {"predict_result": [{"a": 1, "b": 2}]}
    assert encoded({"predict": [3]}, **pandas) == {"predict_result": [{"0": 3}]}
    assert encoded({"predict": [3]}, isLongPredict=True) == {"predict_result": [3]}
    assert encoded({"predict": [3]}, isLongPredict=True, compatibility="0.4") == [3]


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_whatever_json_comes_it_is_rows_or_a_refusal_of_this_api(document: Any) -> None:
    for transformer in ("numpy", "pandas", "src"):
        try:
            call = decoded({"X": document}, PLAIN, dataTransformerForPredict=transformer)
            assert call.table.rows == len(document)
        except (Unprocessable, TransformFailed) as error:
            reply = Mlup().error(error, post(b""))
            assert list(json.loads(reply.body)) == ["detail", "predict_id"]


def test_the_example_is_a_request_that_is_taken() -> None:
    for model in (IRIS, PENGUINS, PLAIN):
        for one in ({}, VALIDATED | {"dataTransformerForPredict": "pandas"}):
            command = Mlup().example(model, options(**one), "http://h")
            body = json.loads(command.split(" -d ", 1)[1].strip("'"))
            assert decoded(body, model, **one).table.rows == 1


def test_a_method_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="predictMethodName: model 'iris' has no 'recommend'; it has predict, predict_proba"):
        surface(predictMethodName="recommend")


def test_docs_off_is_not_found_and_leaves_the_openapi_document() -> None:
    shown = surface(showDocs=False)
    (docs,) = (answer for answer in shown.answers if answer.path == "/docs")
    with pytest.raises(CallError) as caught:
        docs.reply(Request("GET", "/docs", {}, b""))
    assert Mlup().error(caught.value, Request("GET", "/docs", {}, b"")) == Reply(404, b'{"detail":"Not Found"}')
    assert shown.openapi == {}
    assert set(surface(isLongPredict=True).openapi) == {"/health", "/info", "/predict", "/get-predict/{predict_id}"}


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"throttlingMaxRequests": 0}, "throttlingMaxRequests: The param throttling_max_requests must be greater than 0. Now it is 0."),
        (
            {"throttlingMaxRequestLen": -1},
            "throttlingMaxRequestLen: The param throttling_max_request_len must be greater than 0. Now it is -1.",
        ),
        ({"maxQueueSize": 0}, "maxQueueSize: The param max_queue_size must be greater than 0. Now it is 0."),
        ({"ttlPredictedData": 0}, "ttlPredictedData: The param ttl_predicted_data must be greater than 0. Now it is 0."),
        ({"ttlClientWait": 0}, "ttlClientWait: The param ttl_client_wait must be greater than 0. Now it is 0."),
        ({"minBatchLen": 0}, "minBatchLen: The param min_batch_len must be greater than 0. Now it is 0."),
        ({"batchWorkerTimeout": -0.5}, "batchWorkerTimeout: The param batch_worker_timeout must be greater than 0. Now it is -0.5."),
        ({"columnValidation": True}, "columnValidation: rows are held against columns, and there are none; name them, or"),
        ({"columns": [AB[0], AB[0]]}, "columns[1].name: each name once, and 'a' is there twice"),
        ({"dtypeForPredict": "Int8Dtype"}, "dtypeForPredict: Int8Dtype is pandas's; set dataTransformerForPredict: pandas"),
        ({"dtypeForPredict": "int8", "dataTransformerForPredict": "src"}, "dtypeForPredict: int8 is numpy's; set"),
        ({"memcached": {"servers": []}}, "memcached.servers: must be 1 to 16 addresses"),
        ({"memcached": {"servers": ["a b"]}}, "memcached.servers[0]: must be host:port"),
        ({"ttlPredictedData": 10**7}, "ttlPredictedData: must be at most 2592000 (30 days)"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], problem: str) -> None:
    (found,) = msgspec.convert(given, Options).problems()
    assert found.startswith(problem)


def test_several_replicas_need_a_store_that_they_share() -> None:
    sentence = "isLongPredict: `is_long_predict` needs `scale.replicas: 1` or a shared result store (memcached)"
    assert list(options(isLongPredict=True).replica_problems()) == [sentence]
    assert list(options(isLongPredict=True, memcached={"servers": ["m"]}).replica_problems()) == []
    assert list(options().replica_problems()) == []
