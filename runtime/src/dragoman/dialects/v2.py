"""The Open Inference Protocol (v2) over REST, with binary tensors and the repository index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dragoman import __version__, json
from dragoman.call import Call, Prediction
from dragoman.dialects.dialect import Answer, Model, Predict, Reply, Request, Surface, curl, error_reply
from dragoman.errors import BadRequest, CallError, NotFound
from dragoman.open_inference import EXTENSIONS, ORDERS, SERVER, call_of, index_of, is_ready, metadata_of, served
from dragoman.open_inference_paths import SERVER_PATHS, example_request, model_paths
from dragoman.readings import described_inputs
from dragoman.tensors import DATATYPES, Tensor, bytes_of, tensor_of_bytes, tensor_of_output, tensor_of_values, values_of

HEADER = "inference-header-content-length"  # length of the JSON part, where bytes come after it


class V2:
    """`/v2`, `/v2/health/…`, `/v2/models/{model}[/versions/{version}][/infer|/ready]`, `/v2/repository/…`."""

    name = option = "v2"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        by_name = {model.name: model for model, _ in models}
        about = json.encode({"name": SERVER, "version": __version__, "extensions": EXTENSIONS})
        live = json.encode({"live": True})
        answers = [
            Answer("/v2", lambda request: Reply(200, about)),
            Answer("/v2/health/live", lambda request: Reply(200, live), guarded=False),
            Answer("/v2/health/ready", lambda request: _readiness({}, is_ready(by_name)), guarded=False),
            Answer("/v2/repository/index", lambda request: _index(by_name, request), "POST"),
        ]
        predicts = []
        for model in by_name.values():
            for path in _paths(model):
                answers.append(Answer(path, _metadata(model), model=model, describes=True))
                answers.append(Answer(f"{path}/ready", _model_readiness(model), guarded=False))  # health, by the protocol's own word
                predicts.append(Predict(f"{path}/infer", model, _decode(model), _encode(model)))
            for verb in ORDERS:
                path = f"/v2/repository/models/{model.name}/{verb}"
                answers.append(Answer(path, lambda request: Reply(200, b""), "POST", model=model, admin=True, order=verb))
        paths = SERVER_PATHS | {path: item for model in by_name.values() for path, item in model_paths(model).items()}
        return Surface(predicts, answers, prefixes=("/v2",), not_found=_not_found(by_name), openapi=paths)

    def error(self, error: CallError, request: Request) -> Reply:
        return error_reply(error)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        return curl(f"{base_url}/v2/models/{model.name}/infer", example_request(model))


def _paths(model: Model) -> list[str]:
    path = f"/v2/models/{model.name}"
    return [path, f"{path}/versions/{model.version}"] if model.version else [path]


# --- metadata and health -----------------------------------------------------------------------------------------


def _readiness(named: Mapping[str, str], ready: bool) -> Reply:
    return Reply(200 if ready else 503, json.encode({**named, "ready": ready}))


def _model_readiness(model: Model) -> Callable[[Request], Reply]:
    return lambda request: _readiness({"name": model.name}, model.ready)


def _metadata(model: Model) -> Callable[[Request], Reply]:
    def reply(request: Request) -> Reply:
        document = msgspec.to_builtins(metadata_of(model))
        if not document["versions"]:
            del document["versions"]
        return Reply(200, json.encode(document))

    return reply


def _index(models: Mapping[str, Model], request: Request) -> Reply:
    asked = json.decode(request.body) if request.body.strip() else {}
    ready = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(ready, bool):
        raise BadRequest('the body must be an object, its "ready" true or false')
    return Reply(
        200, json.encode([{k: v for k, v in msgspec.to_builtins(e).items() if v or k != "version"} for e in index_of(models, ready=ready)])
    )


def _not_found(models: Mapping[str, Model]) -> Callable[[Request], CallError]:
    def why(request: Request) -> CallError:
        parts = request.path.split("/")[2:]
        if parts[:1] == ["repository"]:
            parts = parts[1:]
        try:
            if len(parts) > 1 and parts[0] == "models":
                served(models, parts[1], parts[3] if len(parts) > 3 and parts[2] == "versions" else "")
        except NotFound as error:
            return error
        return NotFound(
            f"nothing is served at {request.path}; v2 has /v2, /v2/health/live, /v2/health/ready, "
            "/v2/models/{model}[/versions/{version}][/infer|/ready] and /v2/repository/index"
        )

    return why


# --- requests ----------------------------------------------------------------------------------------------------


class RequestedOutput(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] | None = None


class InputTensor(msgspec.Struct, frozen=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = msgspec.UNSET


class InferRequest(msgspec.Struct, frozen=True):
    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestedOutput] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reply needs of its request: the id, and which outputs go as bytes."""

    id: str
    binary: frozenset[str]
    binary_rest: bool = False  # of the outputs that `binary` and `json` do not name
    json: frozenset[str] = frozenset()

    def is_binary(self, output: str) -> bool:
        return output in self.binary or (self.binary_rest and output not in self.json)


def _decode(model: Model) -> Callable[[Request], Call]:
    def decode(request: Request) -> Call:
        given = request.headers.get(HEADER)
        if given is None:
            return _call(model, request, request.body, memoryview(b""))
        length = _header_length(given, len(request.body))
        if length == 0:
            tensor = _raw_tensor(model, request.body)
            return call_of(model, [tensor], {}, (), (None,), Asked(request.request_id, frozenset(), binary_rest=True))
        return _call(model, request, request.body[:length], memoryview(request.body)[length:])

    return decode


def _header_length(given: str, available: int) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise BadRequest(f"the header Inference-Header-Content-Length must be a number of bytes, got {given[:40]!r}")
    if int(given) > available:
        raise BadRequest(f"the header Inference-Header-Content-Length says {given} bytes, the body has {available}")
    return int(given)


def _call(model: Model, request: Request, document: bytes, rest: memoryview) -> Call:
    asked = _infer_request(document)
    parameters = asked.parameters or {}
    tensors, taken = [], 0
    for tensor in asked.inputs:
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            tensors.append(_tensor_of_data(tensor))
            continue
        if type(size) is not int or size < 0:
            raise BadRequest(f"tensor {tensor.name!r}: binary_data_size must be a number of bytes, got {size!r}")
        if tensor.data is not msgspec.UNSET:
            raise BadRequest(f"tensor {tensor.name!r} has both 'data' and binary_data_size")
        if taken + size > len(rest):
            raise BadRequest(f"tensor {tensor.name!r}: binary_data_size is {size}, the body has {len(rest) - taken} bytes left for it")
        tensors.append(tensor_of_bytes(tensor.name, tensor.datatype, tensor.shape, rest[taken : taken + size]))
        taken += size
    if taken != len(rest):
        raise BadRequest(f"the body has {len(rest) - taken} bytes more than its JSON part and the tensors' binary_data_size add up to")
    content_types = [parameters.get("content_type"), *((t.parameters or {}).get("content_type") for t in asked.inputs)]
    wanted = [output.name for output in asked.outputs or ()]
    return call_of(model, tensors, parameters, wanted, content_types, _asked(asked, request.request_id))


def _infer_request(document: bytes) -> InferRequest:
    try:
        return msgspec.convert(json.decode(document), InferRequest)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body is not an inference request: {error}") from None


def _tensor_of_data(tensor: InputTensor) -> Tensor:
    if tensor.data is msgspec.UNSET:
        raise BadRequest(f"tensor {tensor.name!r} has neither 'data' nor binary_data_size")
    return tensor_of_values(tensor.name, tensor.datatype, tensor.shape, tensor.data)


def _raw_tensor(model: Model, body: bytes) -> Tensor:
    """The body as the model's one input, which it must describe; a BYTES input takes it as one element, without a length."""
    described = described_inputs(model.signature)
    name, datatype, shape = described[0]["name"], described[0]["datatype"], described[0]["shape"]
    if len(described) > 1 or -1 in shape[1:]:
        raise BadRequest(
            "a body of raw bytes needs a model with one input of known width; this one has " + ", ".join(d["name"] for d in described)
        )
    wire = DATATYPES[datatype].wire
    if wire is None:
        return tensor_of_bytes(name, datatype, [1], len(body).to_bytes(4, "little") + body)
    row = wire.itemsize * (shape[1] if len(shape) == 2 else 1)
    if len(body) % row:
        raise BadRequest(f"tensor {name!r}: a row of {datatype} is {row} bytes, the body's {len(body)} are not a number of rows")
    return tensor_of_bytes(name, datatype, [len(body) // row, *shape[1:]], body)


def _asked(request: InferRequest, request_id: str) -> Asked:
    identity = request.id or request_id
    rest = _switch(request.parameters, "binary_data_output", "the request")
    if not request.outputs:
        return Asked(identity, frozenset(), bool(rest))
    said = {output.name: _switch(output.parameters, "binary_data", f"output {output.name!r}") for output in request.outputs}
    binary, as_json = (frozenset(name for name, value in said.items() if value is which) for which in (True, False))
    return Asked(identity, binary, bool(rest), as_json)


def _switch(parameters: Mapping[str, Any] | None, name: str, owner: str) -> bool | None:
    value = (parameters or {}).get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{owner}: parameter {name} must be true or false, got {value!r}")
    return value


# --- replies -----------------------------------------------------------------------------------------------------


def _encode(model: Model) -> Callable[[Request, Call, Prediction], Reply]:
    def encode(request: Request, call: Call, prediction: Prediction) -> Reply:
        asked: Asked = call.context
        document: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "id": asked.id, "outputs": []}
        if not model.version:
            del document["model_version"]
        contents: list[bytes] = []
        for name in call.outputs:
            tensor = tensor_of_output(name, prediction.outputs[name])
            output: dict[str, Any] = {"name": name, "shape": tensor.shape, "datatype": tensor.datatype}
            if asked.is_binary(name):
                contents.append(bytes_of(tensor))
                output["parameters"] = {"binary_data_size": len(contents[-1])}
            else:
                output["data"] = values_of(tensor)
            document["outputs"].append(output)
        head = json.encode(document)
        if not contents:
            return Reply(200, head)
        return Reply(200, b"".join((head, *contents)), "application/octet-stream", ((HEADER, str(len(head))),))

    return encode
