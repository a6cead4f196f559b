"""Standard health (grpc.health.v1): the state of the server and of each service, now and as it changes."""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.message import DecodeError

from dragoman.proto import health as pb
from dragoman.rpc.call import Call, Drop, Method
from dragoman.rpc.status import Status

SERVICE = "grpc.health.v1.Health"
_State = pb.HealthCheckResponse.ServingStatus


class Health:
    def __init__(self, services: Collection[str], *, serving: bool) -> None:
        self._services = {"", *services}
        self._state = _state(serving=serving)
        self._watching: dict[Call, str] = {}  # and which service

    def methods(self) -> dict[str, Method]:
        return {
            f"/{SERVICE}/Check": Method(self._check),
            f"/{SERVICE}/Watch": Method(self._watch, is_stream=True),
        }

    def say(self, *, serving: bool) -> None:
        """From now on; those who watch are told."""
        self._state = _state(serving=serving)
        for call, service in list(self._watching.items()):
            call.reply(self._told(service))

    def finish(self) -> None:
        """Nobody is told any more."""
        for call in list(self._watching):
            call.end(Status.UNAVAILABLE, "the server is shutting down")
        self._watching.clear()

    def _told(self, service: str) -> bytes:
        state = self._state if service in self._services else pb.HealthCheckResponse.SERVICE_UNKNOWN
        return pb.HealthCheckResponse(status=state).SerializeToString()

    def _check(self, call: Call, sent: bytes) -> Drop:
        service = _service_of(call, sent)
        if service is not None and service in self._services:
            call.answer(self._told(service))
        elif service is not None:
            call.end(Status.NOT_FOUND, f"there is no service {service!r} here")
        return None

    def _watch(self, call: Call, sent: bytes) -> Drop:
        service = _service_of(call, sent)
        if service is None:
            return None
        self._watching[call] = service
        call.reply(self._told(service))
        return lambda: self._watching.pop(call, None)


def _state(*, serving: bool) -> _State:
    return pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING


def _service_of(call: Call, sent: bytes) -> str | None:
    try:
        return pb.HealthCheckRequest.FromString(sent).service
    except DecodeError:
        call.end(Status.INVALID_ARGUMENT, f"the {len(sent)} bytes sent are not a HealthCheckRequest")
        return None
