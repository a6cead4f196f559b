"""Seldon's microservice API over REST: `/predict` and `/recommend`, their parameters in the query or in a form."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import orjson

from dragoman import form, json, openapi
from dragoman.call import RECOMMEND, Call, Prediction
from dragoman.class_results import Naming, Result, outputs_wanted, results_of
from dragoman.dialect_options import Seldon as Options
from dragoman.dialects.dialect import Model, Predict, Reply, Request, Surface, error_reply
from dragoman.errors import BadRequest, CallError, ModelFailed
from dragoman.memcached import is_key, memcached_at
from dragoman.table import Table, kind_of

_FORMS = form.MEDIA_TYPES | {""}  # "": a POST whose parameters are all in the query has no body, and no media type
_MAX_KEYS = 100


class Seldon:
    """`/predict` of a model that predicts, `/recommend` of one that recommends; GET, or POST with a form."""

    name = option = "seldon"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """Of a model of which nothing is known, both paths, unless another has them."""
        predicts: list[Predict] = []
        paths: dict[str, Any] = {}
        for path, asked, described in (("/predict", _predicting, _predict_openapi), ("/recommend", _recommending, _recommend_openapi)):
            for model, options in _owners(models, path):
                assert isinstance(options, Options)
                predicts += asked(model, options)
                paths[path] = described(model, options)
        return Surface(predicts, prefixes=("/recommend",), openapi=paths)

    def error(self, error: CallError, request: Request) -> Reply:
        return error_reply(error)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        if _offers(model, "/recommend"):
            query = urlencode({"client": "test", "user_id": _example_user(model), "recent_interactions": "", "limit": 3})
            return f"curl -s {shlex.quote(f'{base_url}/recommend?{query}')}"
        features = shlex.quote("json=" + json.encode(model.signature.example_row()).decode())
        return f"curl -sG {shlex.quote(f'{base_url}/predict')} -d client=test --data-urlencode {features}"


def _owners(models: Sequence[tuple[Model, msgspec.Struct]], path: str) -> list[tuple[Model, msgspec.Struct]]:
    """The models that the path is known to be of; else one of those of which nothing is known, which may never be loaded or not yet."""
    known = [(model, options) for model, options in models if _offers(model, path)]
    return known or [(model, options) for model, options in models if not model.signature.outputs][:1]


def _offers(model: Model, path: str) -> bool:
    names = {output.name for output in model.signature.outputs}
    return RECOMMEND in names if path == "/recommend" else bool(names - {RECOMMEND})


def parameters(request: Request) -> dict[str, str]:
    """Of the query, and of the form where the query does not have them."""
    fields = form.form_fields(request.headers.get("content-type", ""), request.body) if request.body else {}
    return fields | form.query_fields(request.query)


# --- /predict ----------------------------------------------------------------------------------------------------


def _predicting(model: Model, options: Options) -> list[Predict]:
    naming = Naming(options.names, options.confidence)
    shape = _SHAPES[options.shape]
    name = options.model_name or model.name

    def decode(request: Request) -> Call:
        return Call(Table.of_rows([row_of(parameters(request))]), outputs_wanted(model.signature))

    def encode(request: Request, call: Call, prediction: Prediction) -> Reply:
        return Reply(200, json.encode(shape(results_of(prediction, model.signature, naming), name)))

    return [
        Predict("/predict", model, decode, encode, "GET"),
        Predict("/predict", model, decode, encode, "POST", media_types=_FORMS),
    ]


def row_of(given: Mapping[str, str]) -> Any:
    """The one row of `json`: an object of features, or what stands under `data`, an object or the values in the model's order."""
    if "json" not in given:
        raise BadRequest('parameter "json" is missing: it holds the features, such as json={"f1": 4.8, "f2": 3.0}')
    try:
        document = orjson.loads(given["json"])
    except orjson.JSONDecodeError as error:
        raise BadRequest(f'parameter "json" is not valid JSON: {error}') from None
    if not isinstance(document, dict):
        raise BadRequest(f'parameter "json" must be an object of features, or have them under "data", got {kind_of(document)}')
    row = document.get("data")
    return row if isinstance(row, dict | list) else document


def _seldon(results: Sequence[Result], name: str) -> dict[str, Any]:
    return {"predictions": [_element(result, "score", "classId") for result in results]}


def _seldon2(results: Sequence[Result], name: str) -> dict[str, Any]:
    return {"meta": {"modelName": name}, "predictions": [_element(result, "prediction", "predictedClass") for result in results]}


_SHAPES: Mapping[str, Callable[[Sequence[Result], str], dict[str, Any]]] = {"seldon": _seldon, "seldon2": _seldon2}


def _element(result: Result, score: str, class_id: str) -> dict[str, Any]:
    fields = {score: result.score, class_id: result.name, "confidence": result.confidence}
    return {key: value for key, value in fields.items() if value is not None}


# --- /recommend --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client of /recommend sends."""

    client: str
    user_id: int
    limit: int
    recent_interactions: list[int]
    exclusion_items: list[int]
    data_keys: list[str]

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Asked:
        """Lists may be left out, as empty ones. `BadRequest` names the parameter that is missing or malformed."""
        for name in ("client", "user_id", "limit"):
            if name not in given:
                raise BadRequest(f'parameter "{name}" is missing: client, user_id and limit are needed')
        keys = [key for key in given.get("data_key", "").split(",") if key]
        wrong = next((key for key in keys if not is_key(key)), None)
        if wrong is not None or len(keys) > _MAX_KEYS:
            said = f"{wrong[:80]!r} is no key of memcached" if wrong is not None else f"{len(keys)} keys are more than {_MAX_KEYS}"
            raise BadRequest(f'parameter "data_key": {said}')
        user_id, limit = _integer("user_id", given["user_id"]), _integer("limit", given["limit"])
        if limit < 0:
            raise BadRequest(f'parameter "limit" must be 0 or more, got {limit}')
        recent, exclusions = ([_integer(name, text) for text in given.get(name, "").split(",") if given.get(name)] for name in _LISTS)
        return cls(given["client"], user_id, limit, recent, exclusions, keys)

    @property
    def excluded(self) -> frozenset[str]:
        return frozenset(map(str, self.exclusion_items))


def _recommending(model: Model, options: Options) -> list[Predict]:
    look_up = _look_up(options)
    return [
        Predict("/recommend", model, _decode_recommend, _encode_recommend, "GET", look_up=look_up),
        Predict("/recommend", model, _decode_recommend, _encode_recommend, "POST", media_types=_FORMS, look_up=look_up),
    ]


def _look_up(options: Options) -> Callable[[Request], Awaitable[Any]] | None:
    if options.memcached is None:
        return None
    memcached = memcached_at(options.memcached.servers, options.memcached.timeout_seconds)

    async def stored(request: Request) -> Mapping[str, bytes]:
        return await memcached.get(Asked.of(parameters(request)).data_keys)

    return stored


def _decode_recommend(request: Request) -> Call:
    asked = Asked.of(parameters(request))
    stored = candidates(request.found or {}, asked.data_keys)
    ids = [item for item in stored if str(item) not in asked.excluded]
    rows = 0 if stored and not ids else 1  # all that was to choose from is excluded: there is nothing to ask
    # Where the recommender chooses by itself it may choose what is excluded: so many more are asked for.
    limit = asked.limit + (0 if ids else len(asked.excluded))
    users = Table.of_columns({"user": np.full(rows, asked.user_id, dtype=np.int64)}, rows)
    arguments = {"ids": ids, "recent_interactions": asked.recent_interactions, "limit": limit, "client": asked.client}
    return Call(users, (RECOMMEND,), arguments, context=asked, checked=False)


def candidates(found: Mapping[str, bytes], keys: Sequence[str]) -> list[Any]:
    """The union of the lists that are stored under the keys, each id once; a missing key is an empty one."""
    union: dict[Any, None] = {}
    for key in keys:
        try:
            ids = orjson.loads(found.get(key, b"[]"))
        except orjson.JSONDecodeError:
            ids = None
        if not isinstance(ids, list) or any(type(item) not in (int, str) for item in ids):
            raise BadRequest(f'parameter "data_key": what memcached has under {key!r} is not a JSON list of item ids')
        union.update(dict.fromkeys(ids))
    return list(union)


def _encode_recommend(request: Request, call: Call, prediction: Prediction) -> Reply:
    asked: Asked = call.context
    pairs = prediction.outputs[RECOMMEND][0] if prediction.rows else []
    return Reply(200, json.encode({"recommended": recommended(pairs, asked.excluded, asked.limit)}))


def recommended(pairs: Any, excluded: frozenset[str], limit: int) -> list[dict[str, Any]]:
    """Best first, scaled, without what is excluded. `ModelFailed` where these are no pairs of item and finite score."""
    try:
        found = [(item, float(score)) for item, score in pairs]
    except (TypeError, ValueError):
        raise ModelFailed("the model's recommend must give pairs of (item, score)") from None
    for item, score in found:
        if not math.isfinite(score):
            raise ModelFailed(f"the model's recommend gave item {item} the score {score}, which is not a finite number")
    best = sorted((pair for pair in found if str(pair[0]) not in excluded), key=lambda pair: -pair[1])[:limit]
    scores = scaled([score for _, score in best])
    return [{"item": item, "score": score} for (item, _), score in zip(best, scores, strict=True)]


def scaled(scores: Sequence[float]) -> list[float]:
    """To 0..1, the best being 1: as parts of the best; where some are negative, by where they lie between the worst (0) and the best."""
    if not scores:
        return []
    best, least = max(scores), min(0.0, *scores)
    if best == least:
        return [1.0] * len(scores)
    return [(score - least) / (best - least) for score in scores]


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise BadRequest(f'parameter "{name}" must be {"integers, comma-separated" if name in _LISTS else "an integer"}, got {text[:80]!r}')
    return int(text)


_INTEGER = re.compile(r"-?[0-9]{1,19}")
_LISTS = ("recent_interactions", "exclusion_items")


# --- documentation -----------------------------------------------------------------------------------------------


def _example_user(model: Model) -> Any:
    return next(iter(model.signature.example_row().values()), 1)


def _predict_openapi(model: Model, options: Options) -> dict[str, Any]:
    number: dict[str, Any] = {"type": ["number", "null"]}
    score, class_id = ("score", "classId") if options.shape == "seldon" else ("prediction", "predictedClass")
    element = {"type": "object", "required": [score], "properties": {score: number, class_id: {"type": "string"}, "confidence": number}}
    properties: dict[str, Any] = {"predictions": {"type": "array", "items": element}}
    if options.shape == "seldon2":
        properties["meta"] = {"type": "object", "properties": {"modelName": {"type": "string"}}}
    reply = {"type": "object", "required": list(properties), "properties": properties}
    row = openapi.row_reference(model)
    under = {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": [row, openapi.values_schema(model.signature)]}}}
    asked = [
        _Parameter("client", {"type": "string"}, "The client's name", "test"),
        _Parameter("json", {"anyOf": [row, under]}, "The features of one row", model.signature.example_row(), required=True, as_json=True),
    ]
    return _item(f"seldon_{model.name}_predict", f"Predict with {model.name}", asked, openapi.reply_schema("One element a class", reply))


def _recommend_openapi(model: Model, options: Options) -> dict[str, Any]:
    integer = {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1}
    keys = {"type": "string", "pattern": "^[!-~]{0,250}$"}
    items = {"type": "string", "pattern": "^(-?[0-9]{1,18}(,-?[0-9]{1,18})*)?$"}
    asked = [
        _Parameter("client", {"type": "string"}, "The client's name", "test", required=True),
        _Parameter("user_id", integer, "Whom to recommend for", _example_user(model), required=True),
        _Parameter("limit", integer | {"minimum": 0}, "The most items that are wanted", 3, required=True),
        _Parameter("recent_interactions", items, "Items that the user has seen of late, comma-separated", ""),
        _Parameter("exclusion_items", items, "Items that are not to be recommended, comma-separated", ""),
        _Parameter("data_key", keys, "Keys in memcached of lists of items to choose from, comma-separated", ""),
    ]
    score = {"type": "number", "minimum": 0, "maximum": 1}
    element = {"type": "object", "required": ["item", "score"], "properties": {"item": {}, "score": score}}
    reply = {"type": "object", "required": ["recommended"], "properties": {"recommended": {"type": "array", "items": element}}}
    return _item(f"seldon_{model.name}_recommend", f"Recommend with {model.name}", asked, openapi.reply_schema("Best first", reply))


@dataclass(frozen=True)
class _Parameter:
    name: str
    schema: Mapping[str, Any]
    description: str
    example: Any
    required: bool = False
    as_json: bool = False

    def in_query(self) -> dict[str, Any]:
        described: dict[str, Any] = {"name": self.name, "in": "query", "required": self.required, "description": self.description}
        if self.as_json:
            return described | {"content": {"application/json": {"schema": self.schema, "example": self.example}}}
        return described | {"schema": self.schema, "example": self.example}


def _item(operation: str, summary: str, asked: Sequence[_Parameter], reply: dict[str, Any]) -> dict[str, Any]:
    """GET with the parameters in the query, POST with them in a form."""
    shared = {"tags": ["seldon"], "summary": summary, "responses": {"200": reply, **openapi.error_replies(openapi.PREDICT_ERRORS)}}
    schema = {
        "type": "object",
        "required": [parameter.name for parameter in asked if parameter.required],
        "properties": {parameter.name: {**parameter.schema, "description": parameter.description} for parameter in asked},
    }
    encoding = {parameter.name: {"contentType": "application/json"} for parameter in asked if parameter.as_json}
    body = {"required": True, "content": {form.MULTIPART: {"schema": schema, "encoding": encoding}}}
    return {
        "get": {"operationId": operation, "parameters": [parameter.in_query() for parameter in asked]} | shared,
        "post": {"operationId": f"{operation}_form", "requestBody": body} | shared,
    }
