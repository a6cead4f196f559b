"""The porter dialect on a model of any format: what its options make of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman import manifest
from dragoman.call import Call, Prediction
from dragoman.dialect_options import Porter as Options
from dragoman.dialect_options import PorterApp
from dragoman.dialects.dialect import Reply, Request, Surface
from dragoman.dialects.porter import Porter
from dragoman.errors import (
    BadRequest,
    CallError,
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    InvalidSpec,
    MethodNotAllowed,
    ModelFailed,
    NotFound,
    NotReady,
    Overloaded,
    RequestTimeout,
    TooLarge,
)
from dragoman.signature import Field, Signature
from dragoman.table import MISSING

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
NOTHING_KNOWN = ServedAs("unknown")


def surface(model: ServedAs = IRIS, **options: Any) -> Surface:
    return Porter().surface([(model, Options(**options))])


def asked(document: Any, path: str = "/iris/v1/prediction") -> Request:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Request("POST", path, {}, body)


def answered(shown: Surface, document: Any, *values: Any) -> Any:
    predict, request = shown.predicts[0], asked(document)
    call = predict.decode(request)
    return json.loads(predict.encode(request, call, Prediction({"predict": np.array(values)}, len(values))).body)


def refused(shown: Surface, document: Any, error: CallError | None = None) -> tuple[int, Any]:
    """What an error looks like: of the request itself, where none is given."""
    predict, request = shown.predicts[0], asked(document)
    if error is None:
        with pytest.raises(CallError) as raised:
            predict.decode(request)
        error = raised.value
    assert predict.error is not None
    reply = predict.error(error, request)
    return reply.status, json.loads(reply.body)


def get(shown: Surface, path: str) -> Reply:
    answer = next(answer for answer in shown.answers if answer.path == path)
    return answer.reply(Request("GET", path, {}, b""))


def paths(shown: Surface) -> set[str]:
    return {predict.path for predict in shown.predicts}


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, "/iris/v1/prediction"),
        ({"name": "flowers", "api_version": "v2", "action": "predict"}, "/flowers/v2/predict"),
        ({"namespace": "n/s/"}, "/n/s/iris/v1/prediction"),
        ({"namespace": "/n"}, "/n/iris/v1/prediction"),
    ],
)
def test_the_path_is_made_of_the_options(options: dict[str, Any], path: str) -> None:
    assert paths(surface(**options)) == {path, f"{path}/"}


def test_rows_become_the_models_columns_in_its_order() -> None:
    row = dict(reversed(ROW.items())) | {"id": 7, "more": "x"}
    call = surface().predicts[0].decode(asked([row, row]))
    assert call.checked
    assert call.table.to_numpy().tolist() == [[5.1, 3.5, 1.4, 0.2]] * 2


def test_a_column_that_is_missing_is_left_to_the_signature() -> None:
    call = surface().predicts[0].decode(asked([{"id": 1, "sepal_length": 1}]))
    assert call.table.column(1)[0] is MISSING
    assert call.checked


def test_every_column_as_sent_where_none_is_inferred_or_nothing_is_known() -> None:
    for shown in (surface(infer_feature_columns=False), surface(NOTHING_KNOWN)):
        call = shown.predicts[0].decode(asked([{"z": 1, "id": 2}]))
        assert (call.table.names, call.checked) == (("z", "id"), False)


def test_a_reply_has_ids_and_context() -> None:
    body = answered(surface(meta={"trained": 1}), [{"id": 7, **ROW}, {"id": None, **ROW}], 1, 2)
    assert body.pop("request_id")
    assert body == {
        "model_context": {"model_name": "iris", "api_version": "v1", "model_meta": {"trained": 1}},
        "predictions": [{"id": 7, "prediction": 1}, {"id": None, "prediction": 2}],
    }


def test_one_row_a_request() -> None:
    shown = surface(batch_prediction=False)
    assert answered(shown, {"id": 7, **ROW}, 1)["predictions"] == {"id": 7, "prediction": 1}
    assert refused(shown, [{"id": 7}])[1]["error"]["messages"] == ["Schema validation failed: data must be object"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"sepal_length": -1}, "data[0].sepal_length must be bigger than or equal to 0"),
        ({"petal_width": "x"}, "data[0].petal_width must be number"),
        ({"id": "x"}, "data[0].id must be integer"),
    ],
)
def test_rows_are_held_against_the_signature_in_the_schemas_words(row: dict[str, Any], text: str) -> None:
    document = [{"id": 1, **ROW} | row]
    assert refused(surface(validate_request_data=True), document)[1]["error"]["messages"] == [f"Schema validation failed: {text}"]
    assert surface().predicts[0].decode(asked(document)).checked


def test_a_signatures_choices_and_nulls_are_in_the_schema() -> None:
    shown = surface(PENGUINS, validate_request_data=True)
    row = {"id": 1, "island": "Dream", "bill_length": None, "year": 2007}
    shown.predicts[0].decode(asked([row]))
    text = "Schema validation failed: data[0].island must be one of ['Biscoe', 'Dream', 'Torgersen']"
    assert refused(shown, [row | {"island": "Elba"}])[1]["error"]["messages"] == [text]
    assert refused(shown, [row | {"year": 2007.5}])[1]["error"]["messages"] == ["Schema validation failed: data[0].year must be integer"]


def test_a_declared_schema_goes_before_the_signature() -> None:
    properties = {name: {"type": "number", "maximum": 9} for name in reversed(ROW)}
    shown = surface(feature_schema={"properties": properties}, validate_request_data=True)
    assert shown.predicts[0].decode(asked([{"id": 1, **ROW}])).table.to_numpy().tolist() == [[5.1, 3.5, 1.4, 0.2]]
    message = "Schema validation failed: data[0].sepal_length must be smaller than or equal to 9"
    assert refused(shown, [{"id": 1, **ROW, "sepal_length": 10}])[1]["error"]["messages"] == [message]


def test_a_schema_for_a_model_that_knows_its_inputs_by_position() -> None:
    by_position = ServedAs("p", signature=Signature(inputs=(Field("f0"), Field("f1")), named=False))
    shown = surface(by_position, feature_schema={"properties": {"b": {"type": "number"}, "a": {"type": "number"}}})
    assert shown.predicts[0].decode(asked([{"id": 1, "a": 1, "b": 2}])).table.to_numpy().tolist() == [[2, 1]]


def test_a_schema_that_is_not_the_models_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"featureSchema: its properties are a, and model 'iris' takes sepal_length"):
        surface(feature_schema={"properties": {"a": {"type": "number"}}})


def test_a_reply_that_is_not_as_declared() -> None:
    shown = surface(prediction_schema={"type": "number", "minimum": 100}, validate_response_data=True)
    assert answered(shown, [{"id": 1, **ROW}], 100)["predictions"] == [{"id": 1, "prediction": 100}]
    with pytest.raises(CallError) as raised:
        answered(shown, [{"id": 1, **ROW}], 1)
    status, body = refused(shown, [], raised.value)
    text = "Schema validation failed: data.predictions[0].prediction must be bigger than or equal to 100"
    assert (status, body["error"]) == (500, {"name": "ValueError", "messages": [text]})


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (BadRequest("x"), 400, "BadRequest"),
        (InvalidInput("row 0: 'a' is missing"), 422, "UnprocessableEntity"),
        (Forbidden("x"), 403, "Forbidden"),
        (NotFound("x"), 404, "NotFound"),
        (MethodNotAllowed("x", ("GET",)), 405, "MethodNotAllowed"),
        (RequestTimeout("x"), 408, "RequestTimeout"),
        (TooLarge("x"), 413, "RequestEntityTooLarge"),
        (Overloaded("x"), 429, "TooManyRequests"),
        (ModelFailed("inside"), 500, "InternalServerError"),
        (NotReady("x"), 503, "ServiceUnavailable"),
        (DeadlineExceeded("x"), 504, "GatewayTimeout"),
    ],
)
def test_every_error_has_a_name(error: CallError, status: int, name: str) -> None:
    found, body = refused(surface(), [], error)
    assert (found, body["error"]["name"]) == (status, name)
    assert body["model_context"]["model_name"] == "iris"
    assert "inside" not in str(body)
    assert Porter().error(error, asked([])).headers == error.headers


def test_switches_of_errors() -> None:
    failed = ModelFailed("the model failed")
    failed.__cause__ = KeyError("inside")
    shown = surface(return_traceback_on_error=True, return_user_data_on_error=True)
    found = refused(shown, [{"id": 1}], failed)[1]["error"]
    assert "KeyError: 'inside'" in found["traceback"]
    assert found["user_data"] == [{"id": 1}]
    assert refused(shown, b"{")[1]["error"]["user_data"] is None
    bare = surface(return_message_on_error=False, return_request_id=False)
    assert refused(bare, b"{")[1] == {
        "error": {"name": "BadRequest"},
        "model_context": {"model_name": "iris", "api_version": "v1", "model_meta": {}},
    }
    assert bare.error is not None
    assert json.loads(bare.error(NotFound("x"), asked([])).body) == {"error": {"name": "NotFound"}}
    assert "request_id" not in answered(bare, [{"id": 1, **ROW}], 1)
    assert "request_id" not in json.loads(get(bare, "/-/alive").body)


def test_the_root_and_the_docs() -> None:
    hint = get(surface(), "/")
    assert (hint.status, hint.media_type) == (200, "text/plain; charset=utf-8")
    shown = surface(
        expose_docs=True, docs_prefix="/models", docs_url="/help/", app=PorterApp(name="Flowers", version="2", meta={"team": "x"})
    )
    assert get(shown, "/").headers == (("location", "/models/help/"),)
    assert b"/models/assets/swagger-ui/swagger-ui.css" in get(shown, "/models/help/").body
    document = json.loads(get(shown, "/models/_docs.json").body)
    assert (document["info"]["title"], document["info"]["version"]) == ("Flowers", "2")
    meta = json.loads(get(shown, "/-/alive").body)["app_meta"]
    assert (meta["team"], meta["docs_json_url"], meta["docs_prefix"]) == ("x", "/models/_docs.json", "/models")
    assert get(shown, "/models/assets/swagger-ui/swagger-ui-bundle.js").media_type.endswith("javascript")


def test_health_of_a_model_that_is_not_loaded() -> None:
    shown = surface(ServedAs("iris", state="Loading"))
    ready = get(shown, "/-/ready")
    assert (ready.status, json.loads(ready.body)["services"]["/iris/v1/prediction"]["status"]) == (503, "LOADING")
    assert get(shown, "/-/alive").status == 200


def test_several_models_are_one_application() -> None:
    shown = Porter().surface([(IRIS, Options()), (PENGUINS, Options(namespace="n"))])
    assert paths(shown) == {"/iris/v1/prediction", "/iris/v1/prediction/", "/n/penguins/v1/prediction", "/n/penguins/v1/prediction/"}
    assert set(json.loads(get(shown, "/-/ready").body)["services"]) == {"/iris/v1/prediction", "/n/penguins/v1/prediction"}


def test_an_endpoint_is_used_once() -> None:
    with pytest.raises(InvalidSpec, match="The id=/iris/v1/prediction has already been used"):
        Porter().surface([(IRIS, Options()), (PENGUINS, Options(name="iris"))])


def test_models_of_one_server_say_the_same_of_the_application() -> None:
    with pytest.raises(InvalidSpec, match="differ in expose_docs: True and False"):
        Porter().surface([(IRIS, Options(expose_docs=True)), (PENGUINS, Options())])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"name": "a/b"}, "name: must be one part of a path, without / and spaces, got 'a/b'"),
        ({"apiVersion": ""}, "apiVersion: must be one part of a path"),
        ({"action": "{x}"}, "action: must be one part of a path"),
        ({"namespace": "a b"}, "namespace: must be parts of a path"),
        ({"docsUrl": "docs"}, "docsUrl: must be a path that begins with /"),
        ({"docsPrefix": "/a/"}, "docsPrefix: must begin with / and not end with one"),
        ({"featureSchema": {"type": "array"}}, "featureSchema: must be of type object, with properties"),
        ({"featureSchema": {"properties": {"a": {"type": "date"}}}}, "featureSchema.properties.a: type must be one of"),
        ({"predictionSchema": {"type": "number", "minimum": "x"}}, "predictionSchema: minimum must be a number"),
    ],
)
def test_a_manifest_says_where_an_option_is_wrong(options: dict[str, Any], complaint: str) -> None:
    document = {
        "apiVersion": "dragoman.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "iris"},
        "spec": {"model": {"uri": "model.joblib"}, "serving": {"dialects": {"porter": options}}},
    }
    with pytest.raises(InvalidSpec) as told:
        manifest.parse(document)
    assert str(told.value).startswith(f"spec.serving.dialects.porter.{complaint}")


def test_the_example_is_a_request_that_is_taken() -> None:
    command = Porter().example(PENGUINS, Options(validate_request_data=True), "http://127.0.0.1:8080")
    body = command.partition(" -d ")[2].strip("'")
    assert "http://127.0.0.1:8080/penguins/v1/prediction" in command
    call = surface(PENGUINS, validate_request_data=True).predicts[0].decode(asked(json.loads(body)))
    assert isinstance(call, Call)
    assert call.table.rows == 1


def test_the_runtimes_own_document_has_the_operations_without_references() -> None:
    shown = surface(PENGUINS, feature_schema=None)
    assert "$ref" not in json.dumps(shown.openapi["/penguins/v1/prediction"])
    assert set(shown.openapi["/penguins/v1/prediction"]) == {"get", "post"}
