"""v2 over gRPC as a codec: the reference client's own messages in, and messages that it reads out."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2, json_format
from grpc_tools import protoc  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rpcs import rpcs_of
from tests.unit.models import IRIS, PENGUINS, ServedAs
from tritonclient.grpc import service_pb2

from dragoman import errors
from dragoman.call import Call, Prediction
from dragoman.check import Checker
from dragoman.dialects.dialect import Rpc
from dragoman.dialects.v2_grpc import V2Grpc
from dragoman.errors import BadRequest, CallError, NotFound, NotReady
from dragoman.open_inference import GRPC_SERVICE
from dragoman.proto import open_inference as pb
from dragoman.rpc.status import status_of
from dragoman.signature import Field, Signature
from dragoman.tensors import DATATYPES

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
LOADING = msgspec.structs.replace(IRIS, name="slow", state="Loading", version="", signature=Signature())
FAILED = msgspec.structs.replace(IRIS, name="bad", state="Failed", reason="ModelLoadFailed: no", version="", signature=Signature())


def rpc(method: str, *models: ServedAs) -> Rpc:
    surface = V2Grpc().surface([(model, msgspec.Struct()) for model in models or (IRIS,)])
    return next(r for r in rpcs_of(surface) if r.method == f"/{GRPC_SERVICE}/{method}")


def answered(method: str, *models: ServedAs, **fields: Any) -> Any:
    """The reply as the reference client's own message."""
    described = rpc(method, *models)
    assert described.reply
    reply = described.reply(described.parse(getattr(service_pb2, f"{method}Request")(**fields).SerializeToString()))
    return getattr(service_pb2, f"{method}Response").FromString(described.serialize(reply))


def decoded(message: Any, model: ServedAs = IRIS) -> Call:
    """From any message: ours, or the reference client's."""
    described = rpc("ModelInfer", model)
    assert described.model
    assert described.decode
    request = described.parse(message.SerializeToString())
    return described.decode(request, described.model(request))


def replied(message: Any, outputs: dict[str, Any]) -> Any:
    """The reply as the reference client's result."""
    described = rpc("ModelInfer")
    assert described.decode
    assert described.encode
    request = described.parse(message.SerializeToString())
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    prediction = Prediction(arrays, len(next(iter(arrays.values()))))
    reply = described.encode(request, IRIS, described.decode(request, IRIS), prediction, "made-here")
    return triton.InferResult(service_pb2.ModelInferResponse.FromString(described.serialize(reply)))


def typed(array: Any, datatype: str = "FP64", field: str = "fp64_contents", name: str = "input", **fields: Any) -> pb.ModelInferRequest:
    array = np.asarray(array)
    request = pb.ModelInferRequest(model_name="iris", **fields)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    getattr(tensor.contents, field).extend(array.reshape(-1).tolist())
    return request


def raw(array: Any, datatype: str = "FP64", name: str = "input", **fields: Any) -> pb.ModelInferRequest:
    array = np.asarray(array)
    request = pb.ModelInferRequest(model_name="iris", **fields)
    request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    return request


def clients_request(array: Any, datatype: str, name: str = "input") -> Any:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    request = service_pb2.ModelInferRequest(model_name="iris")
    request.inputs.extend([given._get_tensor()])
    request.raw_input_contents.extend([given._get_content()])
    return request


def rows_of(call: Call, model: ServedAs = IRIS) -> Any:
    return Checker(model.signature)(call.table).to_numpy().tolist()


# --- the messages ------------------------------------------------------------------------------------------------


def test_the_compiled_messages_are_what_the_proto_file_says(tmp_path: Path) -> None:
    folder = Path(pb.__file__).parent
    made = tmp_path / "made.binpb"
    assert protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={made}", str(folder / "open_inference.proto")]) == 0
    assert (folder / "open_inference.binpb").read_bytes() == made.read_bytes()


def test_every_field_has_the_number_and_type_that_the_reference_client_has() -> None:
    ours, theirs = (descriptor_pb2.FileDescriptorProto() for _ in range(2))
    pb.DESCRIPTOR.CopyToProto(ours)
    service_pb2.DESCRIPTOR.CopyToProto(theirs)
    known = dict(_fields(theirs.message_type, ""))
    for path, field in _fields(ours.message_type, ""):
        assert field == known[path], path
    ours_called, theirs_called = ({m.name: (m.input_type, m.output_type) for m in file.service[0].method} for file in (ours, theirs))
    assert ours_called.items() <= theirs_called.items()


def _fields(messages: Any, prefix: str) -> list[tuple[str, tuple[Any, ...]]]:
    found = []
    for message in messages:
        path = f"{prefix}.{message.name}"
        found += [(f"{path}.{f.name}", (f.number, f.type, f.label, f.type_name, f.oneof_index)) for f in message.field]
        found += _fields(message.nested_type, path)
    return found


# --- requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT32", "UINT8"])
def test_the_reference_clients_arrays_are_rows(datatype: str) -> None:
    array = np.array([[5, 3, 1, 0], [6, 3, 5, 2]], dtype=DATATYPES[datatype].array)
    assert rows_of(decoded(clients_request(array, datatype))) == array.astype(float).tolist()


def test_the_reference_clients_strings_are_a_column() -> None:
    request = clients_request(np.array(["Dream", "größer"], dtype=object), "BYTES", "word")
    words = ServedAs("iris", signature=Signature((Field("word", "string"),)))
    assert decoded(request, words).table.column(0).tolist() == ["Dream", "größer"]


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("FP64", "fp64_contents", [[5.0, 3, 1, 0]]),
        ("FP32", "fp32_contents", [[5.0, 3, 1, 0]]),
        ("INT8", "int_contents", [[5, 3, 1, 0]]),
        ("INT16", "int_contents", [[5, 3, 1, 0]]),
        ("INT32", "int_contents", [[5, 3, 1, 0]]),
        ("INT64", "int64_contents", [[5, 3, 1, 0]]),
        ("UINT8", "uint_contents", [[5, 3, 1, 0]]),
        ("UINT16", "uint_contents", [[5, 3, 1, 0]]),
        ("UINT32", "uint_contents", [[5, 3, 1, 0]]),
        ("UINT64", "uint64_contents", [[5, 3, 1, 0]]),
    ],
)
def test_typed_contents_are_read_from_the_field_of_their_datatype(datatype: str, field: str, values: Any) -> None:
    assert rows_of(decoded(typed(values, datatype, field))) == [[5, 3, 1, 0]]


def test_typed_strings_numbers_and_booleans_are_columns() -> None:
    signature = Signature((Field("member", "boolean"), Field("name", "string"), Field("age", "integer")))
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="name", datatype="BYTES", shape=[2, 1]).contents.bytes_contents.extend([b"Ann", "Zoë".encode()])
    request.inputs.add(name="age", datatype="INT64", shape=[2]).contents.int64_contents.extend([31, 40])
    request.inputs.add(name="member", datatype="BOOL", shape=[2]).contents.bool_contents.extend([True, False])
    table = Checker(signature)(decoded(request, ServedAs("m", signature=signature)).table)
    assert [table.column(i).tolist() for i in range(3)] == [[True, False], ["Ann", "Zoë"], [31, 40]]


def test_parameters_and_outputs_are_read() -> None:
    python = msgspec.structs.replace(IRIS, format="python")
    request = typed(ROWS)
    request.parameters["threshold"].double_param = 0.5
    request.parameters["steps"].int64_param = 3
    request.parameters["verbose"].bool_param = False
    request.parameters["content_type"].string_param = "np"
    request.outputs.add(name="predict_proba")
    call = decoded(request, python)
    assert call.arguments == {"threshold": 0.5, "steps": 3, "verbose": False}
    assert call.outputs == ("predict_proba",)
    request.parameters["content_type"].string_param = "pd"
    with pytest.raises(BadRequest, match="tensor 'input' is not one of the model's inputs"):
        decoded(request)


def both() -> pb.ModelInferRequest:
    request = typed(ROWS)
    request.raw_input_contents.append(np.array(ROWS).tobytes())
    return request


def edited(request: pb.ModelInferRequest, **fields: Any) -> pb.ModelInferRequest:
    """With fields of its first input replaced."""
    for name, value in fields.items():
        if name == "shape":
            request.inputs[0].shape[:] = value
        else:
            setattr(request.inputs[0], name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.ModelInferRequest(model_name="iris"), "'inputs' is empty"),
        (pb.ModelInferRequest(model_name="iris", raw_input_contents=[b""]), "raw_input_contents has 1 entries, there are 0 inputs"),
        (both(), "tensor 'input' has contents beside raw_input_contents"),
        (edited(raw(ROWS), shape=[2, 3]), "tensor 'input': shape [2, 3] of FP64 is 48 bytes, got 64"),
        (edited(raw(ROWS), shape=[-2, -4]), "tensor 'input': a dimension must be between 0 and"),
        (edited(raw(ROWS), shape=[2**40, 2**40]), "tensor 'input': a dimension must be between 0 and"),
        (edited(raw(ROWS), shape=[]), "tensor 'input': shape must have 1 to 8 dimensions, got 0"),
        (edited(raw(ROWS), datatype="BYTES", shape=[1]), "tensor 'input': element 0 reaches beyond"),
        (edited(raw(ROWS), datatype="FLOAT"), "tensor 'input': datatype \"FLOAT\" is not one of"),
        (edited(typed(ROWS), datatype="FLOAT"), "tensor 'input' of FLOAT has its elements in fp64_contents"),
        (edited(typed(ROWS), datatype="FP32"), "tensor 'input' of FP32 has its elements in fp64_contents, not in fp32_contents"),
        (edited(typed(ROWS), datatype="FP16"), "tensor 'input': FP16 has no typed contents, send raw_input_contents"),
        (edited(typed(ROWS), shape=[3, 4]), "tensor 'input': shape [3, 4] is 12 elements, got 8"),
        (edited(typed(ROWS), shape=[2**31 - 1, 2**31 - 1]), "elements, got 8"),
        (typed([[300, 1, 1, 1]], "INT8", "int_contents"), "tensor 'input': element 0 does not fit INT8, got 300"),
        (typed([[b"\xff"]], "BYTES", "bytes_contents"), "tensor 'input': element 0 is not UTF-8 text"),
        (edited(typed(ROWS), shape=[4, 2]), "tensor 'input' has shape [4, 2]: the model takes"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(request_: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoded(request_)
    assert message in str(caught.value)


def test_an_unknown_model_or_version_is_not_found() -> None:
    with pytest.raises(NotFound, match="model 'wine' is not served here; it serves iris"):
        decoded(pb.ModelInferRequest(model_name="wine"))
    with pytest.raises(NotFound, match="model 'iris' has version '0123456789ab', not '7'"):
        decoded(typed(ROWS, model_version="7"))
    assert decoded(typed(ROWS, model_version="0123456789ab")).table.rows == 2


INPUTS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        name=st.sampled_from(["input", "year", "island", "bill_length"]),
        datatype=st.sampled_from([*DATATYPES, "X"]),
        shape=st.lists(st.integers(-1, 4) | st.integers(-(2**63), 2**63 - 1), max_size=3),
        contents=st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "fp64_contents": st.lists(st.floats(), max_size=4),
                "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
                "bytes_contents": st.lists(st.binary(max_size=3), max_size=4),
                "bool_contents": st.lists(st.booleans(), max_size=2),
            },
        ),
    ),
    max_size=3,
)


@given(INPUTS, st.lists(st.binary(max_size=40), max_size=3), st.sampled_from([IRIS, PENGUINS]))
def test_any_message_becomes_rows_or_a_bad_request(inputs: Any, contents: list[bytes], model: ServedAs) -> None:
    request = pb.ModelInferRequest(model_name=model.name, inputs=inputs, raw_input_contents=contents)
    with contextlib.suppress(BadRequest):
        Checker(model.signature)(decoded(request, model).table)


# --- replies -----------------------------------------------------------------------------------------------------

OUTPUTS = {
    "predict": np.array(["setosa", "größer"], dtype=object),
    "predict_proba": np.array([[0.75, 0.25], [0.0, np.nan]]),
    "label": np.array([1, -2]),
    "flag": np.array([True, False]),
    "score": np.array([0.5, 0.1], dtype=np.float32),
    "count": np.array([1, 2], dtype=np.uint16),
}


HALF = {"half": np.array([0.5, 1.5], dtype=np.float16)}


def asking_for(outputs: dict[str, Any], request: pb.ModelInferRequest) -> pb.ModelInferRequest:
    for name in outputs:
        request.outputs.add(name=name)
    return request


@pytest.mark.parametrize(
    ("make", "outputs"), [(raw, OUTPUTS), (raw, OUTPUTS | HALF), (typed, HALF | OUTPUTS)], ids=["raw", "raw FP16", "typed FP16"]
)
def test_the_reference_client_reads_a_raw_reply(make: Any, outputs: dict[str, Any]) -> None:
    result = replied(asking_for(outputs, make(ROWS, id="mine")), outputs)
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("iris", "0123456789ab", "mine")
    assert not any(output.HasField("contents") for output in response.outputs)
    for name, array in outputs.items():
        got = result.as_numpy(name)
        if array.dtype == object:
            got = np.array([value.decode() for value in got], dtype=object)
        np.testing.assert_array_equal(got, array)


def test_a_typed_request_gets_a_typed_reply() -> None:
    response = replied(asking_for(OUTPUTS, typed(ROWS)), OUTPUTS).get_response()
    assert not response.raw_output_contents
    got = {o.name: (o.datatype, list(o.shape), [list(values) for _, values in o.contents.ListFields()]) for o in response.outputs}
    nan = pytest.approx(np.nan, nan_ok=True)
    assert got == {
        "predict": ("BYTES", [2], [[b"setosa", "größer".encode()]]),
        "predict_proba": ("FP64", [2, 2], [[0.75, 0.25, 0.0, nan]]),
        "label": ("INT64", [2], [[1, -2]]),
        "flag": ("BOOL", [2], [[True, False]]),
        "score": ("FP32", [2], [[0.5, float(np.float32(0.1))]]),
        "count": ("UINT16", [2], [[1, 2]]),
    }


def test_a_reply_without_an_id_of_the_clients_has_the_requests() -> None:
    assert replied(raw(ROWS), {"predict": [0, 1]}).get_response().id == "made-here"


# --- metadata, health, repository, errors ------------------------------------------------------------------------


def test_the_server_and_its_models_describe_themselves() -> None:
    about = answered("ServerMetadata")
    assert (about.name, list(about.extensions)) == ("dragoman", ["binary_tensor_data", "model_repository"])
    metadata = answered("ModelMetadata", name="iris")
    assert json_format.MessageToDict(metadata) == {
        "name": "iris",
        "versions": ["0123456789ab"],
        "platform": "sklearn",
        "inputs": [{"name": "input", "datatype": "FP64", "shape": ["-1", "4"]}],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": ["-1"]},
            {"name": "predict_proba", "datatype": "FP64", "shape": ["-1", "3"]},
        ],
    }
    with pytest.raises(NotReady):
        answered("ModelMetadata", LOADING, name="slow")
    with pytest.raises(NotFound):
        answered("ModelMetadata", name="iris", version="7")


def test_health_follows_the_models() -> None:
    assert answered("ServerLive", LOADING).live
    assert answered("ServerReady").ready
    assert not answered("ServerReady", IRIS, LOADING).ready
    assert answered("ModelReady", name="iris", version="0123456789ab").ready
    assert not answered("ModelReady", LOADING, name="slow").ready
    with pytest.raises(NotFound):
        answered("ModelReady", name="wine")


def test_the_repository_is_listed_and_is_an_administrators_to_change() -> None:
    index = answered("RepositoryIndex", IRIS, LOADING, FAILED)
    assert [(m.name, m.version, m.state, m.reason) for m in index.models] == [
        ("iris", "0123456789ab", "READY", ""),
        ("slow", "", "LOADING", ""),
        ("bad", "", "UNAVAILABLE", "ModelLoadFailed: no"),
    ]
    assert [m.name for m in answered("RepositoryIndex", IRIS, LOADING, ready=True).models] == ["iris"]
    for order in ("Load", "Unload"):
        rpc = next(r for r in rpcs_of(V2Grpc().surface([(IRIS, msgspec.Struct())])) if r.method.endswith(f"RepositoryModel{order}"))
        assert (rpc.order, rpc.admin) == (order.lower(), True)


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, CallError)])
def test_every_error_has_a_grpc_status(kind: type[CallError]) -> None:
    expected = {
        400: grpc.StatusCode.INVALID_ARGUMENT,
        401: grpc.StatusCode.UNAUTHENTICATED,
        403: grpc.StatusCode.PERMISSION_DENIED,
        404: grpc.StatusCode.NOT_FOUND,
        408: grpc.StatusCode.DEADLINE_EXCEEDED,
        413: grpc.StatusCode.RESOURCE_EXHAUSTED,
        415: grpc.StatusCode.INVALID_ARGUMENT,
        429: grpc.StatusCode.RESOURCE_EXHAUSTED,
        503: grpc.StatusCode.UNAVAILABLE,
        504: grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    told = status_of(kind.__new__(kind))
    wanted = expected.get(kind.status, grpc.StatusCode.INTERNAL)
    assert (told.name, told.value) == (wanted.name, wanted.value[0])


OTHERS = msgspec.structs.replace(
    IRIS,
    signature=Signature(
        inputs=(
            Field(name="member", type="boolean"),
            Field(name="share", type="number", dtype="float32", minimum=0.1, maximum=0.3),
            Field(name="city", type="string", enum=("Zürich", "Rome")),
            Field(name="age", type="integer"),
        )
    ),
)


@pytest.mark.parametrize("model", [IRIS, PENGUINS, OTHERS])
def test_the_grpcurl_example_predicts(model: ServedAs) -> None:
    words = shlex.split(V2Grpc().example(model, msgspec.Struct(), "http://127.0.0.1:9000"))
    assert words[:3] == ["grpcurl", "-plaintext", "-d"]
    assert words[4:] == ["127.0.0.1:9000", f"{GRPC_SERVICE}/ModelInfer"]
    request = json_format.ParseDict(json.loads(words[3]), pb.ModelInferRequest())
    assert json.loads(words[3]) == json_format.MessageToDict(request, preserving_proto_field_name=True)
    assert Checker(model.signature)(decoded(request, model).table).rows == 1
