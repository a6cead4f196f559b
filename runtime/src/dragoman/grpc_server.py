"""The gRPC server of one worker: the dialects' methods, standard health and reflection, on grpc.aio.

It starts after the fork (gRPC does not survive one) and listens with SO_REUSEPORT on the port that the supervisor holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from dragoman.dialects.dialect import Request, Rpc
from dragoman.dialects.v2_grpc import grpc_status
from dragoman.errors import BadRequest, CallError, TooLarge
from dragoman.exchange import CLIENT_LEFT, Worker, request_id, unexpected
from dragoman.grpc_guard import interceptors
from dragoman.proto import open_inference, seldon
from dragoman.registry import Registry, ServedModel

_CONNECTION_AGE_MS = 300_000  # connections age out, so that clients spread over workers and pods again
_STREAMS_SECONDS = 0.5  # at the end of a drain, when the last replies are on their way


class GrpcServer:
    def __init__(self, rpcs: Mapping[str, Sequence[Rpc]], models: Registry, worker: Worker, address: str) -> None:
        limit = max((m.limits.max_request_bytes for m in models.values()), default=0)
        self._server = grpc.aio.server(
            interceptors=interceptors(rpcs, models, worker),
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
                ("grpc.max_connection_age_grace_ms", _CONNECTION_AGE_MS),
            ),
        )
        services = sorted({rpc.method.split("/")[1] for found in rpcs.values() for rpc in found})
        for dialect, found in rpcs.items():
            for service in {rpc.method.split("/")[1] for rpc in found}:
                own = [rpc for rpc in found if rpc.method.split("/")[1] == service]
                handlers = {rpc.method.split("/")[2]: _handler(dialect, rpc, models, worker) for rpc in own}
                self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server, _reflected())
        self._services = ("", *services)
        self._address = address
        self._admission = worker.admission

    async def start(self) -> None:
        self._server.add_insecure_port(self._address)
        await self._server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float, timeout_seconds: float) -> None:
        """Health falls at once; after the grace no new calls are taken, and those in flight finish.

        Streams (a client that watches health) are not waited for: they have no end of their own.
        """
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(grace_seconds)
        stopping = asyncio.create_task(self._server.stop(timeout_seconds))
        await asyncio.sleep(0.05)  # what was accepted last is counted by now
        while self._admission.in_flight and not stopping.done():
            await asyncio.sleep(0.01)
        await self._server.stop(_STREAMS_SECONDS)
        await stopping

    async def _say(self, status: Any) -> None:
        for service in self._services:
            await self._health.set(service, status)


def _reflected() -> Any:
    """The pool that reflection answers from: every dialect's own messages, and those of health and reflection beside them."""
    pool = descriptor_pool.DescriptorPool()
    for file in (health_pb2, reflection_pb2, open_inference, any_pb2, seldon):
        pool.AddSerializedFile(file.DESCRIPTOR.serialized_pb)
    return pool


def _handler(dialect: str, rpc: Rpc, models: Registry, worker: Worker) -> Any:
    behave = _predicting(dialect, rpc, models, worker) if rpc.decode else _answering(dialect, rpc, worker)
    return grpc.unary_unary_rpc_method_handler(behave, request_deserializer=_parser(rpc), response_serializer=rpc.serialize)


def _predicting(dialect: str, rpc: Rpc, models: Registry, worker: Worker) -> Callable[[Any, Any], Awaitable[Any]]:
    assert rpc.model
    assert rpc.decode
    assert rpc.encode
    find, decode, encode = rpc.model, rpc.decode, rpc.encode
    limits_differ = len({model.limits.max_request_bytes for model in models.values()}) > 1  # the server itself knows only the largest

    async def predict(message: Any, context: Any) -> Any:
        started = time.monotonic()
        seen = _request(rpc, context)
        name, entered, code = "", False, 200
        try:
            worker.admission.enter()
            entered = True
            model = models[find(_understood(message)).name]
            name = model.name
            if limits_differ:
                _refuse_large(message, model)
            remaining = context.time_remaining()
            deadline = started + min(model.limits.timeout_seconds, remaining if remaining is not None else float("inf"))
            if model.pool is not None and not model.pool.use(model):
                await model.pool.bring(model, deadline)
            call = decode(message, model)
            return encode(message, model, call, await model.predict(call, deadline))
        except CallError as error:
            code = error.status
            worker.note(error, seen, entered=entered)
            await _abort(context, error, seen)
        except asyncio.CancelledError:
            code = CLIENT_LEFT
            raise
        except Exception as error:  # noqa: BLE001  the edge of a call
            code = 500
            await _abort(context, unexpected(error, seen), seen)
        finally:
            if entered:
                worker.admission.leave()
            worker.observe(name, dialect, code, started, seen)

    return predict


def _answering(dialect: str, rpc: Rpc, worker: Worker) -> Callable[[Any, Any], Awaitable[Any]]:
    assert rpc.reply
    reply = rpc.reply

    async def answer(message: Any, context: Any) -> Any:
        started = time.monotonic()
        seen = _request(rpc, context)
        code = 200
        try:
            asked = _understood(message)
            if rpc.model is not None:
                await worker.prepare(rpc, rpc.model(asked), started)
            return reply(asked)
        except CallError as error:
            code = error.status
            await _abort(context, error, seen)
        except Exception as error:  # noqa: BLE001  the edge of a call
            code = 500
            await _abort(context, unexpected(error, seen), seen)
        finally:
            worker.observe("", dialect, code, started, seen)

    return answer


def _parser(rpc: Rpc) -> Callable[[bytes], Any]:
    """The message, or what is wrong with it: raised here, gRPC would make an internal error of it."""

    def parse(sent: bytes) -> Any:
        try:
            return rpc.parse(sent)
        except DecodeError:
            return BadRequest(f"the {len(sent)} bytes sent to {rpc.method} are not the message that it takes")

    return parse


def _understood(message: Any) -> Any:
    if isinstance(message, BadRequest):
        raise message
    return message


def _refuse_large(message: Any, model: ServedModel) -> None:
    limit = model.limits.max_request_bytes
    if message.ByteSize() > limit:
        raise TooLarge(f"the message is larger than {limit} bytes (serving.limits.maxRequestBytes)")


def _request(rpc: Rpc, context: Any) -> Request:
    """What logs and metrics need of a call, in the shape that HTTP requests have. Its id goes back whatever becomes of it."""
    headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    seen = Request("POST", rpc.method, headers, b"", request_id=request_id(headers))
    context.set_trailing_metadata((("x-request-id", seen.request_id),))
    return seen


async def _abort(context: Any, error: CallError, request: Request) -> None:
    await context.abort(grpc_status(error), error.message, trailing_metadata=(("x-request-id", request.request_id),))
