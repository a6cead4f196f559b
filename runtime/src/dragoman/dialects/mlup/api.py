"""The paths of pymlup's web API."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from dragoman import json
from dragoman.dialects.dialect import Answer, Deferred, Kept, Line, Model, Predict, Reply, ReplyStore, Request, Surface, curl
from dragoman.dialects.mlup.info import info
from dragoman.dialects.mlup.openapi import paths
from dragoman.dialects.mlup.replies import PREDICT_PATH, RESULT_PATH, accepted, encoder, error_reply, predict_id
from dragoman.dialects.mlup.requests import decoder, example_of, layout_of
from dragoman.errors import CallError, InvalidSpec, NotFound
from dragoman.mlup_options import Mlup as Options

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OPTION = "spec.serving.dialects.mlup.predictMethodName"


class Mlup:
    """`/health`, `/info`, `POST /predict`; with `isLongPredict` `/get-predict/{predict_id}`."""

    name = option = "mlup"

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """Raises `InvalidSpec` where a loaded model has no such method. Two models clash on every path: the server says so."""
        predicts, kept = [], []
        for model, options in models:
            assert isinstance(options, Options)
            _refuse_unknown_method(model, options)
            predicts.append(
                Predict(
                    PREDICT_PATH,
                    model,
                    decoder(model, options),
                    encoder(options),
                    media_types=frozenset({"application/json"}),
                    line=_line(model, options),
                )
            )
            if options.is_long_predict:
                kept.append(Kept(RESULT_PATH + "{predict_id}", model, _store(options), _asked_key(model), options.ttl_client_wait))
        model, options = models[0]
        assert isinstance(options, Options)
        health = Reply(200, json.encode({"status" if options.compatibility else "status_code": 200}))
        said = Reply(200, json.encode(info(options)))
        answers = [
            Answer("/health", lambda request: health, guarded=False),
            Answer("/health", lambda request: health, "OPTIONS", guarded=False),
            Answer("/info", lambda request: said),
        ]
        if not options.show_docs:
            answers.append(Answer("/docs", _nothing))
        described = paths(model, options, layout_of(model, options)) if options.show_docs else {}
        prefixes = (PREDICT_PATH, RESULT_PATH.rstrip("/"), "/info")
        return Surface(predicts, answers, kept, prefixes=prefixes, openapi=described)

    def error(self, error: CallError, request: Request) -> Reply:
        return error_reply(error, request)

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        assert isinstance(options, Options)
        return curl(base_url + PREDICT_PATH, example_of(model, options))


def _refuse_unknown_method(model: Model, options: Options) -> None:
    methods = [output.name for output in model.signature.outputs]
    if methods and options.predict_method_name not in methods:
        raise InvalidSpec(f"{_OPTION}: model {model.name!r} has no {options.predict_method_name!r}; it has {', '.join(methods)}")


def _line(model: Model, options: Options) -> Line | None:
    """None where requests go straight to the model: one at a time, as their calls do not mix."""
    gathers, queues = options.mode == "batching", options.mode != "directly_to_predict"
    line = Line(
        max_requests=options.throttling_max_requests,
        max_rows=options.throttling_max_request_len,
        queue=options.max_queue_size if queues else None,
        gather_rows=options.min_batch_len if gathers else None,
        gather_seconds=options.batch_worker_timeout if gathers else 0.0,
        wait_seconds=options.ttl_client_wait if queues else None,
        deferred=_deferred(model, options) if options.is_long_predict else None,
    )
    return None if line == Line() else line


def _deferred(model: Model, options: Options) -> Deferred:
    return Deferred(_store(options), lambda request: _key(model, predict_id(request)), accepted, options.ttl_predicted_data)


def _store(options: Options) -> ReplyStore:
    if options.memcached is None:
        return ReplyStore()
    return ReplyStore(options.memcached.servers, options.memcached.timeout_seconds)


def _key(model: Model, identity: str) -> str:
    return f"{model.name}-{identity}"


def _asked_key(model: Model) -> Callable[[Request], str | None]:
    def key(request: Request) -> str | None:
        identity = request.path.removeprefix(RESULT_PATH)
        return _key(model, identity) if _UUID.fullmatch(identity) else None

    return key


def _nothing(request: Request) -> Reply:
    raise NotFound("the docs are off (showDocs)")
