"""The porter API: `/{namespace}/{name}/{api_version}/{action}`, rows with ids in, predictions with the same ids out.

One codec for both ways in: models of any format, by options in the manifest, and services written in Python with `dragoman.porter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dragoman.dialect_options import Porter as Options
from dragoman.dialects.dialect import Model, Reply, Request, Surface, curl
from dragoman.dialects.porter import docs, health
from dragoman.dialects.porter.applications import Application, application, merged, own_code
from dragoman.dialects.porter.endpoint import Endpoint, OwnEndpoint, endpoint
from dragoman.dialects.porter.examples import example_rows
from dragoman.dialects.porter.replies import error_reply
from dragoman.errors import CallError
from dragoman.porter.description import App, Service, Switches
from dragoman.porter.schemas.openapi import inlined


class Porter:
    """Endpoints of services, `/-/alive` and `/-/ready`, the root, and the docs where they are exposed."""

    name = option = "porter"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """`InvalidSpec` where two services share an endpoint, or two models say different things of the one application."""
        told = [(model, application(model, _options(options))) for model, options in models]
        apps = [one.app for _, one in told]
        switches = told[0][1].switches  # all models say the same

        def whole() -> App:
            return merged([app() for app in apps])

        shown = [one for model, its in told for one in _endpoints(model, its)]
        predicts = [predict for one in shown for predict in one.predicts()]
        answers = [answer for one in shown for answer in one.answers()]
        services = whole().services
        return Surface(
            predicts,
            [*answers, *health.answers(whole), *docs.answers(whole)],
            prefixes=("/-", *dict.fromkeys(service.endpoint.rpartition("/")[0] for service in services)),
            error=lambda error, request: error_reply(error, request, switches()),
            openapi={service.endpoint: inlined(_named(service), service.definitions) for service in services},
        )

    def error(self, error: CallError, request: Request) -> Reply:
        """Where no model is concerned."""
        return error_reply(error, request, Switches())

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        app = application(model, _options(options)).app()
        service = next((one for one in app.services if one.predicts), None)
        if service is None:
            return f"curl -s {base_url}/-/alive"
        return curl(f"{base_url}{service.endpoint}", example_rows(service, model.signature))


def _options(options: msgspec.Struct) -> Options:
    assert isinstance(options, Options)
    return options


def _endpoints(model: Model, its: Application) -> list[Endpoint | OwnEndpoint]:
    return [endpoint(model, service, its.switches, own_code=own_code(model)) for service in its.app().services]


def _named(service: Service) -> Mapping[str, Any]:
    """Its operations, each with an id of its own in a document of several APIs."""
    where = service.endpoint.strip("/").replace("/", "_")
    return {
        method: {**operation, "operationId": f"porter_{where}_{method}", "tags": ["porter"]}
        for method, operation in service.operations.items()
    }
