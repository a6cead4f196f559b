"""Certifai's predict API: `{"payload": {"instances": […]}}` in, `{"payload": {"predictions": […], "scores": […]}}` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from dragoman import json, openapi
from dragoman.call import PREDICT, PREDICT_PROBA, Call, Prediction
from dragoman.dialect_options import Certifai as Options
from dragoman.dialects.dialect import Answer, Model, Predict, Reply, Request, Surface, curl
from dragoman.errors import BadRequest, CallError, NotFound, SignatureMismatch, UnsupportedMediaType
from dragoman.signature import Output, Signature
from dragoman.table import Array, Table

_JSON = "application/json"
_OPTION = "spec.serving.dialects.certifai.scores"


class Certifai:
    """`POST /{model}/predict`, or the route that the options name, and `GET /health`."""

    name = option = "certifai"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """Raises `SignatureMismatch` where a loaded model cannot give the scores that its options ask for."""
        predicts, paths = [], {}
        for model, options in models:
            assert isinstance(options, Options)
            path, form = route_of(model, options), form_of(model, options)
            predicts.append(Predict(path, model, _decoder(form), form.encode, media_types=frozenset({_JSON})))
            paths[path] = _openapi(model, path, form)
        answers = [Answer("/health", lambda request: Reply(200, b"OK!", "text/plain; charset=utf-8"), guarded=False)]
        routes = tuple(predict.path for predict in predicts)
        return Surface(predicts, answers, prefixes=routes, not_found=_not_found(routes), openapi=paths)

    def error(self, error: CallError, request: Request) -> Reply:
        """On one line: what a model raised may have several."""
        return Reply(error.status, _payload({"success": False, "error": " ".join(error.message.split())}), headers=error.headers)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        assert isinstance(options, Options)
        return curl(f"{base_url}{route_of(model, options)}", _example_request(model))


def route_of(model: Model, options: Options) -> str:
    """The path that predicts: with a leading slash, and none at its end."""
    return "/" + (options.route or f"{model.name}/predict").strip("/")


def _payload(content: dict[str, Any]) -> bytes:
    return json.encode({"payload": content})


def _not_found(routes: Sequence[str]) -> Any:
    return lambda request: NotFound(f"nothing is served at {request.path}; predictions are at {', '.join(routes)}")


# --- the form of a reply -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """What a model's replies hold.

    `scores` names the output that they are read from, "" for none. Where `labels` are known, predictions follow from the scores,
    so that a reply never contradicts itself; else they are the model's own.
    """

    scores: str = ""
    labels: tuple[Any, ...] = ()
    threshold: float | None = None  # the least score of the positive class, the second of `labels`; None: the highest of a row's scores

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the model that a reply needs."""
        if not self.scores:
            return (PREDICT,)
        return (self.scores,) if self.labels else (PREDICT, self.scores)

    def encode(self, request: Request, call: Call, prediction: Prediction) -> Reply:
        if prediction.rows == 0:
            return Reply(200, _payload({"predictions": []}))
        if not self.scores:
            return Reply(200, _payload({"predictions": json.writable(prediction.outputs[PREDICT])}))
        scores = prediction.outputs[self.scores]
        if self.threshold is not None:
            positive = _positive(scores)
            predictions = [self.labels[score >= self.threshold] for score in positive.tolist()]
            content = {"predictions": predictions, "scores": json.writable(positive), "threshold": self.threshold}
        elif self.labels:
            predictions = [self.labels[best] for best in np.argmax(scores, axis=1).tolist()]
            content = {"predictions": predictions, "scores": json.writable(scores), "labels": self.labels}
        else:
            content = {"predictions": json.writable(prediction.outputs[PREDICT]), "scores": json.writable(scores)}
        return Reply(200, _payload(content))


def form_of(model: Model, options: Options) -> Form:
    """The form that the options ask for; without a word of theirs, all scores of a classifier that has probabilities."""
    if model.state != "Loaded":  # nothing is known of it, and it answers nothing
        return Form()
    signature = model.signature
    if options.scores is None:
        return _all_scores(signature, _output(signature, PREDICT_PROBA)) or Form()
    if options.scores == "none":
        return Form()
    output = _output(signature, PREDICT_PROBA) or _output(signature, PREDICT)
    if options.scores == "all":
        form = _all_scores(signature, output)
        wanted = "one score a class, from predict_proba or (a booster) predict, as many as spec.model.outputs.classes names"
    else:
        form = _positive_scores(signature, output, options.threshold)
        wanted = "a score of two classes, from predict_proba or (a booster) predict, and both named in spec.model.outputs.classes"
    if form is None:
        raise SignatureMismatch(f"{_OPTION}: {options.scores} needs {wanted}; model {model.name!r} gives {_given(signature)}")
    return form


def _output(signature: Signature, name: str) -> Output | None:
    return next((o for o in signature.outputs if o.name == name and o.type == "number"), None)


def _all_scores(signature: Signature, output: Output | None) -> Form | None:
    if output is None or output.width is None or output.width < 2:
        return None
    labels = signature.classes or ()
    if len(labels) != output.width and (labels or output.name == PREDICT):
        return None
    return Form(output.name, labels)


def _positive_scores(signature: Signature, output: Output | None, threshold: float | None) -> Form | None:
    if output is None or output.width not in (None, 1, 2) or len(signature.classes or ()) != 2:
        return None
    return Form(output.name, signature.classes or (), 0.5 if threshold is None else threshold)


def _positive(scores: Array) -> Array:
    """Of the second class: the last column of (rows, 2) or (rows, 1), or (rows,) as it is."""
    found: Array = scores if scores.ndim == 1 else scores[:, -1]
    return found.astype(np.float64, copy=False)


def _given(signature: Signature) -> str:
    outputs = [f"{o.name} ({o.type}, {'one value' if o.width is None else o.width} a row)" for o in signature.outputs]
    classes = f"the classes {', '.join(map(str, signature.classes[:20]))}" if signature.classes else "no classes"
    return f"{' and '.join(outputs) or 'nothing that is known'}, with {classes}"


# --- requests ----------------------------------------------------------------------------------------------------

_EXPECTED = 'Expected format {"payload": {"instances": []}}'
_NOT_INSTANCES = "`instances` must be either be an array of instances or a single instance, containing an array of feature values"


def _decoder(form: Form) -> Any:
    outputs = form.outputs

    def decode(request: Request) -> Call:
        given = request.headers.get("content-type", "")
        if given.partition(";")[0].strip().lower() != _JSON:
            raise UnsupportedMediaType(f"content-type must be {_JSON}, got {given!r}" if given else f"content-type must be {_JSON}")
        return Call(Table.of_rows(instances_of(request.body)), outputs)

    return decode


def instances_of(body: bytes) -> list[list[Any]]:
    """The rows; a flat list is one. Raises `BadRequest` in the API's own words."""
    document = json.decode(body)
    if not isinstance(document, dict) or "payload" not in document:
        raise BadRequest(f"Missing `payload`. {_EXPECTED}")
    payload = document["payload"]
    if not isinstance(payload, dict):
        raise BadRequest(f"`payload` must be of type dict. {_EXPECTED}")
    if "instances" not in payload:
        raise BadRequest(f"Missing `instances`. {_EXPECTED}")
    instances = payload["instances"]
    if not isinstance(instances, list):
        raise BadRequest(_NOT_INSTANCES)
    if instances in ([], [[]]):
        return []
    nested = [isinstance(instance, list) for instance in instances]
    if any(isinstance(instance, dict) for instance in instances) or any(nested) != all(nested):
        raise BadRequest(_NOT_INSTANCES)
    return instances if nested[0] else [instances]


# --- documentation -----------------------------------------------------------------------------------------------


def _example_request(model: Model) -> dict[str, Any]:
    return {"payload": {"instances": [list(model.signature.example_row().values()) or [0.0]]}}


def _openapi(model: Model, path: str, form: Form) -> dict[str, Any]:
    row = openapi.values_schema(model.signature)
    instances = {"anyOf": [{"type": "array", "items": row}, row], "description": "Instances, or the values of one"}
    content: dict[str, Any] = {"predictions": {"type": "array"} if form.scores else openapi.outputs_schema(model.signature, PREDICT)}
    if form.scores:
        score = {"type": ["number", "null"]}
        content["scores"] = {"type": "array", "items": score if form.threshold is not None else {"type": "array", "items": score}}
    if form.threshold is not None:
        content["threshold"] = {"type": "number"}
    elif form.labels:
        content["labels"] = {"type": "array"}
    failure = {"success": {"const": False}, "error": {"type": "string"}}
    errors = {status: text["description"] for status, text in openapi.error_replies(openapi.PREDICT_ERRORS).items()}
    return {
        "post": {
            "operationId": f"certifai_{model.name}_predict",
            "tags": ["certifai"],
            "summary": f"Predict with {model.name}",
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": _in_payload({"instances": instances}), "example": _example_request(model)}},
            },
            "responses": {
                "200": openapi.reply_schema("One item an instance, in their order", _in_payload(content, required=("predictions",))),
                **{status: openapi.reply_schema(text, _in_payload(failure)) for status, text in errors.items()},
            },
        }
    }


def _in_payload(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    inner = {"type": "object", "required": list(properties if required is None else required), "properties": properties}
    return {"type": "object", "required": ["payload"], "properties": {"payload": inner}}
