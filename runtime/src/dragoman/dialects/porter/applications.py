"""The application that a model is served as: as its author's own code describes it, or made of the manifest's options and the signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec

from dragoman import dialect_options
from dragoman.dialects.dialect import Model
from dragoman.errors import InvalidSpec
from dragoman.porter import description, schemas
from dragoman.porter.description import App, Service, Switches
from dragoman.signature import Field, Signature, example_of

OPTION = "porter"


@dataclass(frozen=True, slots=True)
class Application:
    """One model's, as it is at the moment of asking: where the author's code runs, the state of its services changes."""

    app: Callable[[], App]
    switches: Callable[[], Switches]


class Living(Protocol):
    """The author's code, where it runs."""

    def describe(self) -> App: ...
    def switches(self) -> Switches: ...


def application(model: Model, options: dialect_options.Porter) -> Application:
    """`InvalidSpec` where options and model do not go together."""
    authored = model.authored.get(OPTION)
    if hasattr(authored, "describe"):
        living = cast("Living", authored)
        return Application(lambda: _authored(living.describe(), options, model), lambda: _switched(living.switches(), options))
    made = _plain(model, options) if authored is None else _authored(msgspec.convert(authored, App), options, model)
    return Application(lambda: made, lambda: made.switches)


def own_code(model: Model) -> bool:
    """Whether the model's code was written as services of this API, and takes whole rows."""
    return OPTION in model.authored


def merged(apps: list[App]) -> App:
    """Several models' services as one application. `InvalidSpec` where they say different things of what is common to all."""
    first, services = apps[0], tuple(service for app in apps for service in app.services)
    _refuse_duplicates(services)
    alike = {name: getattr(first, name) for name in App.__struct_fields__ if name != "services"}
    for app in apps[1:]:
        for name, value in alike.items():
            if getattr(app, name) != value:
                raise InvalidSpec(
                    f"spec.serving.dialects.porter: the models of one server are one application, and differ in {name}: "
                    f"{value!r} and {getattr(app, name)!r}; say the same in each"
                )
    return msgspec.structs.replace(first, services=services)


def _authored(app: App, options: dialect_options.Porter, model: Model) -> App:
    """The author's application, with the manifest's word on how it is shown. What its services are is the author's alone."""
    said = [name for name in _OF_THE_SERVICE if getattr(options, name) != getattr(dialect_options.Porter(), name)]
    if said:
        camel = next(field.encode_name for field in msgspec.structs.fields(options) if field.name == said[0])
        raise InvalidSpec(
            f"spec.serving.dialects.porter.{camel}: the services of model {model.name!r} are written in its code; say it there"
        )
    return _shown(app, options)


def _plain(model: Model, options: dialect_options.Porter) -> App:
    name = model.name if options.name is None else options.name
    try:
        features = _features(model.signature, options)
        prediction = None if options.prediction_schema is None else schemas.of_definition(options.prediction_schema)
    except ValueError as error:
        raise InvalidSpec(f"spec.serving.dialects.porter: {error}") from None
    batch = options.batch_prediction
    request = description.request_schema(features, batch=batch)
    response = description.response_schema(prediction, batch=batch)
    operations, definitions = description.operations({"POST": request}, {"POST": response}, name)
    endpoint = description.endpoint_of(options.namespace, name, options.api_version, options.action)
    service = Service(
        id=endpoint,
        endpoint=endpoint,
        name=name,
        api_version=options.api_version,
        meta=options.meta,
        status="READY" if model.ready else model.state.upper(),
        single=not batch,
        features=_columns(features, model, options),
        request_schema=request.definition() if request is not None and options.validate_request_data else None,
        response_schema=response.definition() if options.validate_response_data else None,
        log_api_calls=options.log_api_calls,
        operations=operations,
        definitions=definitions,
    )
    return _shown(App(services=(service,)), options)


def _shown(app: App, options: dialect_options.Porter) -> App:
    """With the options that are of the application, where they are given."""
    said: dict[str, Any] = {name: value for name in _OF_THE_APP if (value := getattr(options, name)) is not None}
    if options.app is not None:
        said |= {name: value for name in ("name", "description", "version") if (value := getattr(options.app, name)) is not None}
        said |= {"meta": options.app.meta} if options.app.meta else {}
    prefix = said.get("docs_prefix", "")
    for name in ("docs_url", "docs_json_url"):
        if prefix or name in said:
            said[name] = prefix + said.get(name, getattr(App(), name))
    return msgspec.structs.replace(app, **said, switches=_switched(app.switches, options))


def _switched(switches: Switches, options: dialect_options.Porter) -> Switches:
    said = {name: value for name in Switches.__struct_fields__ if (value := getattr(options, name)) is not None}
    return msgspec.structs.replace(switches, **said)


def _features(signature: Signature, options: dialect_options.Porter) -> schemas.Object | None:
    """What is declared, else what the signature says; None where nothing is known."""
    if options.feature_schema is not None:
        declared = schemas.of_definition({"type": "object", **options.feature_schema}, "featureSchema")
        assert isinstance(declared, schemas.Object)
        return declared
    if not signature.inputs:
        return None
    properties = {field.name: _type_of(field) for field in signature.inputs}
    return schemas.Object(properties=properties, required=[field.name for field in signature.inputs if field.required])


def _type_of(field: Field) -> schemas.ApiObject:
    params: dict[str, Any] = {name: value for name in ("minimum", "maximum") if (value := getattr(field, name)) is not None}
    if field.enum:
        params["enum"] = list(field.enum)
    params["example"] = example_of(field)
    return _TYPES[field.type](additional_params={k: _whole(v) for k, v in params.items()}, nullable=field.nullable)


def _whole(value: Any) -> Any:
    """A bound as a message shows it: 0, not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _columns(features: schemas.Object | None, model: Model, options: dialect_options.Porter) -> tuple[str, ...] | None:
    """The columns that the model is given, in its own order."""
    if features is None or not options.infer_feature_columns:
        return None
    declared, signature = tuple(features.properties or ()), model.signature
    if not signature.inputs or options.feature_schema is None:
        return declared
    names = tuple(field.name for field in signature.inputs)
    if not signature.named:
        if len(declared) == len(names):
            return declared  # by position
    elif set(declared) == set(names):
        return names
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise InvalidSpec(
        f"spec.serving.dialects.porter.featureSchema: its properties are {', '.join(declared)}, and model {model.name!r} takes {listed}; "
        "name the same, or leave it out"
    )


def _refuse_duplicates(services: tuple[Service, ...]) -> None:
    seen: set[str] = set()
    for service in services:
        for taken in {service.id, service.endpoint}:
            if taken in seen:
                raise InvalidSpec(f"The id={taken} has already been used: give one of the services another name, apiVersion or namespace")
        seen |= {service.id, service.endpoint}


_TYPES: dict[str, type[schemas.ApiObject]] = {
    "number": schemas.Number,
    "integer": schemas.Integer,
    "string": schemas.String,
    "boolean": schemas.Boolean,
}
_OF_THE_APP = ("expose_docs", "docs_url", "docs_json_url", "docs_prefix")
_OF_THE_SERVICE = (
    "name",
    "api_version",
    "namespace",
    "action",
    "meta",
    "batch_prediction",
    "feature_schema",
    "prediction_schema",
    "infer_feature_columns",
    "validate_request_data",
    "validate_response_data",
    "log_api_calls",
)
