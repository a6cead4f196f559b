"""An application and its services, described: what the codec needs to know of them, and no code. It crosses processes as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.porter import __version__, schemas
from dragoman.porter.constants import HEALTH_CHECK_VALUES
from dragoman.porter.schemas.openapi import path_item
from dragoman.porter.schemas.vocabulary import Definition

UPPER_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Switches(msgspec.Struct, frozen=True, kw_only=True):
    """What replies carry, as `dragoman.porter.config` has it."""

    return_message_on_error: bool = True
    return_traceback_on_error: bool = False
    return_user_data_on_error: bool = False
    return_request_id: bool = True
    support_response_gzip: bool = False


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. `predicts`: it takes rows and answers predictions; False: its author's own code answers."""

    id: str
    endpoint: str
    name: str
    api_version: str
    meta: dict[str, Any] = {}
    status: str = HEALTH_CHECK_VALUES.IS_READY
    predicts: bool = True
    methods: tuple[str, ...] = ("GET", "POST")
    single: bool = False  # one object a request, not a list of them
    features: tuple[str, ...] | None = None  # the columns that the model is given; None: every one, as it was sent
    request_schema: Definition | None = None  # that requests are held against; None: they are not
    response_schema: Definition | None = None
    log_api_calls: bool = False
    service_class: str = "PredictionService"
    operations: Definition = {}  # OpenAPI operations by method, with references to `definitions`
    definitions: dict[str, Definition] = {}

    @property
    def context(self) -> dict[str, Any]:
        return {"model_name": self.name, "api_version": self.api_version, "model_meta": self.meta}


class App(msgspec.Struct, frozen=True, kw_only=True):
    """Several services behind one address."""

    services: tuple[Service, ...] = ()
    name: str | None = None
    description: str | None = None
    version: str | None = None
    meta: dict[str, Any] = {}
    expose_docs: bool = False
    docs_url: str = "/docs/"  # with the prefix, as the two below
    docs_json_url: str = "/_docs.json"
    docs_prefix: str = ""
    switches: Switches = Switches()

    @property
    def app_meta(self) -> dict[str, Any]:
        """As health replies have it."""
        told = {"name": self.name, "description": self.html, "version": self.version, "expose_docs": self.expose_docs}
        if self.expose_docs:
            told |= {"docs_url": self.docs_url, "docs_json_url": self.docs_json_url, "docs_prefix": self.docs_prefix}
        return {**self.meta, **told}

    @property
    def html(self) -> str:
        return f"<div>{self.description or ''}</div><div><p>(porter v{__version__})</p></div>"


def namespaced(namespace: str) -> str:
    """With a leading slash, and without a trailing one: `n/s/` gives `/n/s`."""
    led = namespace if not namespace or namespace.startswith("/") else f"/{namespace}"
    return led.removesuffix("/")


def endpoint_of(namespace: str, name: str, api_version: str, action: str) -> str:
    return f"{namespaced(namespace)}/{name}/{api_version}/{action}"


def request_schema(features: schemas.Object | None, *, batch: bool) -> schemas.ApiObject | None:
    """Rows as they are sent: the features and a required id."""
    if features is None:
        return None
    properties = {"id": schemas.Integer("Tells the rows of a request apart."), **(features.properties or {})}
    row = schemas.Object(
        features.description,
        properties=properties,
        required=["id", *features.required],
        additional_properties_type=features.additional_properties_type,
        additional_params=features.additional_params,
        reference_name=features.reference_name,
    )
    return schemas.Array(item_type=row) if batch else row


def response_schema(prediction: schemas.ApiObject | None, *, batch: bool) -> schemas.Object:
    """The reply to rows; a prediction is a number where nothing else is said."""
    row = schemas.Object(
        "What the model answers to one row.",
        properties={"id": schemas.Integer("The row's."), "prediction": prediction or schemas.Number("The model's.")},
    )
    return schemas.Object(
        properties={
            "request_id": schemas.request_id,
            "model_context": schemas.model_context,
            "predictions": schemas.Array(item_type=row) if batch else row,
        }
    )


ERROR_SCHEMAS = tuple(schemas.ResponseSchema(schemas.model_context_error, status) for status in (400, 415, 422, 500))
LIVE_SCHEMA = schemas.ResponseSchema(schemas.String("That it is live."), 200)


def operations(
    requests: Mapping[str, schemas.ApiObject | None], responses: Mapping[str, schemas.ApiObject], name: str
) -> tuple[Definition, dict[str, Definition]]:
    """A prediction service's part of the docs."""
    taken = {method: schemas.RequestSchema(one) for method, one in requests.items() if one is not None}
    given = {method: [schemas.ResponseSchema(one, 200), *ERROR_SCHEMAS] for method, one in responses.items()}
    return path_item(taken, {"GET": [LIVE_SCHEMA], **given}, [name])
