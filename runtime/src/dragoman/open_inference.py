"""What the Open Inference Protocol (v2) says over REST and over gRPC alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from dragoman.call import PREDICT, Call
from dragoman.dialects.dialect import Model
from dragoman.errors import BadRequest, NotFound, NotReady
from dragoman.manifest import State
from dragoman.readings import described_inputs, described_outputs, table_of
from dragoman.tensors import Tensor

SERVER = "dragoman"
EXTENSIONS = ("binary_tensor_data", "model_repository")
GRPC_SERVICE = "inference.GRPCInferenceService"
ORDERS: tuple[Literal["load", "unload"], ...] = ("load", "unload")  # of the model repository extension, for administrators

# Where the elements of a tensor are when they are not raw; FP16 and BF16 have no field.
GRPC_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

# Request parameters that the protocol and its extensions know (Triton's sequences and scheduling, MLServer's content types); any other
# is the model's.
_PROTOCOL_PARAMETERS = frozenset(
    {"binary_data_output", "content_type", "headers", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"}
)

# Formats whose methods the model's author wrote, arguments and all. What a library's own predict takes (`check_input=False`) is not
# for clients to say: there, other parameters go unread, as the protocol has it.
_FORMATS_WITH_ARGUMENTS = frozenset({"python"})

_STATES: Mapping[State, str] = {
    "Pending": "LOADING",
    "Fetching": "LOADING",
    "Loading": "LOADING",
    "Loaded": "READY",
    "Unloaded": "UNAVAILABLE",
    "Failed": "UNAVAILABLE",
}


class ModelMetadata(msgspec.Struct, frozen=True):
    name: str
    versions: list[str]
    platform: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class IndexEntry(msgspec.Struct, frozen=True):
    name: str
    version: str
    state: str
    reason: str


def served(models: Mapping[str, Model], name: str, version: str = "") -> Model:
    """The model of that name, and of that version if one is asked for; `NotFound` names what there is."""
    model = models.get(name)
    if model is None:
        raise NotFound(f"model {name!r} is not served here; it serves {', '.join(models)}")
    if version and version != model.version:
        raise NotFound(f"model {name!r} has version {model.version!r}, not {version!r}")
    return model


def is_ready(models: Mapping[str, Model]) -> bool:
    """Whether the server can be asked: some model is ready, none is on its way. One that failed or is unloaded does not stop the others."""
    all_of_them = models.values()
    return any(m.ready for m in all_of_them) and all(m.ready or m.state in ("Failed", "Unloaded") for m in all_of_them)


def metadata_of(model: Model) -> ModelMetadata:
    if model.state != "Loaded":
        raise NotReady(f"model {model.name!r} is not ready: {model.reason or model.state}")
    versions = [model.version] if model.version else []
    return ModelMetadata(model.name, versions, model.format, described_inputs(model.signature), described_outputs(model.signature))


def index_of(models: Mapping[str, Model], *, ready: bool) -> list[IndexEntry]:
    """All models, or those that are ready."""
    found = [m for m in models.values() if m.ready or not ready]
    return [IndexEntry(m.name, m.version, "READY" if m.ready else _STATES[m.state], m.reason) for m in found]


def call_of(
    model: Model,
    tensors: Sequence[Tensor],
    parameters: Mapping[str, Any],
    outputs: Sequence[str],
    content_types: Sequence[Any],
    context: Any,
) -> Call:
    """The call that a request makes. `content_types` are the request's own and then each tensor's, where given."""
    if len(set(outputs)) != len(outputs):
        raise BadRequest(f"output {max(outputs, key=outputs.count)!r} is asked for twice")
    told = content_types[0] or (content_types[1] if len(content_types) == 2 else None)  # a tensor's own decides if it is the only one
    table = table_of(tensors, model.signature, told if isinstance(told, str) else None)
    arguments: Mapping[str, Any] = {}
    if parameters and model.format in _FORMATS_WITH_ARGUMENTS:
        arguments = {k: v for k, v in parameters.items() if k not in _PROTOCOL_PARAMETERS and not k.startswith("triton_")}
    return Call(table, tuple(outputs) or _default_outputs(model), arguments, context)


def _default_outputs(model: Model) -> tuple[str, ...]:
    """`predict` alone, as MLServer and KServe answer; the first output of a model that has no predict."""
    names = [output.name for output in model.signature.outputs]
    return (PREDICT,) if PREDICT in names or not names else (names[0],)
