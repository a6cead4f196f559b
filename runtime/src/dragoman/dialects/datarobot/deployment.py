"""One deployment: a model and its options. What its requests become, and its replies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from dragoman import json
from dragoman.call import Call, Prediction
from dragoman.datarobot_options import Datarobot as Options
from dragoman.dialects.datarobot import humility, time_series
from dragoman.dialects.datarobot.credentials import check_key
from dragoman.dialects.datarobot.csv_reply import as_csv
from dragoman.dialects.datarobot.csv_rows import read_csv
from dragoman.dialects.datarobot.dataset import Dataset, Wanted
from dragoman.dialects.datarobot.headers import Headers, headers_of
from dragoman.dialects.datarobot.json_reply import as_json
from dragoman.dialects.datarobot.json_rows import read_json
from dragoman.dialects.datarobot.layout import Layout, layout_of
from dragoman.dialects.datarobot.multipart import file_of
from dragoman.dialects.datarobot.negotiation import CSV, JSON, accepted, as_utf8, content_of
from dragoman.dialects.datarobot.parameters import Parameters, parameters_of
from dragoman.dialects.datarobot.refusals import INVALID_TOKEN, Unprocessable
from dragoman.dialects.datarobot.rows import Asked, rows_of
from dragoman.dialects.dialect import Model, Reply, Request
from dragoman.errors import BadRequest, CallError, NotReady, SignatureMismatch, UnknownToken, UriTooLong
from dragoman.signature import Signature
from dragoman.table import Array

REQUEST_LINE_BYTES = 8192
ROOT = "/predApi/v1.0/deployments"


class Deployment:
    """What is known of the model is looked at anew where its signature is another one: it may be loaded on demand."""

    def __init__(self, model: Model, options: Options) -> None:
        """Raises `SignatureMismatch` where a loaded model cannot be what its options say."""
        self.model, self.options = model, options
        self.path = f"{ROOT}/{options.deployment_id or model.name}"
        self._key = _key(options)
        self._name_digits = hashlib.sha256(model.name.encode()).hexdigest()[:12]
        self._known: tuple[Signature, Layout] | None = None
        self._last: tuple[Signature, Parameters, Wanted] | None = None
        if model.state == "Loaded":
            _check_names(self.layout, options, model)

    @property
    def model_id(self) -> str:
        """24 hex digits as the original's ids have: the first twelve are the model's version, as `/status` and the docs show it."""
        return self.options.model_id or (self.model.version or "0" * 12) + self._name_digits

    @property
    def layout(self) -> Layout:
        signature = self.model.signature
        if self._known is None or self._known[0] is not signature:
            self._known = signature, layout_of(signature, self.options, self.model.name)
        return self._known[1]

    # --- requests ---

    def decode_predictions(self, request: Request) -> Call:
        return self._decode(request, explaining=False)

    def decode_explanations(self, request: Request) -> Call:
        return self._decode(request, explaining=True)

    def _decode(self, request: Request, *, explaining: bool) -> Call:
        check_request_line(request)
        self.check_key(request)
        media_type = accepted(request.headers.get("accept", ""))
        parameters = parameters_of(request.query, explaining, self.options.time_series is not None)
        if self.model.state != "Loaded":
            raise NotReady(f"model {self.model.name!r} is not ready: {self.model.reason or self.model.state}")
        layout, signature = self.layout, self.model.signature
        if parameters.max_explanations and not layout.explains:
            raise Unprocessable(f"model {self.model.name!r} has no explanations: send maxExplanations=0, or serve a model that can explain")
        dataset = _dataset(request, self._wanted(parameters))
        asked = Asked(
            layout,
            self.options,
            signature,
            parameters,
            dataset,
            media_type,
            _passthrough(dataset, parameters),
            self._forecast(dataset, parameters),
        )
        if parameters.adjusted and self.options.exposure_column is not None:
            asked = asked.exposed(_exposure(dataset, self.options.exposure_column))
        table = dataset.table if asked.forecast is None else asked.forecast.table
        return Call(table, layout.outputs(parameters.max_explanations > 0), context=asked)

    def _wanted(self, parameters: Parameters) -> Wanted:
        """What is read of a data set: kept from the request before, which mostly asks for the same."""
        signature = self.model.signature
        if self._last is None or self._last[0] is not signature or self._last[1] is not parameters:
            self._last = signature, parameters, self._wanted_of(signature, parameters)
        return self._last[2]

    def _wanted_of(self, signature: Signature, parameters: Parameters) -> Wanted:
        options = self.options
        series = options.time_series
        keep: frozenset[str] | None = None
        if not parameters.passthrough_all and not parameters.max_explanations:
            keep = frozenset(parameters.passthrough) | humility.columns_of(options.humility)
            if parameters.adjusted and options.exposure_column is not None:
                keep |= {options.exposure_column}
            if series is not None:
                keep |= time_series.columns_of(series, self.layout.target)
        fields = signature.inputs
        if series is None:
            return Wanted(fields, signature.named, keep=keep)
        optional = frozenset(series.known_in_advance) if parameters.relaxed else frozenset[str]()
        return Wanted(tuple(f for f in fields if f.name not in time_series.MADE), signature.named, optional, keep)

    def _forecast(self, dataset: Dataset, parameters: Parameters) -> time_series.Forecast | None:
        series = self.options.time_series
        if series is None:
            return None
        return time_series.forecast_of(dataset, series, self.layout.target, self.model.signature, parameters)

    # --- replies ---

    def encode(self, request: Request, call: Call, prediction: Prediction) -> Reply:
        asked = call.context
        assert isinstance(asked, Asked)
        rows = rows_of(asked, prediction)
        body = as_csv(rows) if asked.media_type == CSV else as_json(rows)
        return Reply(200, body, asked.media_type, self.headers(request))

    def error(self, error: CallError, request: Request) -> Reply:
        return refusal(error, request, self.headers(request))

    def headers(self, request: Request) -> Headers:
        return headers_of(request, self.model_id, request.warm and self.model.state == "Loaded")

    def check_key(self, request: Request) -> None:
        """Raises `Unauthorized`."""
        check_key(request, self._key)


def refusal(error: CallError, request: Request, headers: Headers | None = None) -> Reply:
    """`{"message": "<text>"}`; of a token that the core does not know, in the original's words. Without `headers`: of no deployment."""
    message = INVALID_TOKEN if isinstance(error, UnknownToken) else error.message
    ours = headers_of(request) if headers is None else headers
    return Reply(error.status, json.encode({"message": message}), JSON, (*error.headers, *ours))


def check_request_line(request: Request) -> None:
    """Raises `UriTooLong`."""
    if len(request.query) < REQUEST_LINE_BYTES // 2 and len(request.path) < REQUEST_LINE_BYTES // 8:
        return
    query = 1 + len(request.query) if request.query else 0
    size = len(request.method) + len(quote(request.path)) + query + len("  HTTP/1.1")
    if size > REQUEST_LINE_BYTES:
        raise UriTooLong(f"the request line has {size} bytes, it may have {REQUEST_LINE_BYTES}: send fewer passthroughColumns")


def _dataset(request: Request, wanted: Wanted) -> Dataset:
    content, body = content_of(request.headers.get("content-type", "")), request.body
    if content.form == "multipart":
        body, content = file_of(body, content.boundary)
    return _READERS[content.form](as_utf8(body, content.charset), wanted)


_READERS = {"csv": read_csv, "json": read_json}


def _passthrough(dataset: Dataset, parameters: Parameters) -> tuple[str, ...]:
    """The columns in the order asked for."""
    if parameters.passthrough_all:
        return dataset.names
    missing = [name for name in parameters.passthrough if name not in dataset.names]
    if missing and (dataset.names or dataset.rows):
        raise BadRequest(f"passthroughColumns do not match columns, columns expected but not found: {missing}.")
    return parameters.passthrough


def _exposure(dataset: Dataset, name: str) -> Array:
    if name not in dataset.kept and dataset.rows:
        raise Unprocessable(f"columns do not match the model's features, features expected but not found: {[name]}")
    values = dataset.values(name, "number")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadRequest(f"row {i}: {name!r}, the exposure, must be a number, got {json.encode(value).decode()}")
    return np.array(values, dtype=np.float64)


def _key(options: Options) -> str | None:
    if options.datarobot_key_env is None:
        return None
    key = os.environ.get(options.datarobot_key_env, "").strip()
    if not key:
        raise SignatureMismatch(
            f"spec.serving.dialects.datarobot.datarobotKeyEnv: the environment variable {options.datarobot_key_env} is not set; "
            "spec.pod.env can set it from a Secret"
        )
    return key


def _check_names(layout: Layout, options: Options, model: Model) -> None:
    """Features that the options name must be the model's."""
    inputs = {f.name for f in model.signature.inputs}
    if not inputs:
        return
    _check_known(sorted(humility.columns_of(options.humility)), inputs, "humility", model.name)
    if options.time_series is not None:
        _check_known(options.time_series.known_in_advance, inputs, "timeSeries.knownInAdvance", model.name)


def _check_known(names: Sequence[str], inputs: set[str], option: str, model: str) -> None:
    unknown = [name for name in names if name not in inputs]
    if unknown:
        raise SignatureMismatch(
            f"spec.serving.dialects.datarobot.{option}: {unknown[0]!r} is no input of model {model!r}: {sorted(inputs)}"
        )


def example_rows(signature: Signature) -> list[dict[str, Any]]:
    """A row that the model takes."""
    row = {name: value for name, value in signature.example_row().items() if name not in time_series.MADE}
    return [row or {"f0": 0.0}]
