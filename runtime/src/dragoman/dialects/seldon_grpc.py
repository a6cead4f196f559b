"""Seldon's microservice API over gRPC: `Classify`, a row packed in an `Any`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from dragoman.call import RECOMMEND, Call, Prediction
from dragoman.class_results import Naming, outputs_wanted, results_of
from dragoman.dialect_options import Seldon as Options
from dragoman.dialects.dialect import Model, Reply, Request, Rpc, Surface, error_reply
from dragoman.errors import CallError, InvalidData, InvalidSpec
from dragoman.proto import seldon as pb
from dragoman.signature import Signature
from dragoman.table import Table

SERVICE = "io.seldon.api.rpc.Seldon"
INVALID = "Invalid data"  # what clients of the API check for


class SeldonGrpc:
    """The service `io.seldon.api.rpc.Seldon`, of the one model that predicts: its requests name none."""

    name = "seldon_grpc"
    option = "seldon"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """Raises `InvalidSpec` where two models would answer."""
        known = [pair for pair in models if {output.name for output in pair[0].signature.outputs} - {RECOMMEND}]
        found = known or [pair for pair in models if not pair[0].signature.outputs][:1]  # not loaded, or not yet: it says so
        if not found:
            return Surface()
        if len(found) > 1:
            first, second = found[0][0].name, found[1][0].name
            raise InvalidSpec(
                f"models {first!r} and {second!r} both answer {SERVICE}/Classify, which names no model: serve one of them here"
            )
        model, options = found[0]
        assert isinstance(options, Options)
        return Surface(rpcs=lambda: [_classify(model, options)])

    def error(self, error: CallError, request: Request) -> Reply:
        """Over gRPC an error is its status and its message."""
        return error_reply(error)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        """A grpcurl command; the server's reflection tells it the messages. `base_url` is host:port, with or without a scheme."""
        values = [value for value in model.signature.example_row().values() if isinstance(value, int | float)]
        packed = {"@type": "type.googleapis.com/io.seldon.api.rpc.DefaultCustomPredictRequest", "values": values}
        message = json.dumps({"meta": {"puid": "1"}, "data": packed})
        address = base_url.partition("://")[2] or base_url
        return f"grpcurl -plaintext -d {shlex.quote(message)} {shlex.quote(address)} {SERVICE}/Classify"


def _classify(model: Model, options: Options) -> Rpc:
    naming = Naming(options.names, options.confidence)
    name = options.model_name or model.name

    def encode(request: pb.ClassificationRequest, model: Model, call: Call, prediction: Prediction, _: str) -> pb.ClassificationReply:
        results = results_of(prediction, model.signature, naming)
        return pb.ClassificationReply(
            meta=pb.ClassificationReplyMeta(puid=request.meta.puid, modelName=name, variation=model.revision or model.version),
            predictions=[
                pb.ClassificationResult(prediction=r.score, predictedClass=r.name or "", confidence=r.confidence or 0.0) for r in results
            ],
        )

    return Rpc(
        f"/{SERVICE}/Classify",
        pb.ClassificationRequest.FromString,
        pb.ClassificationReply.SerializeToString,
        model=lambda request: model,
        decode=lambda request, model: _decode(request, model.signature),
        encode=encode,
    )


def _decode(request: pb.ClassificationRequest, signature: Signature) -> Call:
    """One row; of a model with a data handler, as the message that this unpacks. Raises `InvalidData`."""
    outputs = outputs_wanted(signature)
    if signature.unpacks:
        packed = np.empty(1, dtype=object)
        packed[0] = request
        return Call(Table.of_columns({"request": packed}), outputs, {"unpack": True}, checked=False)
    return Call(_default_row(request.data), outputs)


def _default_row(data: Any) -> Table:
    sent = pb.DefaultCustomPredictRequest()
    try:
        is_default = data.Unpack(sent)
    except Exception as error:  # protobuf's DecodeError, and what its implementations raise beside it
        raise InvalidData(INVALID) from error
    if not is_default:
        raise InvalidData(INVALID)
    return Table.of_array(np.array([sent.values], dtype=np.float64))
