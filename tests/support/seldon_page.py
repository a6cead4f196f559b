"""The gRPC side of the contract's page, as data; clients are made of it, and of nothing of the server's."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

CLASSIFY = "/io.seldon.api.rpc.Seldon/Classify"
PACKAGE = "io.seldon.api.rpc"
_OF = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _OF.TYPE_STRING, "double": _OF.TYPE_DOUBLE, "float": _OF.TYPE_FLOAT}

# As the page has them: message, then type and name of each field with its number.
PAGE: dict[str, dict[int, str]] = {
    "ClassificationRequest": {1: "ClassificationRequestMeta meta", 2: "google.protobuf.Any data"},
    "ClassificationRequestMeta": {1: "string puid"},
    "ClassificationReply": {
        1: "ClassificationReplyMeta meta",
        2: "repeated ClassificationResult predictions",
        3: "google.protobuf.Any custom",
    },
    "ClassificationReplyMeta": {1: "string puid", 2: "string modelName", 3: "string variation"},
    "ClassificationResult": {1: "double prediction", 2: "string predictedClass", 3: "double confidence"},
    "DefaultCustomPredictRequest": {1: "repeated float values"},
}


def file_of_the_page() -> descriptor_pb2.FileDescriptorProto:
    """The page's messages as a .proto file would describe them."""
    file = descriptor_pb2.FileDescriptorProto(name="page.proto", package=PACKAGE, syntax="proto3", dependency=["google/protobuf/any.proto"])
    for name, fields in PAGE.items():
        message = file.message_type.add(name=name)
        for number, said in fields.items():
            *repeated, kind, field_name = said.split()
            field = message.field.add(name=field_name, number=number, label=_OF.LABEL_REPEATED if repeated else _OF.LABEL_OPTIONAL)
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = _OF.TYPE_MESSAGE, f".{kind}" if "." in kind else f".{PACKAGE}.{kind}"
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file_of_the_page())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in PAGE}


MESSAGES = _classes()


def request_with(packed: Any | None, puid: str = "") -> Any:
    """A request whose data is the message, packed."""
    request = MESSAGES["ClassificationRequest"]()
    request.meta.puid = puid
    if packed is not None:
        request.data.Pack(packed)
    return request


def values(*row: float) -> Any:
    return MESSAGES["DefaultCustomPredictRequest"](values=row)


def classify(channel: grpc.Channel, request: Any, timeout: float = 20) -> Any:
    """The reply, or what the call raises."""
    call = channel.unary_unary(CLASSIFY, type(request).SerializeToString, MESSAGES["ClassificationReply"].FromString)
    return call(request, timeout=timeout)
