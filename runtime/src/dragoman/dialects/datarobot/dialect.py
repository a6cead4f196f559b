"""The dialect: its paths, what is not there, errors, the example."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dragoman import json
from dragoman.datarobot_options import Datarobot as Options
from dragoman.dialects.datarobot import documentation
from dragoman.dialects.datarobot.credentials import credentials
from dragoman.dialects.datarobot.deployment import ROOT, Deployment, check_request_line, example_rows, refusal
from dragoman.dialects.datarobot.refusals import NOT_FOUND
from dragoman.dialects.dialect import Answer, Model, Predict, Reply, Request, Surface
from dragoman.errors import BadRequest, CallError, MethodNotAllowed, NotFound, UriTooLong

ENCODINGS = frozenset({"identity", "gzip", "bz2"})
KEEP_ALIVE_SECONDS = 600.0
_BARE = re.compile(re.escape(ROOT) + r"/[^/]+")
_ALLOWED = ("Allow", "OPTIONS, POST")


class DataRobot:
    """`POST /predApi/v1.0/deployments/{deploymentId}/predictions` and `…/predictionExplanations`."""

    name = option = "datarobot"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """Raises `SignatureMismatch` where a loaded model cannot be what its options say."""
        predicts, answers, paths = [], [], {}
        owners: dict[str, Deployment] = {}
        for model, options in models:
            assert isinstance(options, Options)
            one = Deployment(model, options)
            for path, decode in (("predictions", one.decode_predictions), ("predictionExplanations", one.decode_explanations)):
                where = f"{one.path}/{path}"
                predicts.append(Predict(where, model, decode, one.encode, encodings=ENCODINGS, error=one.error))
                answers.append(Answer(where, _preflight(one), "OPTIONS", guarded=False, model=model))
                paths[where], owners[where] = documentation.path_item(one, path), one
        return Surface(
            predicts,
            answers,
            prefixes=("/predApi",),
            error=_refusing(owners),
            not_found=not_found,
            credentials=_presented(owners),
            openapi=paths,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
        )

    def error(self, error: CallError, request: Request) -> Reply:
        return refusal(error, request)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        assert isinstance(options, Options)
        url = f"{base_url}{ROOT}/{options.deployment_id or model.name}/predictions"
        rows = json.encode(example_rows(model.signature)).decode()
        key = f' -H "datarobot-key: ${options.datarobot_key_env}"' if options.datarobot_key_env else ""
        return f"curl -s {shlex.quote(url)} -H 'content-type: application/json' -d {shlex.quote(rows)}{key}"


def not_found(request: Request) -> CallError:
    """A POST to a deployment itself is a 400, with the text of a 404: so the original answers it."""
    try:
        check_request_line(request)
    except UriTooLong as error:
        return error
    return BadRequest(NOT_FOUND) if request.method == "POST" and _BARE.fullmatch(request.path) else NotFound(NOT_FOUND)


def _preflight(one: Deployment) -> Callable[[Request], Reply]:
    """What a browser asks before it posts: no credentials are needed."""
    return lambda request: Reply(200, b"", "text/plain", (_ALLOWED, *one.headers(request)))


def _refusing(owners: Mapping[str, Deployment]) -> Callable[[CallError, Request], Reply]:
    """404 and 405: with the headers of the deployment, where the path is one's."""

    def reply(error: CallError, request: Request) -> Reply:
        if isinstance(error, MethodNotAllowed):
            error = MethodNotAllowed("The method is not allowed for the requested URL.", ("OPTIONS", "POST"))
        one = owners.get(request.path)
        return refusal(error, request) if one is None else one.error(error, request)

    return reply


def _presented(owners: Mapping[str, Deployment]) -> Callable[[Request], str]:
    """The token of a request, which has the deployment's datarobot-key too."""

    def token(request: Request) -> str:
        found = credentials(request)
        one = owners.get(request.path)
        if one is not None:
            one.check_key(request)
        return found

    return token
