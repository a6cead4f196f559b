"""The Open Inference Protocol (v2) over gRPC: the same calls as over REST. What speaks protobuf is imported when a client does."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from dragoman.dialects.dialect import Model, Reply, Request, Rpc, Surface, error_reply
from dragoman.errors import CallError
from dragoman.open_inference import GRPC_CONTENTS, GRPC_SERVICE
from dragoman.readings import example_tensors
from dragoman.tensors import Tensor, elements_of


class V2Grpc:
    """The service `inference.GRPCInferenceService`."""

    name = "v2_grpc"
    option = "v2"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        def rpcs() -> Sequence[Rpc]:
            from dragoman.open_inference_rpcs import rpcs_of

            return rpcs_of({model.name: model for model, _ in models})

        return Surface(rpcs=rpcs)

    def error(self, error: CallError, request: Request) -> Reply:
        """As v2 over REST has it; over gRPC an error is its status and its message."""
        return error_reply(error)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        """A grpcurl command; the server's reflection tells it the messages. `base_url` is host:port, with or without a scheme."""
        address = base_url.partition("://")[2] or base_url
        request = {"model_name": model.name, "inputs": [_as_json(tensor) for tensor in example_tensors(model.signature)]}
        return f"grpcurl -plaintext -d {shlex.quote(json.dumps(request))} {shlex.quote(address)} {GRPC_SERVICE}/ModelInfer"


def _as_json(tensor: Tensor) -> dict[str, Any]:
    """As protobuf writes its messages in JSON: integers of 64 bits as texts, bytes in base64, floats of 32 bits by their few digits."""
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": [str(size) for size in tensor.shape],
        "contents": {GRPC_CONTENTS[tensor.datatype]: [_value(element, tensor.datatype) for element in elements_of(tensor)]},
    }


def _value(value: Any, datatype: str) -> Any:
    if datatype == "BYTES":
        return b64encode(value).decode()
    if datatype == "FP32":
        return float(str(np.float32(value)))
    return str(value) if datatype in ("INT64", "UINT64") else value
