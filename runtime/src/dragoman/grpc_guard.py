"""Tokens over gRPC: metadata `authorization: Bearer <token>`, asked for before a call's message is read, where that can be told by then."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from dragoman.dialects.dialect import Request, Rpc, bearer
from dragoman.dialects.v2_grpc import grpc_status
from dragoman.errors import CallError
from dragoman.exchange import Worker, request_id
from dragoman.guard import Check, Guards
from dragoman.registry import Registry

_REFLECTION = "/grpc.reflection."  # documentation; standard health stays open


def interceptors(rpcs: Mapping[str, Sequence[Rpc]], models: Registry, worker: Worker) -> list[GuardInterceptor]:
    """None where no tokens are configured: then nothing stands before a call."""
    guards = Guards(models, worker)
    return [GuardInterceptor(rpcs, guards, worker)] if guards.configured else []


class GuardInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    def __init__(self, rpcs: Mapping[str, Sequence[Rpc]], guards: Guards, worker: Worker) -> None:
        self._guards, self._worker = guards, worker
        self._rpcs = {rpc.method: (dialect, rpc) for dialect, found in rpcs.items() for rpc in found if rpc.guarded}
        self._before: dict[str, Check | None] = {}  # by method: what is checked before the message is read
        for method, (dialect, rpc) in self._rpcs.items():
            early = not rpc.admin and (rpc.model is None or guards.all_need_a_token(dialect))
            self._before[method] = guards.of_dialect(dialect, bearer) if early else None

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The method's handler, behind its check; or one that refuses without reading the message."""
        handler = await continuation(details)
        if handler is None:
            return None
        dialect, rpc = self._rpcs.get(details.method, ("", None))
        headers = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        seen = Request("POST", details.method, headers, b"", request_id=request_id(headers), started=time.monotonic())
        before = self._guards.of_all() if details.method.startswith(_REFLECTION) else self._before.get(details.method)
        try:
            if before is not None:
                before(seen)
        except CallError as error:
            return grpc.stream_stream_rpc_method_handler(self._refusal(error, seen, dialect))
        if rpc is None or rpc.model is None:
            return handler
        behind = self._behind(handler.unary_unary, rpc, dialect, seen)
        return grpc.unary_unary_rpc_method_handler(behind, handler.request_deserializer, handler.response_serializer)

    def _behind(self, behave: Callable[[Any, Any], Awaitable[Any]], rpc: Rpc, dialect: str, seen: Request) -> Callable[[Any, Any], Any]:
        async def behind(message: Any, context: Any) -> Any:
            try:
                self._check_model(message, rpc, dialect, seen)
            except CallError as error:
                await self._refuse(context, error, seen, dialect)
            return await behave(message, context)

        return behind

    def _check_model(self, message: Any, rpc: Rpc, dialect: str, seen: Request) -> None:
        """Raises `Unauthorized`, `Forbidden`. That a model is not there is told, by its handler, only to who presents some token."""
        assert rpc.model is not None
        check: Check | None
        try:
            if isinstance(message, CallError):  # it could not be parsed
                raise message
            name = rpc.model(message).name
        except CallError:
            check = self._guards.of_dialect(dialect, bearer)
        else:
            check = self._guards.of_admin(name, bearer) if rpc.admin else self._guards.of_model(name, bearer)
        if check is not None:
            check(seen)

    def _refusal(self, error: CallError, seen: Request, dialect: str) -> Callable[[Any, Any], Any]:
        async def refuse(messages: Any, context: Any) -> None:
            await self._refuse(context, error, seen, dialect)

        return refuse

    async def _refuse(self, context: Any, error: CallError, seen: Request, dialect: str) -> None:
        self._worker.note(error, seen, entered=False)
        self._worker.observe("", dialect, error.status, seen.started, seen)
        await context.abort(grpc_status(error), error.message, trailing_metadata=(("x-request-id", seen.request_id),))
