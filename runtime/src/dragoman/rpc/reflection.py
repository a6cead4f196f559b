"""Standard reflection (grpc.reflection.v1alpha): what services there are, and the descriptions of their messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.message import DecodeError

from dragoman.proto import health, open_inference, seldon
from dragoman.proto import reflection as pb
from dragoman.rpc.call import Call, Method
from dragoman.rpc.status import Status

SERVICE = "grpc.reflection.v1alpha.ServerReflection"
METHOD = f"/{SERVICE}/ServerReflectionInfo"


class Reflection:
    def __init__(self, services: Sequence[str]) -> None:
        self._services = sorted(services)
        self._pool = descriptor_pool.DescriptorPool()
        for file in (any_pb2, open_inference, seldon, health, pb):
            self._pool.AddSerializedFile(file.DESCRIPTOR.serialized_pb)
        self._answers: Mapping[str, Callable[[Any], dict[str, Any]]] = {
            "file_by_filename": lambda name: self._file(self._pool.FindFileByName(name)),
            "file_containing_symbol": self._containing,
            "file_containing_extension": self._extension,
            "all_extension_numbers_of_type": self._extension_numbers,
            "list_services": self._listed,
        }

    def method(self, **options: Any) -> Method:
        return Method(converse=self._converse, is_stream=True, **options)

    def _converse(self, call: Call, sent: bytes | None) -> None:
        if sent is None:
            call.end()
            return
        try:
            request = pb.ServerReflectionRequest.FromString(sent)
        except DecodeError:
            call.end(Status.INVALID_ARGUMENT, f"the {len(sent)} bytes sent are not a ServerReflectionRequest")
        else:
            call.reply(self.answer(request).SerializeToString())

    def answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        """Each request is answered by itself. What is not there is an answer, too."""
        asked = request.WhichOneof("message_request")
        try:
            if asked is None:
                found = _error(Status.INVALID_ARGUMENT, "the request asks for nothing")
            else:
                found = self._answers[asked](getattr(request, asked))
        except KeyError:
            found = _error(Status.NOT_FOUND, f"{asked}: there is no {getattr(request, str(asked))} here")
        return pb.ServerReflectionResponse(valid_host=request.host, original_request=request, **found)

    def _containing(self, symbol: str) -> dict[str, Any]:
        try:
            return self._file(self._pool.FindFileContainingSymbol(symbol))
        except KeyError:  # it finds no methods
            service, _, method = symbol.rpartition(".")
            return self._file(self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file)

    def _file(self, file: Any) -> dict[str, Any]:
        """A file, and all that it imports, each once."""
        found: dict[str, bytes] = {}
        pending = [file]
        while pending:
            one = pending.pop()
            if one.name not in found:
                found[one.name] = one.serialized_pb
                pending += one.dependencies
        return {"file_descriptor_response": pb.FileDescriptorResponse(file_descriptor_proto=list(found.values()))}

    def _extension(self, asked: pb.ExtensionRequest) -> dict[str, Any]:
        extension: Any = self._pool.FindExtensionByNumber(self._pool.FindMessageTypeByName(asked.containing_type), asked.extension_number)
        return self._file(extension.file)

    def _extension_numbers(self, name: str) -> dict[str, Any]:
        numbers = sorted(one.number for one in self._pool.FindAllExtensions(self._pool.FindMessageTypeByName(name)))
        return {"all_extension_numbers_response": pb.ExtensionNumberResponse(base_type_name=name, extension_number=numbers)}

    def _listed(self, _: str) -> dict[str, Any]:
        return {"list_services_response": pb.ListServiceResponse(service=[pb.ServiceResponse(name=name) for name in self._services])}


def _error(status: Status, message: str) -> dict[str, Any]:
    return {"error_response": pb.ErrorResponse(error_code=int(status), error_message=message)}
