"""An application as a model that a server with workers loads, and its services as predictors."""

from __future__ import annotations

import json as standard
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import flask
import msgspec
import numpy as np

from dragoman.call import PREDICT
from dragoman.dialects.dialect import Reply
from dragoman.dialects.porter.applications import OPTION
from dragoman.dialects.porter.examples import example_rows
from dragoman.dialects.porter.reading import row_table
from dragoman.formats.format import LoadedModel
from dragoman.formats.libraries import versions_of
from dragoman.porter import config as cf
from dragoman.porter import schemas
from dragoman.porter.refusal import on_purpose, unprocessable
from dragoman.porter.utils import AppEncoder
from dragoman.predictors import Predictor
from dragoman.predictors.hooked import HookedPredictor, ServicesPredictor
from dragoman.signature import Field, Output, Signature
from dragoman.table import Table

if TYPE_CHECKING:
    from dragoman.porter.services import BaseService, ModelApp, PredictionService


def loaded(model_app: ModelApp) -> LoadedModel:
    """Without a service it is never ready. Routes that its author added to its Flask application are told of: they stay there."""
    services = {service.id: service for service in model_app.services}
    independent = all(getattr(service, "rows_independent", False) for service in model_app.services)
    import pandas  # noqa: F401  once, for all workers, and not in the first request

    predictor = ServicesPredictor(services, _signature(model_app), independent, {OPTION: model_app}, _examples(model_app))
    described = msgspec.to_builtins(model_app.describe(), enc_hook=_plain)
    return LoadedModel(
        predictor, {"flask": metadata.version("flask"), **versions_of(["numpy", "pandas"])}, _warnings(model_app), {OPTION: described}
    )


@dataclass(frozen=True)
class OwnPredictor:
    """A service whose own code answers the whole request: a row is a request, and `flask.request` is it."""

    service: BaseService
    signature: Signature = field(default_factory=Signature)
    rows_independent: bool = False

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        answers = np.empty(table.rows, dtype=object)
        answers[:] = [self._answer(asked) for asked in table.column(0)]
        return dict.fromkeys(outputs, answers)

    def _answer(self, asked: Mapping[str, Any]) -> Any:
        headers = [(name, value) for name, value in asked["headers"].items() if name not in ("content-encoding", "content-length")]
        context = _APP.test_request_context(
            asked["path"], method=asked["method"], query_string=asked["query"], headers=headers, data=asked["body"]
        )
        with context:
            try:
                answer = self.service.serve()
                if not isinstance(answer, flask.Response | tuple):
                    return _encoded(answer)
                response = _APP.make_response(answer)
                kept = tuple((n.lower(), v) for n, v in response.headers.items() if n.lower() not in ("content-type", "content-length"))
                return Reply(response.status_code, response.get_data(), response.content_type or "application/octet-stream", kept)
            except Exception as error:
                if (refused := on_purpose(error)) is not None:
                    raise refused from error
                raise


@dataclass(frozen=True)
class _Refusing:
    """A predictor whose errors on purpose reach the client as they are, its predictions encoded as the configuration says."""

    inner: Predictor

    @property
    def signature(self) -> Signature:
        return self.inner.signature

    @property
    def rows_independent(self) -> bool:
        return self.inner.rows_independent

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            given = self.inner.predict(table, outputs, arguments)
        except Exception as error:
            if (refused := on_purpose(error)) is not None:
                raise refused from error
            raise
        return {name: _encoded(value) for name, value in given.items()}


def hooked(service: PredictionService) -> Predictor:
    """A prediction service's model with its hooks, in the API's order of work."""
    pre, post = service.preprocessor, service.postprocessor
    return _Refusing(
        HookedPredictor(
            model=service.model,
            signature=Signature(),
            rows_independent=service.rows_independent,
            features=service.feature_columns,
            check=service.additional_checks,
            refusal=unprocessable,
            preprocess=None if pre is None else pre.process,
            postprocess=None if post is None else post.process,
        )
    )


def _encoded(value: Any) -> Any:
    """By an encoder of the author's own, where `config.json_encoder` is one."""
    if cf.json_encoder is AppEncoder or not isinstance(cf.json_encoder, type):
        return value
    plain = value.to_numpy() if hasattr(value, "to_numpy") else value
    rows = standard.loads(standard.dumps(plain.tolist() if hasattr(plain, "tolist") else plain, cls=cf.json_encoder))
    if not isinstance(rows, list):
        return rows
    answers = np.empty(len(rows), dtype=object)
    answers[:] = rows
    return answers


def _signature(model_app: ModelApp) -> Signature:
    """Of the only service, where its features are plain: then other APIs can ask it too, and it can be tried before it serves."""
    outputs = (Output(name=PREDICT, type="object", width=-1),)
    only = model_app.services[0] if len(model_app.services) == 1 else None
    features = getattr(only, "feature_schema", None)
    if not isinstance(features, schemas.Object) or getattr(only, "feature_columns", None) is None:
        return Signature(outputs=outputs)
    fields = [_field(name, one, required=name in features.required) for name, one in (features.properties or {}).items()]
    known = tuple(one for one in fields if one is not None)
    if len(known) != len(fields):
        return Signature(outputs=outputs)
    return Signature(inputs=known, outputs=outputs, extra_columns="ignore")


def _examples(model_app: ModelApp) -> dict[str, Table]:
    found = {}
    for service in model_app.services:
        told = service.describe()
        if told.predicts and getattr(service, "feature_schema", None) is not None:
            rows = example_rows(told, Signature())
            found[service.id] = row_table([rows] if told.single else rows)
    return found


def _field(name: str, one: schemas.ApiObject, *, required: bool) -> Field | None:
    kind = one.type_name
    if kind not in ("number", "integer", "string", "boolean"):
        return None
    params = one.additional_params
    bounds = {bound: float(params[bound]) for bound in ("minimum", "maximum") if isinstance(params.get(bound), int | float)}
    enum = tuple(params["enum"]) if isinstance(params.get("enum"), list | tuple) else None
    example = params.get("example")
    return Field(name=name, type=kind, enum=enum, nullable=one.nullable, required=required, example=example, **bounds)  # type: ignore[arg-type]


def _warnings(model_app: ModelApp) -> tuple[str, ...]:
    if not model_app.services:
        return ("the ModelApp has no services: /-/ready is 503 for ever",)
    if "app" not in vars(model_app):  # it was never asked for: nobody added a route
        return ()
    own = [rule.rule for rule in model_app.app.url_map.iter_rules() if not rule.endpoint.startswith(("predict_", "answer_"))]
    return tuple(f"the route {rule} of the Flask application is served by ModelApp.run() and by WSGI servers only" for rule in own)


def _plain(value: Any) -> Any:
    return standard.loads(standard.dumps(value, cls=AppEncoder))


_APP = flask.Flask("dragoman.porter", static_folder=None)
