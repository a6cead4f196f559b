"""Services and the application that they make: `ModelApp([PredictionService(model=…, name="my-model", api_version="v1")])`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import flask

from dragoman.dialects.porter import reading
from dragoman.errors import CallError, ModelFailed
from dragoman.hosting import hosting
from dragoman.json import encode
from dragoman.porter import config as cf
from dragoman.porter import description as described
from dragoman.porter import schemas
from dragoman.porter.constants import HEALTH_CHECK_VALUES
from dragoman.porter.schemas.openapi import path_item
from dragoman.porter.wsgi import build, raised, request_of

if TYPE_CHECKING:
    from dragoman.formats.format import LoadedModel
    from dragoman.predictors import Predictor

_OK = 200


class BaseService(ABC):
    """One endpoint. Subclass it to answer requests by code of your own: `action`, `status` and `serve` are what it needs.

    `id` is the endpoint, unless `define_id` says otherwise; no two services of an application have the same.
    """

    meta: Mapping[str, Any] = {}
    log_api_calls = False
    validate_request_data = False
    validate_response_data = False
    route_kwargs: Mapping[str, Any] = {"methods": ["GET"]}
    request_schemas: dict[str, schemas.RequestSchema]
    response_schemas: dict[str, list[schemas.ResponseSchema]]

    def __init__(
        self,
        *,
        name: str,
        api_version: str,
        meta: Mapping[str, Any] | None = None,
        log_api_calls: bool = False,
        namespace: str = "",
        validate_request_data: bool = False,
        validate_response_data: bool = False,
    ) -> None:
        self.name, self.api_version = name, api_version
        self.meta = {} if meta is None else meta
        self.check_meta(self.meta)
        self.namespace = described.namespaced(namespace)
        self.log_api_calls = log_api_calls
        self.validate_request_data, self.validate_response_data = validate_request_data, validate_response_data
        self.endpoint = self.define_endpoint()
        self.id = self.define_id()
        self.meta = self.update_meta(self.meta)
        self.request_schemas, self.response_schemas = {}, {}

    @property
    @abstractmethod
    def action(self) -> str:
        """What it does: the last part of its path."""

    @property
    @abstractmethod
    def status(self) -> str:
        """READY, or what it waits for: `/-/ready` is 503 until every service is."""

    @abstractmethod
    def serve(self) -> Any:
        """What a request is answered: something that JSON can carry, or a Flask response. `flask.request` is the request."""

    def define_endpoint(self) -> str:
        return described.endpoint_of(self.namespace, self.name, self.api_version, self.action)

    def define_id(self) -> str:
        return self.endpoint

    def check_meta(self, meta: Any) -> None:
        """`ValueError` for what JSON cannot carry."""
        try:
            if not isinstance(meta, Mapping):
                raise TypeError("it is no mapping")  # noqa: TRY301  one message for all that is wrong with it
            encode(dict(meta))
        except (ModelFailed, TypeError) as error:
            raise ValueError("`meta` does not follow the proper schema, all values should be strings") from error

    def update_meta(self, meta: Mapping[str, Any]) -> Mapping[str, Any]:
        """For subclasses that add to it what they know of themselves."""
        return meta

    def add_request_schema(self, method: str, api_obj: schemas.ApiObject, description: str | None = None) -> None:
        """What requests of a method hold: in the docs, and checked where `validate_request_data` is on."""
        self.request_schemas[method.upper()] = schemas.RequestSchema(api_obj, description)

    def add_response_schema(self, method: str, status_code: int, api_obj: schemas.ApiObject, description: str | None = None) -> None:
        """What its replies of a status hold."""
        self.response_schemas.setdefault(method.upper(), []).append(schemas.ResponseSchema(api_obj, status_code, description))

    def get_post_data(self) -> Any:
        """The JSON of the request that is being answered. Raises werkzeug's exceptions: `BadRequest`, `UnprocessableEntity`, …"""
        try:
            document = reading.parse(request_of(flask.request).body)
            self._check_request(document)
        except CallError as error:
            raise raised(error) from error
        return document

    def describe(self) -> described.Service:
        """It as the codec knows it."""
        operations, definitions = path_item(self.request_schemas, self.response_schemas, [str(self.name)])
        answered = [one.api_obj for one in self.response_schemas.get("POST", ()) if one.status_code == _OK]
        return described.Service(
            id=self.id,
            endpoint=self.endpoint,
            name=str(self.name),
            api_version=str(self.api_version),
            meta=dict(self.meta),
            status=self.status,
            predicts=False,
            methods=tuple(method.upper() for method in self.route_kwargs.get("methods", ["GET"])),
            response_schema=answered[-1].definition() if answered and self.validate_response_data else None,
            log_api_calls=self.log_api_calls,
            service_class=type(self).__name__,
            operations=operations,
            definitions=definitions,
        )

    def predictor(self) -> Predictor:
        """What answers in a worker."""
        from dragoman.porter.serving import OwnPredictor

        return OwnPredictor(self)

    def _check_request(self, document: Any) -> None:
        schema = self.request_schemas.get("POST")
        if schema is not None and self.validate_request_data:
            try:
                schema.api_obj.validate(document)
            except ValueError as error:
                from dragoman.porter.refusal import unprocessable

                raise unprocessable(error) from None


class PredictionService(BaseService):
    """A model behind an endpoint: rows with ids in, predictions with the same ids out.

    `model.predict`, `preprocessor.process` and `postprocessor.process` are as in `datascience`. `additional_checks` is called with the rows
    as a DataFrame; a `ValueError` of its own is answered with 422 and its arguments. `feature_schema` describes a row without its id: its
    columns, in its order, are what the model is given (unless `infer_feature_columns` is off). `prediction_schema` is of one prediction.
    `batch_prediction` is off for one row a request. `rows_independent`: the answer to a row never depends, through model, hooks or checks,
    on the rows beside it; a server with workers then lets requests share a predict.
    """

    route_kwargs: Mapping[str, Any] = {"methods": ["GET", "POST"], "strict_slashes": False}
    model: Any = None
    preprocessor: Any = None
    postprocessor: Any = None
    additional_checks: Callable[[Any], object] | None = None
    batch_prediction = True
    rows_independent = False
    feature_schema: schemas.Object | None = None
    prediction_schema: schemas.ApiObject | None = None
    feature_columns: Sequence[str] | None = None
    request_schema: schemas.ApiObject | None = None
    response_schema: schemas.Object | None = None
    _action = "prediction"

    def __init__(
        self,
        *,
        model: Any,
        preprocessor: Any = None,
        postprocessor: Any = None,
        action: str = "prediction",
        batch_prediction: bool = True,
        additional_checks: Callable[[Any], object] | None = None,
        feature_schema: schemas.Object | None = None,
        prediction_schema: schemas.ApiObject | None = None,
        infer_feature_columns: bool = True,
        rows_independent: bool = False,
        **kwargs: Any,
    ) -> None:
        if additional_checks is not None and not callable(additional_checks):
            raise ValueError("`additional_checks` must be callable")
        if feature_schema is not None and not isinstance(feature_schema, schemas.Object):
            raise ValueError("`feature_schema` must be an Object")
        self.model, self.preprocessor, self.postprocessor = model, preprocessor, postprocessor
        self.additional_checks, self.batch_prediction, self._action = additional_checks, batch_prediction, action
        self.rows_independent = rows_independent
        super().__init__(**kwargs)
        self.feature_schema, self.prediction_schema = feature_schema, prediction_schema
        if feature_schema is not None and infer_feature_columns:
            self.feature_columns = list(feature_schema.properties or ())
        self.request_schema = described.request_schema(feature_schema, batch=bool(batch_prediction))
        self.response_schema = described.response_schema(prediction_schema, batch=bool(batch_prediction))
        self.add_response_schema("GET", 200, described.LIVE_SCHEMA.api_obj)
        for error in described.ERROR_SCHEMAS:
            self.add_response_schema("POST", error.status_code, error.api_obj)
        if self.request_schema is not None:
            self.add_request_schema("POST", self.request_schema)
        self.add_response_schema("POST", 200, self.response_schema)

    @property
    def action(self) -> str:
        return self._action

    @property
    def status(self) -> str:
        return HEALTH_CHECK_VALUES.IS_READY

    def serve(self) -> Any:
        """Not asked: the codec answers, unless a subclass has a `serve` of its own."""
        raise NotImplementedError

    def get_post_data(self) -> Any:
        """The rows of the request that is being answered, as a DataFrame; raises as that of `BaseService`."""
        import pandas as pd

        document = super().get_post_data()
        try:
            return pd.DataFrame(list(reading.rows_of(document, single=not self.batch_prediction)))
        except CallError as error:
            raise raised(error) from error

    def describe(self) -> described.Service:
        import msgspec

        found = super().describe()
        if type(self).serve is not PredictionService.serve:
            return found
        request, response = self.request_schema, self.response_schema
        return msgspec.structs.replace(
            found,
            predicts=True,
            single=not self.batch_prediction,
            features=None if self.feature_columns is None else tuple(self.feature_columns),
            request_schema=request.definition() if request is not None and self.validate_request_data else None,
            response_schema=response.definition() if response is not None and self.validate_response_data else None,
        )

    def predictor(self) -> Predictor:
        from dragoman.porter.serving import hooked

        return hooked(self) if type(self).serve is PredictionService.serve else super().predictor()


class ModelApp:
    """Several services as one WSGI application, with health checks and, where `expose_docs` says so, docs.

    `app` is it as a Flask application, to which routes may be added; `run()` serves it from this process. A file that holds one is served
    by `dragoman serve` and by a ModelDeployment, with workers. Raises `ValueError` where two services have the same id.
    """

    def __init__(
        self,
        services: Sequence[BaseService] = (),
        *,
        name: str | None = None,
        description: str | None = None,
        version: str | None = None,
        meta: Mapping[str, Any] | None = None,
        expose_docs: bool = False,
        docs_url: str = "/docs/",
        docs_json_url: str = "/_docs.json",
        docs_prefix: str = "",
    ) -> None:
        self.services = list(services)
        self.name, self.description, self.version = name, description, version
        self.meta = {} if meta is None else dict(meta)
        BaseService.check_meta(self, self.meta)  # type: ignore[arg-type]  # the same rule
        self.expose_docs, self.docs_prefix = expose_docs, docs_prefix
        self.docs_url, self.docs_json_url = docs_prefix + docs_url, docs_prefix + docs_json_url
        seen: set[str] = set()
        for service in self.services:
            if service.id in seen:
                raise ValueError(_used(service.id))
            seen.add(service.id)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """The WSGI interface."""
        return self.app(environ, start_response)

    @cached_property
    def app(self) -> flask.Flask:
        return build(self)

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Serve from this process until it is stopped, from whatever thread this is called; arguments are those of `flask.Flask.run`.

        Does nothing where a server with workers is loading this file: it serves the application itself.
        """
        if not hosting():
            self.app.run(*args, **kwargs)

    def describe(self) -> described.App:
        """It, its services and the switches, as they are now."""
        return described.App(
            services=tuple(service.describe() for service in self.services),
            name=self.name,
            description=self.description,
            version=self.version,
            meta=self.meta,
            expose_docs=self.expose_docs,
            docs_url=self.docs_url,
            docs_json_url=self.docs_json_url,
            docs_prefix=self.docs_prefix,
            switches=self.switches(),
        )

    def switches(self) -> described.Switches:
        """What `config` says."""
        return described.Switches(**{name: getattr(cf, name) for name in described.Switches.__struct_fields__})

    def __dragoman_model__(self) -> LoadedModel:
        """It as a model that a server with workers loads."""
        from dragoman.porter.serving import loaded

        return loaded(self)


def _used(identity: str) -> str:
    return f"The id={identity} has already been used: give the service another name, api_version or namespace"
