"""The examples of the API's own document, after changing `porter` to `dragoman.porter` in their imports.

Where an example patches the old package's inside (its request, a private method), the same is sent as a request through
`ModelApp.app.test_client()`, and each such test says what its example patched.
"""

from __future__ import annotations

import json
import logging
import urllib.request
import uuid
from typing import Any
from unittest import mock

import flask
import pytest
import werkzeug.exceptions as werkzeug_exc
from flask.testing import FlaskClient

import dragoman.porter.constants as cn
import dragoman.porter.exceptions as exc
import dragoman.porter.schemas as sc
from dragoman.porter import __version__, schemas
from dragoman.porter.datascience import BaseModel, BasePostProcessor, BasePreProcessor
from dragoman.porter.schemas import Array, Boolean, Integer, Number, Object, String
from dragoman.porter.services import BaseService, ModelApp, PredictionService
from dragoman.porter.utils import JSONLogFormatter


def ask(service: PredictionService, document: Any) -> Any:
    """What a service answers: (status, body)."""
    reply = client(service).post(service.endpoint, json=document)
    return reply.status_code, reply.get_json()


def client(*services: BaseService, **settings: Any) -> FlaskClient:
    return ModelApp(list(services), **settings).app.test_client()


def features() -> schemas.Object:
    return schemas.Object(properties={"x": schemas.Integer(), "y": schemas.Number(), "z": schemas.String()})


class TestConstruction:
    def test_constructor_fail(self) -> None:
        """Example 1. It patches the configured encoder into one that refuses; here `meta` is what no JSON can carry."""
        with pytest.raises(ValueError, match=r"`meta` does not follow the proper schema"):
            PredictionService(model=None, name="foo", api_version="bar", meta=object())
        with pytest.raises(ValueError, match="callable"):
            PredictionService(model=None, additional_checks=1)  # type: ignore[arg-type]

    def test_constructor(self) -> None:
        """Example 19."""
        service = PredictionService(model=None, name="foo", api_version="bar", meta={"1": "2", "3": 4})
        assert service.endpoint == "/foo/bar/prediction"

    def test_an_id_is_used_once(self) -> None:
        kept = PredictionService(model=None, name="only", api_version="v1")
        same = PredictionService(model=None, name="only", api_version="v1")
        with pytest.raises(ValueError, match="The id=/only/v1/prediction has already been used"):
            ModelApp([kept, same])

    def test_namespaces(self) -> None:
        """Examples 13 and 20: a leading slash is added, a trailing one is dropped."""
        first = PredictionService(model=None, name="service2", api_version="1", namespace="ns")
        second = PredictionService(model=None, name="anotherModel", api_version="v1", namespace="n/s/")
        assert first.endpoint == "/ns/service2/1/prediction"
        assert second.endpoint == "/n/s/anotherModel/v1/prediction"


class TestSchemas:
    def test__add_feature_schema_batch(self) -> None:
        """Example 2."""
        name: Any = mock.MagicMock()
        with mock.patch("dragoman.porter.services.BaseService.add_request_schema") as add_request_schema:
            PredictionService(model=mock.Mock(), name=name, api_version=name, meta={}, batch_prediction=True, feature_schema=features())
        method, request = add_request_schema.call_args_list[0][0]
        assert method.upper() == "POST"
        assert isinstance(request, schemas.Array)
        assert isinstance(request.item_type, schemas.Object)
        assert list(request.item_type.properties or ()) == ["id", "x", "y", "z"]

    def test_request_schema(self) -> None:
        """Example 4."""
        service = PredictionService(model=mock.Mock(), name="r", api_version="1", batch_prediction=False, feature_schema=features())
        assert service.request_schema is not None
        service.request_schema.validate({"id": 1, "x": 2, "y": 3.5, "z": "4"})
        with pytest.raises(ValueError, match="data must contain"):
            service.request_schema.validate({"x": 2, "y": 3.5, "z": "4"})

    def test__add_prediction_schema_batch(self) -> None:
        """Example 5."""
        prediction = schemas.Object(properties={"prediction": schemas.Number(), "confidence": schemas.Number()})
        name: Any = mock.MagicMock()
        with mock.patch("dragoman.porter.services.BaseService.add_response_schema") as add_response_schema:
            PredictionService(model=mock.Mock(), name=name, api_version=name, meta={}, batch_prediction=True, prediction_schema=prediction)
        method, status, response = add_response_schema.call_args_list[-1][0]
        assert (method.upper(), status) == ("POST", 200)
        assert list(response.properties) == ["request_id", "model_context", "predictions"]
        rows = response.properties["predictions"]
        assert isinstance(rows, schemas.Array)
        assert isinstance(rows.item_type, schemas.Object)
        assert rows.item_type.properties is not None
        assert list(rows.item_type.properties) == ["id", "prediction"]
        assert list(vars(rows.item_type.properties["prediction"])["properties"]) == ["prediction", "confidence"]

    def test_request_schema_response_schema_uninitialized(self) -> None:
        """Example 6."""
        service = PredictionService(model=mock.Mock(), name="my-test-model-noschemas", api_version="v1", meta={})
        assert service.request_schema is None
        assert service.response_schema is not None
        context = {"api_version": "v1", "model_meta": {}, "model_name": "my-test-model-noschemas"}
        service.response_schema.validate(
            {"model_context": context, "predictions": [{"id": 1, "prediction": 3.14}], "request_id": "abcdefg"}
        )

    def test_response_schema(self) -> None:
        """Example 18."""
        prediction = schemas.Object(properties={"prediction": schemas.Number(), "confidence": schemas.Number()})
        service = PredictionService(
            model=mock.Mock(), name="my-test-model", api_version="v1.2", batch_prediction=False, prediction_schema=prediction
        )
        assert service.response_schema is not None
        context: dict[str, Any] = {"api_version": "v1.2", "model_meta": {}, "model_name": "my-test-model"}
        answered = {"id": 1, "prediction": {"prediction": 3.14, "confidence": 2.72}}
        response = {"model_context": context, "predictions": answered, "request_id": "abcdefg"}
        service.response_schema.validate(response)
        context["api_version"] = 1
        with pytest.raises(ValueError, match=r"data\.model_context\.api_version must be string"):
            service.response_schema.validate(response)

    def test_services_with_schemas(self) -> None:
        """Example 13: two services, whose calls are not made there; what they take is in the docs."""
        service1 = PredictionService(
            name="service1",
            api_version="2",
            model=None,  # we're not going to make calls for predictions here
            feature_schema=sc.Object(properties={"a": sc.Integer(), "b": sc.Integer(), "c": sc.Number()}),
        )
        service2 = PredictionService(
            namespace="ns",
            name="service2",
            api_version="1",
            model=None,
            feature_schema=sc.Object(properties={"a": sc.Integer(), "b": sc.Integer()}),
        )
        document = client(service1, service2, expose_docs=True).get("/_docs.json").get_json()
        rows = document["paths"]["/service1/2/prediction"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert rows["items"]["required"] == ["id", "a", "b", "c"]
        assert "/ns/service2/1/prediction" in document["paths"]


class TestPredicting:
    def service(self, answer: Any, **settings: Any) -> PredictionService:
        model = mock.Mock()
        model.predict.return_value = answer
        return PredictionService(model=model, name=f"m{uuid.uuid4().hex}", api_version="1", meta={}, **settings)

    def test_serve_no_processing_single(self) -> None:
        """Examples 7 and 8. They patch the request's JSON, and call `_predict`."""
        status, body = ask(self.service([1], batch_prediction=False), {"id": None})
        assert (status, body["predictions"]) == (200, {"id": None, "prediction": 1})

    def test_get_post_data_batch_prediction(self) -> None:
        """Example 11. It patches the request's JSON, and has no prediction for one row: fewer predictions than rows are a 500."""
        status, body = ask(self.service([], batch_prediction=True), [{"id": 1}])
        assert (status, body["error"]["name"]) == (500, "InternalServerError")

    def test_serve_success_batch(self) -> None:
        """Example 10. It patches the request's JSON and the reply's making."""
        feature_values = {str(x): x for x in range(5)}
        model, preprocessor, postprocessor = mock.Mock(), mock.Mock(), mock.Mock()
        model.predict = lambda X: X["feature1"] + X["feature2"].map(feature_values) + X["feature3"]

        def preprocess(X: Any) -> Any:
            X["feature2"] = X.feature2.astype(str)
            X["feature3"] = range(len(X))
            return X

        preprocessor.process = preprocess
        postprocessor.process = lambda X_in, X_pre, preds: preds * 2
        service = PredictionService(
            model=model,
            name="model",
            api_version="1.0.0",
            meta={"1": "2", "3": "4"},
            preprocessor=preprocessor,
            postprocessor=postprocessor,
            batch_prediction=True,
            additional_checks=None,
        )
        rows = [{"id": i + 1, "feature1": 10 + i, "feature2": min(i, 3)} for i in range(5)]
        status, body = ask(service, rows)
        assert status == 200
        assert body["model_context"] == {"model_name": "model", "api_version": "1.0.0", "model_meta": {"1": "2", "3": "4"}}
        assert [p["prediction"] for p in body["predictions"]] == [20, 26, 32, 38, 42]
        assert [p["id"] for p in body["predictions"]] == [1, 2, 3, 4, 5]

    def test__predict_additional_checks(self) -> None:
        """Example 12. It patches the request's JSON, and calls `_predict`."""
        checks = mock.Mock()
        assert ask(self.service([1], batch_prediction=False, additional_checks=checks), {"id": 1})[0] == 200
        checks.assert_called()

    def test__predict_additional_checks_raises_422(self) -> None:
        """Example 14. It patches the request's JSON, and calls `_predict`, which raises werkzeug's UnprocessableEntity."""
        checks = mock.Mock(side_effect=ValueError("verify user message is passed on"))
        status, body = ask(self.service([1], batch_prediction=False, additional_checks=checks), {"id": 1})
        assert (status, body["error"]["name"]) == (422, "UnprocessableEntity")
        assert body["error"]["messages"] == ["verify user message is passed on"]
        checks.assert_called()

    def test_get_post_data_validation(self) -> None:
        """Example 15. It patches the request's JSON; `get_post_data` is called here inside a request of Flask's own."""
        schema = schemas.Object(properties={"x": schemas.Integer()})
        lax = self.service([], feature_schema=schema)
        strict = self.service([], feature_schema=schema, validate_request_data=True)
        app = ModelApp([lax, strict]).app
        for row in ({"id": 1, "x": 37}, {"id": 1, "x": 3.7}):
            with app.test_request_context(lax.endpoint, method="POST", json=[row]):
                assert lax.get_post_data().to_dict("records") == [row]
        asked = app.test_request_context(strict.endpoint, method="POST", json=[{"id": 1, "x": 3.7}])
        with asked, pytest.raises(werkzeug_exc.UnprocessableEntity):
            strict.get_post_data()

    def test_serve_with_processing_single(self) -> None:
        """Example 16. It patches the request's JSON, and calls `_predict`."""
        preprocessor, postprocessor = mock.Mock(), mock.Mock()
        preprocessor.process.return_value = {}
        postprocessor.process.return_value = [1]
        service = self.service([1], preprocessor=preprocessor, postprocessor=postprocessor, batch_prediction=False)
        assert ask(service, {"id": None})[0] == 200
        preprocessor.process.assert_called()
        postprocessor.process.assert_called()

    def test_serve_fail(self) -> None:
        """Example 17. It patches `_predict` to raise; here the model does. Its context is in the error."""
        model = mock.Mock()
        model.predict.side_effect = Exception
        service = PredictionService(model=model, name="my-model", api_version="1.0", meta={})
        status, body = ask(service, [{"id": 1}])
        assert (status, body["error"]["name"]) == (500, "InternalServerError")
        assert body["error"]["messages"] == ["Could not serve model results successfully."]
        assert body["model_context"] == {"model_name": "my-model", "api_version": "1.0", "model_meta": {}}


class TestErrorHandling:
    """Example 3."""

    app_test_client: FlaskClient
    model_app: ModelApp

    @classmethod
    def setup_class(cls) -> None:
        prediction_service = PredictionService(name="failing-model", api_version="B", model=None, meta={"1": "one", "two": 2})
        cls.model_app = ModelApp([prediction_service])
        flask_app = cls.model_app.app

        @flask_app.route("/test-error-handling/", methods=["POST"])
        def test_error() -> str:
            flask.request.get_json(force=True)
            raise Exception("exceptional testing of exceptions")  # noqa: TRY002

        cls.app_test_client = flask_app.test_client()

    def test_an_exception_of_a_route_says_nothing_of_its_inside(self) -> None:
        reply = self.app_test_client.post("/test-error-handling/", data=json.dumps({"a": 1}))
        assert reply.status_code == 500
        assert reply.get_json()["error"] == {"name": "InternalServerError", "messages": ["Could not serve model results successfully."]}
        assert "model_context" not in reply.get_json()

    def test_bad_json(self) -> None:
        reply = self.app_test_client.post("/test-error-handling/", data="")
        assert (reply.status_code, reply.get_json()["error"]["name"]) == (400, "BadRequest")

    def test_the_model_that_is_none(self) -> None:
        reply = self.app_test_client.post("/failing-model/B/prediction", json=[{"id": 1}])
        assert reply.status_code == 500
        assert reply.get_json()["model_context"]["model_meta"] == {"1": "one", "two": 2}


class TestHealth:
    @mock.patch("dragoman.porter.services.PredictionService.__init__")
    def test_readiness_ready_ready1(self, mock_init: mock.Mock) -> None:
        """Example 9. It patches the request id, too; here that is any UUID."""
        mock_init.return_value = None
        svc = PredictionService()  # type: ignore[call-arg]
        svc.name = "model1"
        svc.api_version = "1.0.0"
        svc.id = "model1"
        svc.endpoint = "/model1/1.0.0/prediction"
        svc.meta = {"foo": 1, "bar": 2}
        svc.response_schemas = {}
        svc.request_schemas = {}
        app = ModelApp([svc]).app.test_client()
        context = {"model_name": "model1", "api_version": "1.0.0", "model_meta": {"foo": 1, "bar": 2}}
        expected = {
            "porter_version": __version__,
            "deployed_on": cn.HEALTH_CHECK_VALUES.DEPLOYED_ON,
            "app_meta": {
                "description": "<div></div><div><p>(porter v0.15.3)</p></div>",
                "expose_docs": False,
                "name": None,
                "version": None,
            },
            "services": {"model1": {"status": "READY", "endpoint": "/model1/1.0.0/prediction", "model_context": context}},
        }
        for path in ("/-/alive", "/-/ready"):
            reply = app.get(path)
            assert reply.status_code == 200
            body = json.loads(reply.data)
            sc.health_check.validate(body)
            assert uuid.UUID(body.pop("request_id")).version == 4
            assert body == expected

    def test_nothing_is_ready_without_a_service(self) -> None:
        app = client()
        assert app.get("/-/alive").status_code == 200
        assert app.get("/-/ready").status_code == 503

    def test_a_service_may_not_be_ready(self) -> None:
        class Warming(BaseService):
            action, status = "warm", "WARMING"

            def serve(self) -> Any:
                return {}

        reply = client(Warming(name="w", api_version="1")).get("/-/ready")
        assert (reply.status_code, reply.get_json()["services"]["/w/1/warm"]["status"]) == (503, "WARMING")


class TestSeveralModels:
    """Example 20."""

    app: FlaskClient
    model_app: ModelApp

    @classmethod
    def setup_class(cls) -> None:
        class Preprocessor1(BasePreProcessor):
            def process(self, X: Any) -> Any:
                X = X.copy()
                X["feature2"] = X.feature2.astype(str)
                return X

        class Model1(BaseModel):
            feature2_map = {str(x + 1): x for x in range(5)}  # noqa: RUF012

            def predict(self, X: Any) -> Any:
                return X["feature1"] * X.feature2.map(self.feature2_map)

        class Postprocessor1(BasePostProcessor):
            def process(self, X_input: Any, X_preprocessed: Any, predictions: Any) -> Any:
                return predictions * -1

        class Preprocessor2(BasePreProcessor):
            def process(self, X: Any) -> Any:
                X["feature3"] = range(len(X))
                return X

        class Model2(BaseModel):
            def predict(self, X: Any) -> Any:
                return X["feature1"] + X["feature3"]

        def user_check(X: Any) -> None:
            if (X.feature1 == 0).any():
                raise exc.UnprocessableEntity

        class Model3(BaseModel):
            def predict(self, X: Any) -> Any:
                return X["feature1"] * -1

        class ModelFailing(BaseModel):
            def predict(self, X: Any) -> Any:
                raise Exception("this mock service failed during prediction")  # noqa: TRY002

        one = sc.Object(properties={"feature1": sc.Number()})
        both = sc.Object(properties={"feature1": sc.Number(), "feature2": sc.Number()})
        single: dict[str, Any] = {
            "model": Model3(),
            "api_version": "v0.0-alpha",
            "feature_schema": one,
            "validate_request_data": True,
            "validate_response_data": True,
            "batch_prediction": False,
            "meta": {"algorithm": "randomforest", "lasttrained": 1},
        }
        cls.model_app = ModelApp(
            [
                PredictionService(
                    model=Model1(),
                    name="a-model",
                    api_version="v0",
                    action="predict",
                    preprocessor=Preprocessor1(),
                    postprocessor=Postprocessor1(),
                    feature_schema=both,
                    validate_request_data=True,
                    batch_prediction=True,
                ),
                PredictionService(
                    model=Model2(),
                    name="anotherModel",
                    api_version="v1",
                    namespace="n/s/",
                    preprocessor=Preprocessor2(),
                    postprocessor=None,
                    feature_schema=one,
                    validate_request_data=True,
                    batch_prediction=True,
                    additional_checks=user_check,
                ),
                PredictionService(name="model-3", **single),
                PredictionService(name="model-4", **single),
                PredictionService(name="model-5", prediction_schema=sc.Number(additional_params={"minimum": 0}), **single),
                PredictionService(model=ModelFailing(), name="failing-model", api_version="v1", action="fail"),
            ]
        )
        cls.app = cls.model_app.app.test_client()

    def answer(self, path: str, document: Any) -> Any:
        reply = self.app.post(path, data=json.dumps(document))
        return reply.status_code, reply.get_json()

    def test_predictions_with_hooks(self) -> None:
        status, body = self.answer("/a-model/v0/predict", [{"id": i, "feature1": i * 2, "feature2": i} for i in (1, 2, 3)])
        assert (status, [p["prediction"] for p in body["predictions"]]) == (200, [0, -4, -12])
        status, body = self.answer("/n/s/anotherModel/v1/prediction/", [{"id": 7, "feature1": 10}, {"id": 8, "feature1": 10}])
        assert (status, body["predictions"]) == (200, [{"id": 7, "prediction": 10}, {"id": 8, "prediction": 11}])

    def test_single_rows(self) -> None:
        for name in ("model-3", "model-4"):
            status, body = self.answer(f"/{name}/v0.0-alpha/prediction", {"id": 4, "feature1": 5})
            assert (status, body["predictions"]) == (200, {"id": 4, "prediction": -5})
            assert body["model_context"]["model_meta"] == {"algorithm": "randomforest", "lasttrained": 1}

    def test_a_reply_that_its_schema_refuses(self) -> None:
        status, body = self.answer("/model-5/v0.0-alpha/prediction", {"id": 4, "feature1": 5})
        text = "Schema validation failed: data.predictions.prediction must be bigger than or equal to 0"
        assert (status, body["error"]) == (500, {"name": "ValueError", "messages": [text]})

    def test_a_check_that_raises_on_purpose(self) -> None:
        status, body = self.answer("/n/s/anotherModel/v1/prediction", [{"id": 7, "feature1": 0}])
        assert (status, body["error"]["name"]) == (422, "UnprocessableEntity")

    def test_rows_that_the_schema_refuses(self) -> None:
        status, body = self.answer("/a-model/v0/predict", [{"id": 1, "feature1": 2}])
        assert (status, body["error"]["messages"]) == (422, ["Schema validation failed: data[0] must contain ['feature2'] properties"])

    def test_a_failing_model(self) -> None:
        assert self.answer("/failing-model/v1/fail", [{"id": 1}])[0] == 500


def test_api_calls_are_logged_as_json_lines() -> None:
    """Example 21."""

    class Model(BaseModel):
        def predict(self, X: Any) -> Any:
            return (X["foo"] % 3) * X["bar"]

    prediction_svc = PredictionService(model=Model(), name="logged", api_version="v1", batch_prediction=True, log_api_calls=True)
    app = ModelApp([prediction_svc])
    lines: list[str] = []

    class Kept(logging.StreamHandler):  # type: ignore[type-arg]
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Kept()
    formatter = JSONLogFormatter(
        "asctime", "levelname", "module", "name", "message", "request_id", "request_data", "response_data", "service_class", "event"
    )
    handler.setFormatter(formatter)
    logger = logging.getLogger("porter")
    logger.setLevel("INFO")
    logger.addHandler(handler)
    try:
        asking = app.app.test_client()
        answered = asking.post("/logged/v1/prediction", json=[{"id": 1, "foo": 4, "bar": 3}]).get_json()
        refused = asking.post("/logged/v1/prediction", json={"id": 1}).get_json()
    finally:
        logger.removeHandler(handler)
    call, exception = map(json.loads, lines)
    assert (call["event"], call["service_class"], call["levelname"]) == ("api_call", "PredictionService", "INFO")
    assert (call["request_data"], call["response_data"]) == ([{"id": 1, "foo": 4, "bar": 3}], answered)
    assert call["request_id"] == answered["request_id"]
    assert (exception["event"], exception["request_data"], exception["response_data"]) == ("exception", {"id": 1}, refused)


def test_every_argument_of_a_service() -> None:
    """Example 22."""

    class Doubling:
        def predict(self, X: Any) -> Any:
            return X["a"] * 2

    prediction_service = PredictionService(
        model=Doubling(),
        name="supa-dupa-model",
        api_version="v1",
        preprocessor=None,
        postprocessor=None,
        feature_schema=Object(properties={"a": Number()}),
        validate_request_data=True,
        batch_prediction=True,
    )
    assert ask(prediction_service, [{"id": 1, "a": 4}])[1]["predictions"] == [{"id": 1, "prediction": 8}]


RATINGS = Object(
    "Inputs to the ratings model",
    properties={
        "user_id": Integer("The user ID."),
        "title_id": Integer("The title ID."),
        "is_tv": Boolean("Whether the content is a TV show."),
        "genre": String("The genre.", additional_params={"enum": ["comedy", "action", "drama"]}),
        "average_rating": Number("The title's average rating.", additional_params={"minimum": 0, "maximum": 10}),
    },
    reference_name="RatingsModelFeatures",
)


class RatingsModel(BaseModel):
    def predict(self, X: Any) -> Any:
        return X["average_rating"] / 2


def test_docs_of_a_model_with_input_validation() -> None:
    """Example 23."""
    prediction_service = PredictionService(
        model=RatingsModel(), name="rated", api_version="v1", feature_schema=RATINGS, validate_request_data=True
    )
    app = ModelApp(
        [prediction_service],
        name="Example Model",
        description="Minimal example of a model with input validation and documentation.",
        expose_docs=True,
    )
    asking = app.app.test_client()
    page, document = asking.get("/docs/"), asking.get("/_docs.json").get_json()
    assert page.status_code == 200
    assert document["info"]["title"] == "Example Model"
    assert "Minimal example" in document["info"]["description"]
    body = document["paths"]["/rated/v1/prediction"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["items"] == {"$ref": "#/components/schemas/RatingsModelFeatures"}
    assert document["components"]["schemas"]["RatingsModelFeatures"]["properties"]["average_rating"]["maximum"] == 10
    assert asking.get("/").headers["location"] == "/docs/"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, None),
        ({"genre": "western"}, "data[0].genre must be one of ['comedy', 'action', 'drama']"),
        ({"average_rating": 10.5}, "data[0].average_rating must be smaller than or equal to 10"),
        ({"is_tv": 1}, "data[0].is_tv must be boolean"),
    ],
)
def test_a_batch_service_holds_rows_against_its_schema(change: dict[str, Any], text: str | None) -> None:
    """Example 25."""
    batch_prediction_service = PredictionService(
        model=RatingsModel(),
        name=f"user-ratings-{uuid.uuid4().hex}",
        api_version="v2",
        namespace="datascience",
        feature_schema=RATINGS,
        validate_request_data=True,
    )
    row = {"id": 1, "user_id": 122333, "title_id": 444455555, "genre": "comedy", "is_tv": False, "average_rating": 6.7} | change
    status, body = ask(batch_prediction_service, [row])
    if text is None:
        assert (status, body["predictions"]) == (200, [{"id": 1, "prediction": 3.35}])
    else:
        assert (status, body["error"]["messages"]) == (422, [f"Schema validation failed: {text}"])


def test_an_app_runs_off_the_main_thread() -> None:
    """Example 24: three services without a model, served by a thread, asked for their health."""
    import socket
    import threading

    service1 = PredictionService(model=None, name="a-model", api_version="0.0.0")
    service2 = PredictionService(model=None, name="yet-another-model", api_version="1.0.0")
    service3 = PredictionService(
        model=None, name="yet-another-yet-another-model", api_version="1.0.0-alpha", meta={"arbitrary details": "about the model"}
    )
    model_app = ModelApp([service1, service2, service3])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    threading.Thread(target=model_app.run, kwargs={"port": port}, daemon=True).start()
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready") as reply:
                body = json.load(reply)
            break
        except OSError:
            threading.Event().wait(0.05)
    assert sorted(body["services"]) == [
        "/a-model/0.0.0/prediction",
        "/yet-another-model/1.0.0/prediction",
        "/yet-another-yet-another-model/1.0.0-alpha/prediction",
    ]
    assert body["services"]["/yet-another-yet-another-model/1.0.0-alpha/prediction"]["model_context"]["model_meta"] == {
        "arbitrary details": "about the model"
    }


def test_array_takes_its_item_type_alone() -> None:
    with pytest.raises(ValueError, match=r"data\[1\] must be integer"):
        Array(Integer()).validate([1, "x"])
