"""An application of dragoman.porter as a model that a server loads, and what its code may configure."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import numpy as np
import pandas as pd
import pytest
from tests.unit.models import ServedAs

import dragoman.porter.config as cf
from dragoman import formats
from dragoman.dialect_options import Porter as Options
from dragoman.dialects.dialect import Request
from dragoman.dialects.porter import Porter
from dragoman.errors import CallError, InvalidInput, ModelLoadFailed, UnsupportedFormat
from dragoman.formats import LoadedModel, ModelFiles
from dragoman.porter import schemas
from dragoman.porter.datascience import BaseModel, WrappedModel, WrappedTransformer
from dragoman.porter.exceptions import InvalidModelInput, PorterException
from dragoman.porter.services import BaseService, ModelApp, PredictionService
from dragoman.porter.utils import AppEncoder, JSONLogFormatter
from dragoman.table import Table

APP = """
from dragoman.porter.services import ModelApp, PredictionService
class Model:
    def predict(self, X):
        return [1] * len(X)
app = ModelApp([PredictionService(model=Model(), name="one", api_version="v1")])
"""


class Doubling(BaseModel):
    def predict(self, X: Any) -> Any:
        return X["x"] * 2


class Raising(BaseModel):
    def predict(self, X: Any) -> Any:
        raise KeyError("inside")


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    """As it was, after each test."""
    before = {name: value for name, value in vars(cf).items() if not name.startswith("__")}
    yield
    vars(cf).update(before)


def service(model: Any = None, name: str = "s", **settings: Any) -> PredictionService:
    return PredictionService(model=model or Doubling(), name=name, api_version="v1", **settings)


def load(tmp_path: Path, text: str, name: str = "app.py") -> LoadedModel:
    (tmp_path / name).write_text(text)
    return formats.load(ModelFiles(tmp_path / name, name, ""), policy="Allow", pinned=False)


# --- as a model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        APP,
        APP.replace(
            "from dragoman.porter.services import ModelApp,",
            "from dragoman.porter import services as s\nfrom dragoman.porter.services import",
        ).replace("ModelApp(", "s.ModelApp("),
        APP.replace("import ModelApp,", "import ModelApp as App,").replace("ModelApp(", "App("),
        APP + "app.run()\n",
        APP + "also = app\n",
    ],
)
def test_a_file_with_an_application_is_a_model(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, text)
    answers = loaded.predictor.predict(Table.of_rows([{"id": 1}]), ("predict",), {"service": "/one/v1/prediction"})
    assert list(answers["predict"]) == [1]
    assert loaded.authored["porter"]["services"][0]["endpoint"] == "/one/v1/prediction"
    json.dumps(loaded.authored)


@pytest.mark.parametrize(
    ("text", "error", "complaint"),
    [
        ("from dragoman.porter.datascience import BaseModel\nclass A(BaseModel): ...\n", UnsupportedFormat, "no model found"),
        (APP + "other = ModelApp([])\n", ModelLoadFailed, "must have one application, and has app, other"),
        (APP.replace("model=Model(),", "model=Model(), additional_checks=1,"), ModelLoadFailed, "`additional_checks` must be callable"),
    ],
)
def test_a_file_that_is_no_application_says_why(tmp_path: Path, text: str, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        load(tmp_path, text)


def test_a_file_is_loaded_again_while_its_services_live(tmp_path: Path) -> None:
    first, second = load(tmp_path, APP), load(tmp_path, APP)
    assert first.authored == second.authored


def test_rows_mix_only_where_every_author_says_so() -> None:
    assert not ModelApp([service()]).__dragoman_model__().predictor.rows_independent
    both = [service(name="a", rows_independent=True), service(name="b", rows_independent=True)]
    assert ModelApp(both).__dragoman_model__().predictor.rows_independent
    assert not ModelApp([*both, service(name="c")]).__dragoman_model__().predictor.rows_independent


def test_the_only_service_has_a_signature_where_its_features_are_plain() -> None:
    plain = schemas.Object(
        properties={"x": schemas.Number(additional_params={"minimum": 1}), "c": schemas.String(nullable=True)}, required=["x"]
    )
    (x, c) = ModelApp([service(feature_schema=plain)]).__dragoman_model__().predictor.signature.inputs
    assert (x.name, x.type, x.minimum, x.required) == ("x", "number", 1, True)
    assert (c.type, c.nullable, c.required) == ("string", True, False)
    nested = schemas.Object(properties={"x": schemas.Array(item_type=schemas.Number())})
    assert ModelApp([service(feature_schema=nested)]).__dragoman_model__().predictor.signature.inputs == ()


def test_other_apis_must_say_which_of_several_services_is_meant() -> None:
    predictor = ModelApp([service(name="a"), service(name="b")]).__dragoman_model__().predictor
    with pytest.raises(InvalidInput, match="2 services, /a/v1/prediction, /b/v1/prediction"):
        predictor.predict(Table.of_rows([{"x": 1}]), ("predict",), {})


def test_an_application_without_services_is_told_of() -> None:
    loaded = ModelApp([]).__dragoman_model__()
    assert loaded.warnings == ("the ModelApp has no services: /-/ready is 503 for ever",)
    shown = Porter().surface([(ServedAs("app", authored=dict(loaded.authored)), Options())])
    (ready,) = (a.reply(Request("GET", a.path, {}, b"")) for a in shown.answers if a.path == "/-/ready")
    assert ready.status == 503


def test_every_service_is_tried_before_it_serves() -> None:
    features = schemas.Object(properties={"x": schemas.Number()})

    def refuse(X: Any) -> None:
        raise ValueError("no example is right")

    services = [
        service(name="works", feature_schema=features),
        service(Raising(), "fails", feature_schema=features),
        service(Raising(), "unknown"),
        service(name="refuses", feature_schema=features, additional_checks=refuse),
    ]
    predictor: Any = ModelApp(services).__dragoman_model__().predictor
    assert predictor.rehearse() == ["the service /fails/v1/prediction failed on its example row: KeyError: 'inside'"]


def test_routes_that_workers_do_not_serve_are_told_of() -> None:
    model_app = ModelApp([service()])
    assert model_app.__dragoman_model__().warnings == ()
    model_app.app.route("/own/")(lambda: "mine")
    (warning,) = model_app.__dragoman_model__().warnings
    assert warning.startswith("the route /own/ ")
    assert model_app.app.test_client().get("/own/").data == b"mine"


def test_an_application_that_another_process_loaded_is_shown_as_it_is_there() -> None:
    features = schemas.Object(properties={"x": schemas.Number()}, reference_name="Features")
    model_app = ModelApp([service(feature_schema=features, validate_request_data=True)], name="A", expose_docs=True, docs_prefix="/d")
    told = json.loads(json.dumps(model_app.__dragoman_model__().authored))
    here, there = (Porter().surface([(ServedAs("app", authored=authored), Options())]) for authored in ({"porter": model_app}, told))
    assert [p.path for p in there.predicts] == [p.path for p in here.predicts]
    assert [a.path for a in there.answers] == [a.path for a in here.answers]
    assert there.openapi == here.openapi
    request = Request("POST", "/s/v1/prediction", {}, b'[{"id": 1, "x": "no"}]')
    for shown in (here, there):
        with pytest.raises(CallError, match=r"data\[0\]\.x must be number"):
            shown.predicts[0].decode(request)
    changed = Porter().surface([(ServedAs("app", authored=told), Options(expose_docs=False))])
    assert "/d/docs/" not in [a.path for a in changed.answers]


# --- in its own process ------------------------------------------------------------------------------------------


def test_it_is_a_wsgi_application() -> None:
    from werkzeug.test import Client

    reply = Client(ModelApp([service()])).post("/s/v1/prediction", json=[{"id": 1, "x": 4}])
    assert (reply.status_code, json.loads(reply.data)["predictions"]) == (200, [{"id": 1, "prediction": 8}])


def test_switches_are_read_for_each_request() -> None:
    client = ModelApp([service(Raising())]).app.test_client()
    rows = [{"id": 1}]
    assert set(client.post("/s/v1/prediction", json=rows).get_json()["error"]) == {"name", "messages"}
    cf.return_traceback_on_error = cf.return_user_data_on_error = True
    error = client.post("/s/v1/prediction", json=rows).get_json()["error"]
    assert "KeyError: 'inside'" in error["traceback"]
    assert error["user_data"] == rows
    cf.return_message_on_error = cf.return_request_id = False
    body = client.get("/nothing").get_json()
    assert set(body) == {"error"}
    assert "messages" not in body["error"]
    cf.support_response_gzip = True
    packed = client.get("/s/v1/prediction", headers={"accept-encoding": "gzip"})
    assert json.loads(gzip.decompress(packed.data)).startswith("This endpoint is live")


def test_predictions_are_encoded_by_the_authors_encoder() -> None:
    class Money(BaseModel):
        def predict(self, X: Any) -> Any:
            return [{"price": decimal.Decimal("1.10")} for _ in range(len(X))]

    class Encoder(json.JSONEncoder):
        def default(self, o: Any) -> Any:
            return f"{o} EUR"

    client = ModelApp([service(Money())]).app.test_client()
    cf.json_encoder = Encoder
    assert client.post("/s/v1/prediction", json=[{"id": 1}]).get_json()["predictions"][0]["prediction"] == {"price": "1.10 EUR"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda X: pd.Series([1, 2]),
        lambda X: np.array([1, 2], dtype="int32"),
        lambda X: (1, 2),
        lambda X: iter([1, 2]),
        lambda X: [np.int64(1), 2],
    ],
)
def test_predictions_of_every_kind_that_models_give(answer: Any) -> None:
    class Model:
        predict = staticmethod(answer)

    client = ModelApp([service(Model())]).app.test_client()
    body = client.post("/s/v1/prediction", json=[{"id": 1}, {"id": 2}]).get_json()
    assert body["predictions"] == [{"id": 1, "prediction": 1}, {"id": 2, "prediction": 2}]


def test_a_hook_that_writes_into_its_frame_changes_nobody_elses() -> None:
    class Pre:
        def process(self, X: Any) -> Any:
            X["x"] = 0
            return X

    class Post:
        def process(self, X_input: Any, X_preprocessed: Any, predictions: Any) -> Any:
            return X_input["x"] + predictions

    client = ModelApp([service(preprocessor=Pre(), postprocessor=Post())]).app.test_client()
    assert client.post("/s/v1/prediction", json=[{"id": 1, "x": 5}]).get_json()["predictions"] == [{"id": 1, "prediction": 5}]


@pytest.mark.parametrize(
    ("error", "status", "name", "messages"),
    [
        (InvalidModelInput("a", 1), 400, "InvalidModelInput", ["a", 1]),
        (PorterException("b", code=409), 409, "PorterException", ["b"]),
        (PorterException(object), 500, "PorterException", [repr(object)]),
    ],
)
def test_errors_on_purpose_keep_their_code_name_and_arguments(error: Exception, status: int, name: str, messages: list[Any]) -> None:
    def checks(X: Any) -> None:
        raise error

    reply = ModelApp([service(additional_checks=checks)]).app.test_client().post("/s/v1/prediction", json=[{"id": 1, "x": 1}])
    assert (reply.status_code, reply.get_json()["error"]) == (status, {"name": name, "messages": messages})


def test_a_route_may_abort() -> None:
    model_app = ModelApp([service()])

    @model_app.app.route("/teapot")
    def teapot() -> str:
        flask.abort(418, "short and stout")

    reply = model_app.app.test_client().get("/teapot")
    assert (reply.status_code, reply.get_json()["error"]) == (418, {"name": "ImATeapot", "messages": ["short and stout"]})


def test_a_service_may_have_a_serve_of_its_own() -> None:
    class Twice(PredictionService):
        def serve(self) -> Any:
            return {"sum": int(self.get_post_data()["x"].sum())}

    twice = Twice(model=None, name="twice", api_version="v1")
    client = ModelApp([twice]).app.test_client()
    assert client.post("/twice/v1/prediction", json=[{"id": 1, "x": 2}, {"id": 2, "x": 3}]).get_json() == {"sum": 5}
    assert client.post("/twice/v1/prediction", json=[{"x": 2}]).status_code == 422


def test_a_reply_of_own_code_is_held_against_its_schema() -> None:
    class Answering(BaseService):
        action, status = "answer", "READY"
        route_kwargs = {"methods": ["POST"]}  # noqa: RUF012

        def serve(self) -> Any:
            return self.get_post_data()

    answering = Answering(name="own", api_version="v1", validate_request_data=True, validate_response_data=True)
    answering.add_request_schema("POST", schemas.Array(item_type=schemas.Integer()))
    answering.add_response_schema("POST", 200, schemas.Array(item_type=schemas.Integer(additional_params={"maximum": 9})))
    client = ModelApp([answering]).app.test_client()
    assert client.post("/own/v1/answer", json=[1]).get_json() == [1]
    refused, broken = client.post("/own/v1/answer", json=["x"]), client.post("/own/v1/answer", json=[1, 10])
    assert (refused.status_code, refused.get_json()["error"]["messages"]) == (422, ["Schema validation failed: data[0] must be integer"])
    text = "Schema validation failed: data[1] must be smaller than or equal to 9"
    assert (broken.status_code, broken.get_json()["error"]) == (500, {"name": "ValueError", "messages": [text]})


def test_meta_may_know_more_of_the_service() -> None:
    class Told(PredictionService):
        def update_meta(self, meta: Any) -> Any:
            return {**meta, "hooks": self.preprocessor is not None}

    told = Told(model=None, name="told", api_version="v1", meta={"a": 1})
    assert told.describe().meta == {"a": 1, "hooks": False}


def test_an_application_has_meta_of_its_own() -> None:
    body = ModelApp([], meta={"team": "x"}, version="2").app.test_client().get("/-/alive").get_json()
    assert (body["app_meta"]["team"], body["app_meta"]["version"]) == ("x", "2")
    with pytest.raises(ValueError, match="`meta` does not follow"):
        ModelApp([], meta={"a": object()})


def test_a_base_service_needs_its_parts() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseService(name="a", api_version="1")  # type: ignore[abstract]


# --- what code imports -------------------------------------------------------------------------------------------


def test_wrapped_models_and_transformers(tmp_path: Path) -> None:
    import joblib
    from sklearn.preprocessing import StandardScaler

    joblib.dump(StandardScaler().fit([[0.0], [2.0]]), tmp_path / "t.pkl")
    assert WrappedTransformer.from_file(tmp_path / "t.pkl").process([[2.0]]).tolist() == [[1.0]]
    joblib.dump(Doubling(), tmp_path / "m.pkl")
    assert WrappedModel.from_file(tmp_path / "m.pkl").predict(pd.DataFrame({"x": [2]})).tolist() == [4]


def test_the_encoder_writes_what_applications_hold() -> None:
    value = {
        "scalar": np.float32(0.5),
        "array": np.arange(2),
        "series": pd.Series([1]),
        "date": datetime.date(2026, 1, 2),
        "set": {1},
        "error": ValueError("x"),
        "other": Path("/a"),
    }
    assert json.loads(json.dumps(value, cls=AppEncoder)) == {
        "scalar": 0.5,
        "array": [0, 1],
        "series": [1],
        "date": "2026-01-02",
        "set": [1],
        "error": "ValueError('x')",
        "other": "/a",
    }


def test_a_log_line_has_the_fields_that_are_named() -> None:
    formatter = JSONLogFormatter("asctime", "levelname", "message", "event")
    record = logging.makeLogRecord({"msg": "%s done", "args": ("all",), "levelname": "INFO", "name": "porter"})
    line = json.loads(formatter.format(record))
    assert (line["message"], line["levelname"], line["event"]) == ("all done", "INFO", None)
    assert "asctime" in line
    try:
        raise KeyError("gone")
    except KeyError:
        failed = logging.makeLogRecord({"msg": {"a": 1}, "exc_info": sys.exc_info()})
    line = json.loads(formatter.format(failed))
    assert line["message"] == {"a": 1}
    assert "KeyError: 'gone'" in line["exc_text"]
