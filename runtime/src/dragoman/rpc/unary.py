"""Methods of one message and one reply: those that the dialects declare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from dragoman.body import BodyLimit, refuse_large
from dragoman.call import Call as ModelCall
from dragoman.call import Prediction
from dragoman.dialects.dialect import Request, Rpc
from dragoman.errors import BadRequest, CallError
from dragoman.exchange import CLIENT_LEFT, LARGE_BODY, Worker, unexpected
from dragoman.registry import Registry, ServedModel
from dragoman.rpc.call import Call, Drop

MessageCheck = Callable[[bytes, Request], None]  # of a message; raises what keeps the call out


class Predicting:
    """A method that predicts."""

    def __init__(
        self, dialect: str, rpc: Rpc, models: Registry, worker: Worker, check: MessageCheck | None, alone: Callable[[], bool]
    ) -> None:
        """`alone`: whether no other call is to be waited for."""
        assert rpc.model
        assert rpc.decode
        assert rpc.encode
        self._find, self._decode, self._encode = rpc.model, rpc.decode, rpc.encode
        self._dialect, self._rpc, self._models, self._worker, self._check, self._alone = dialect, rpc, models, worker, check, alone

    def __call__(self, call: Call, sent: bytes) -> Drop:
        worker, name, entered = self._worker, "", False
        reply: Callable[[], bytes]
        try:
            if self._check is not None:
                self._check(sent, call.request)
            worker.admission.enter()
            entered = True
            message = parsed(self._rpc, sent)
            model = self._models[self._find(message).name]
            name, limits = model.name, model.limits
            refuse_large({}, len(sent), BodyLimit(limits.max_request_bytes))
            deadline = call.started + min(limits.timeout_seconds, call.timeout_seconds)
            answer: asyncio.Future[Any]
            if model.pool is None and len(sent) < LARGE_BODY:
                decoded = self._decode(message, model)
                answer = model.submit(decoded, deadline, self._alone())
                reply = partial(self._reply, call, message, model, decoded, answer)
            else:
                answer = asyncio.ensure_future(self._at_length(call, message, model, deadline))
                reply = answer.result
        except CallError as error:
            self._fail(call, name, error, entered=entered)
        except Exception as error:  # noqa: BLE001  the edge of a call
            self._fail(call, name, unexpected(error, call.request), entered=entered)
        else:
            finish = partial(self._finish, call, name, reply)
            if answer.done():
                finish(answer)
            else:
                answer.add_done_callback(finish)
            return answer.cancel
        return None

    async def _at_length(self, call: Call, message: Any, model: ServedModel, deadline: float) -> bytes:
        """Of a model that may have to be brought into memory, or of a large message."""
        if model.pool is not None and not model.pool.use(model):
            await model.pool.bring(model, deadline)
        decoded = await asyncio.to_thread(self._decode, message, model)
        answer = model.submit(decoded, deadline)
        await answer
        return self._reply(call, message, model, decoded, answer)

    def _reply(self, call: Call, message: Any, model: ServedModel, decoded: ModelCall, answer: asyncio.Future[Prediction]) -> bytes:
        return self._rpc.serialize(self._encode(message, model, decoded, answer.result(), call.request.request_id))

    def _finish(self, call: Call, name: str, reply: Callable[[], bytes], _: Any) -> None:
        """The model has answered, or is not to be asked any more."""
        worker = self._worker
        try:
            message = reply()
        except CallError as error:
            self._fail(call, name, error, entered=True)
        except asyncio.CancelledError:
            worker.admission.leave()
            worker.observe(name, self._dialect, CLIENT_LEFT, call.started, call.request)
        except Exception as error:  # noqa: BLE001  the edge of a call
            self._fail(call, name, unexpected(error, call.request), entered=True)
        else:
            worker.admission.leave()
            call.answer(message)
            worker.observe(name, self._dialect, 200, call.started, call.request)

    def _fail(self, call: Call, name: str, error: CallError, *, entered: bool) -> None:
        worker = self._worker
        if entered:
            worker.admission.leave()
        worker.note(error, call.request, entered=entered)
        call.fail(error)
        worker.observe(name, self._dialect, error.status, call.started, call.request)


class Answering:
    """A method that its dialect answers by itself: metadata, health, orders to load."""

    def __init__(self, dialect: str, rpc: Rpc, worker: Worker, check: MessageCheck | None) -> None:
        assert rpc.reply
        self._dialect, self._rpc, self._reply, self._worker, self._check = dialect, rpc, rpc.reply, worker, check

    def __call__(self, call: Call, sent: bytes) -> Drop:
        return asyncio.ensure_future(self._answer(call, sent)).cancel

    async def _answer(self, call: Call, sent: bytes) -> None:
        worker, rpc, code = self._worker, self._rpc, 200
        try:
            if self._check is not None:
                self._check(sent, call.request)
            message = parsed(rpc, sent)
            if rpc.model is not None:
                await worker.prepare(rpc, rpc.model(message), call.started)
            call.answer(rpc.serialize(self._reply(message)))
        except CallError as error:
            code = error.status
            call.fail(error)
        except asyncio.CancelledError:
            code = CLIENT_LEFT
            raise
        except Exception as error:  # noqa: BLE001  the edge of a call
            code = 500
            call.fail(unexpected(error, call.request))
        finally:
            worker.observe("", self._dialect, code, call.started, call.request)


def parsed(rpc: Rpc, sent: bytes) -> Any:
    """Raises `BadRequest`."""
    try:
        return rpc.parse(sent)
    except DecodeError:
        raise BadRequest(f"the {len(sent)} bytes sent to {rpc.method} are not the message that it takes") from None
