"""The Open Inference Protocol (v2) over gRPC: its methods, and its calls as protobuf messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import numpy as np

from dragoman import __version__
from dragoman.call import Call, Prediction
from dragoman.dialects.dialect import Model, Rpc
from dragoman.errors import BadRequest
from dragoman.open_inference import (
    EXTENSIONS,
    GRPC_CONTENTS,
    GRPC_SERVICE,
    ORDERS,
    SERVER,
    call_of,
    index_of,
    is_ready,
    metadata_of,
    served,
)
from dragoman.proto import open_inference as pb
from dragoman.tensors import Tensor, bytes_of, elements_of, tensor_of_array, tensor_of_bytes, tensor_of_output, text_of


def rpcs_of(by_name: Mapping[str, Model]) -> list[Rpc]:
    """The methods of `inference.GRPCInferenceService` for these models."""
    about = pb.ServerMetadataResponse(name=SERVER, version=__version__, extensions=EXTENSIONS)
    live = pb.ServerLiveResponse(live=True)
    return [
        _rpc("ServerLive", lambda request: live, guarded=False),
        _rpc("ServerReady", lambda request: pb.ServerReadyResponse(ready=is_ready(by_name)), guarded=False),
        _rpc("ServerMetadata", lambda request: about),
        _rpc("ModelReady", lambda request: _model_ready(by_name, request), guarded=False),
        _rpc(
            "ModelMetadata",
            lambda request: _model_metadata(by_name, request),
            lambda request: served(by_name, request.name, request.version),
            describes=True,
        ),
        _rpc("RepositoryIndex", lambda request: _index(by_name, request)),
        *(_ordering(order, by_name) for order in ORDERS),
        Rpc(
            f"/{GRPC_SERVICE}/ModelInfer",
            pb.ModelInferRequest.FromString,
            pb.ModelInferResponse.SerializeToString,
            model=lambda request: served(by_name, request.model_name, request.model_version),
            decode=_decode,
            encode=_encode,
        ),
    ]


def _rpc(method: str, reply: Callable[[Any], Any], model: Callable[[Any], Model] | None = None, **options: Any) -> Rpc:
    request, response = getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response")
    return Rpc(f"/{GRPC_SERVICE}/{method}", request.FromString, response.SerializeToString, reply, model, **options)


def _ordering(order: Literal["load", "unload"], by_name: Mapping[str, Model]) -> Rpc:
    method = f"RepositoryModel{order.capitalize()}"
    done = getattr(pb, f"{method}Response")()
    return _rpc(method, lambda request: done, lambda request: served(by_name, request.model_name), admin=True, order=order)


# --- metadata, health, repository --------------------------------------------------------------------------------


def _model_ready(models: Mapping[str, Model], request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
    return pb.ModelReadyResponse(ready=served(models, request.name, request.version).ready)


def _model_metadata(models: Mapping[str, Model], request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
    found = metadata_of(served(models, request.name, request.version))
    inputs, outputs = ([pb.ModelMetadataResponse.TensorMetadata(**t) for t in tensors] for tensors in (found.inputs, found.outputs))
    return pb.ModelMetadataResponse(name=found.name, versions=found.versions, platform=found.platform, inputs=inputs, outputs=outputs)


def _index(models: Mapping[str, Model], request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
    entries = [pb.RepositoryIndexResponse.ModelIndex(**msgspec.to_builtins(e)) for e in index_of(models, ready=request.ready)]
    return pb.RepositoryIndexResponse(models=entries)


# --- requests ----------------------------------------------------------------------------------------------------


def _decode(request: pb.ModelInferRequest, model: Model) -> Call:
    raw, inputs = request.raw_input_contents, request.inputs
    if raw:
        if len(raw) != len(inputs):
            raise BadRequest(f"raw_input_contents has {len(raw)} entries, there are {len(inputs)} inputs")
        tensors = [_raw_tensor(message, content) for message, content in zip(inputs, raw, strict=True)]
    else:
        tensors = [_typed_tensor(message) for message in inputs]
    parameters = _parameters(request.parameters)
    content_types = [parameters.get("content_type"), *[_parameters(message.parameters).get("content_type") for message in inputs]]
    return call_of(model, tensors, parameters, [output.name for output in request.outputs], content_types, context=None)


def _raw_tensor(message: pb.ModelInferRequest.InferInputTensor, content: bytes) -> Tensor:
    if message.HasField("contents") and message.contents.ByteSize():
        raise BadRequest(f"tensor {message.name!r} has contents beside raw_input_contents")
    return tensor_of_bytes(message.name, message.datatype, list(message.shape), content)


def _typed_tensor(message: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    name, datatype, shape = message.name, message.datatype, list(message.shape)
    field = GRPC_CONTENTS.get(datatype)
    if field is None and datatype in ("FP16", "BF16"):
        raise BadRequest(f"tensor {name!r}: {datatype} has no typed contents, send raw_input_contents")
    filled = message.contents.ListFields()
    for other, _ in filled:
        if other.name != field:
            raise BadRequest(f"tensor {name!r} of {datatype} has its elements in {other.name}, not in {field or 'a field of its own'}")
    values = filled[0][1] if filled else ()
    if datatype == "BYTES":
        elements = np.empty(len(values), dtype=object)
        elements[:] = [text_of(name, i, value) for i, value in enumerate(values)]
        return tensor_of_array(name, datatype, shape, elements)
    return tensor_of_array(name, datatype, shape, np.fromiter(values, _CONTENTS_DTYPES.get(field or "", "f8"), len(values)))


_CONTENTS_DTYPES: Mapping[str, str] = {
    "bool_contents": "?",
    "int_contents": "i4",
    "int64_contents": "i8",
    "uint_contents": "u4",
    "uint64_contents": "u8",
    "fp32_contents": "f4",
    "fp64_contents": "f8",
}


_NONE: Mapping[str, Any] = MappingProxyType({})


def _parameters(given: Mapping[str, pb.InferParameter]) -> Mapping[str, Any]:
    if not given:
        return _NONE
    parameters = {}
    for name, value in given.items():
        chosen = value.WhichOneof("parameter_choice")
        parameters[name] = getattr(value, chosen) if chosen else None
    return parameters


# --- replies -----------------------------------------------------------------------------------------------------


def _encode(request: pb.ModelInferRequest, model: Model, call: Call, prediction: Prediction, request_id: str) -> pb.ModelInferResponse:
    """Raw where the request was raw, or where an output has no typed contents (FP16); else typed."""
    tensors = [tensor_of_output(name, prediction.outputs[name]) for name in call.outputs]
    raw = bool(request.raw_input_contents)
    for tensor in tensors:
        raw = raw or tensor.datatype not in GRPC_CONTENTS
    reply = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id or request_id)
    for tensor in tensors:
        message = reply.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            reply.raw_output_contents.append(bytes_of(tensor))
        else:
            _fill(message.contents, tensor)
    return reply


def _fill(contents: pb.InferTensorContents, tensor: Tensor) -> None:
    getattr(contents, GRPC_CONTENTS[tensor.datatype]).extend(elements_of(tensor))
