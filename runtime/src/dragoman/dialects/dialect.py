"""The protocol of a dialect: a codec between one prediction API and the core.

A dialect knows its paths, its options, how to decode a request into a `Call`, how to encode a `Prediction`, and how an error looks
to its clients. It never touches a model, a metric or a process.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from dragoman import json
from dragoman.call import Call, Prediction
from dragoman.errors import CallError, NotFound, Unauthorized
from dragoman.manifest import State
from dragoman.signature import Signature

ENCODINGS = frozenset({"identity", "gzip", "deflate"})


class Model(Protocol):
    """What a dialect may know of a served model."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...  # the first 12 hex digits of the digest
    @property
    def revision(self) -> str: ...  # of the ModelDeployment, as the operator names it; "" outside a cluster
    @property
    def format(self) -> str: ...  # sklearn, xgboost, …
    @property
    def state(self) -> State: ...  # Loaded: it can be asked, and what it takes is known; it may have to be brought into memory for it
    @property
    def ready(self) -> bool: ...  # a request would be answered: it is Loaded, or is brought into memory by the first request
    @property
    def reason(self) -> str: ...  # why it is not Loaded; "" otherwise
    @property
    def signature(self) -> Signature: ...
    @property
    def authored(self) -> Mapping[str, Any]: ...  # what the model's own code declares for a dialect, by the name of its option


class Request(msgspec.Struct):
    """One HTTP request, its body whole and already decompressed. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    request_id: str = ""
    started: float = 0.0  # time.monotonic() seconds when its headers had come
    found: Any = None  # what `Predict.look_up` came back with
    noted: Any = None  # the dialect's own: what its replies to this request, errors too, have in common
    warm: bool = True  # whether this process had the model in memory when the request came; False: it was brought for it


class Reply(msgspec.Struct):
    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class ReplyStore(msgspec.Struct, frozen=True):
    """Where encoded replies are kept until they expire: for all workers of this server, or, in memcached, of all that share it."""

    memcached: tuple[str, ...] = ()  # host:port, each of which has them all; none: this server's own
    timeout_seconds: float = 0.5  # how long memcached may take


class Deferred(msgspec.Struct, frozen=True):
    """The request is answered at once; the predict goes on, and its own reply, be it an error, is kept for whoever asks (`Kept`)."""

    store: ReplyStore
    key: Callable[[Request], str]  # under which the reply is kept: 1 to 200 letters, digits, - and _
    accepted: Callable[[Request], Reply]
    keep_seconds: float


class Line(msgspec.Struct, frozen=True):
    """How the calls of one path wait for the model, in each worker. Without a queue they go straight to it."""

    max_requests: int | None = None  # being answered; one more is `Throttled`, before its body is read
    max_rows: int | None = None  # of one request; more are `TooManyRows`
    queue: int | None = None  # calls that wait while one is worked on; one more is `QueueFull`. Each has its turn, alone
    gather_rows: int | None = None  # or calls of the same arguments together, once they have so many rows between them, …
    gather_seconds: float = 0.0  # … or the first of them has waited as long; an error is then every call's
    wait_seconds: float | None = None  # with a queue: how long a client waits before it is told `WaitedTooLong`, and its call dropped
    deferred: Deferred | None = None


class Predict(msgspec.Struct, frozen=True):
    """A path that predicts: decoded, run by the core, encoded."""

    path: str
    model: Model
    decode: Callable[[Request], Call]
    encode: Callable[[Request, Call, Prediction], Reply]
    method: str = "POST"
    media_types: frozenset[str] = frozenset()  # which of several dialects on one path; empty: any
    encodings: frozenset[str] = ENCODINGS  # that the body may have: its Content-Encoding
    look_up: Callable[[Request], Awaitable[Any]] | None = None  # before decode, which has it as `request.found`; may raise a `CallError`
    error: Callable[[CallError, Request], Reply] | None = None  # on this path, where an error's shape names the model; None: the dialect's
    line: Line | None = None  # how calls wait before the model; None: they do not


class Kept(msgspec.Struct, frozen=True):
    """A path where the replies of deferred predicts are fetched (GET), as often as is wanted until they expire; any worker's.

    Who asks too soon waits for `wait_seconds`, and is then told `WaitedTooLong`.
    """

    path: str
    model: Model
    store: ReplyStore
    key: Callable[[Request], str | None]  # None: nothing can be there
    wait_seconds: float


class Answer(msgspec.Struct, frozen=True):
    """A path that the dialect answers by itself: metadata, health.

    In the path `{name}` stands for any one part. `reply` may raise a `CallError`.
    """

    path: str
    reply: Callable[[Request], Reply]
    method: str = "GET"
    guarded: bool = True  # where tokens are configured, it needs one; False: health, which never does
    model: Model | None = None  # whose tokens open it; None: those of any model that speaks the dialect
    admin: bool = False  # it needs a token of the model's `serving.auth.adminTokens`; without these it is `Forbidden`
    order: Literal["load", "unload"] | None = None  # what is done with the model, in every worker, before `reply` is asked
    browsed: bool = False  # a page for people: a browser asks them for the token as a password, and sends it as Basic
    describes: bool = False  # it tells what the model takes: one that nobody has loaded yet is brought for it


class Rpc(msgspec.Struct, frozen=True):
    """A gRPC method: a predicting one has `model`, `decode` and `encode`; another has `reply`. Messages are protobuf's own classes.

    Any of the four may raise a `CallError`; `rpc.status.status_of` says what its HTTP status becomes.
    """

    method: str  # "/inference.GRPCInferenceService/ModelInfer"
    parse: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    reply: Callable[[Any], Any] | None = None
    model: Callable[[Any], Model] | None = None  # of a request; raises NotFound. Also whose tokens open it, as in `Answer`
    decode: Callable[[Any, Model], Call] | None = None
    encode: Callable[[Any, Model, Call, Prediction, str], Any] | None = None  # the last is the request's id
    guarded: bool = True  # as in `Answer`
    admin: bool = False
    order: Literal["load", "unload"] | None = None
    describes: bool = False


def bearer(request: Request) -> str:
    """The token of `Authorization: Bearer <token>`. Raises `Unauthorized`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("a token is needed here: send it as Authorization: Bearer <token>")
    return token.strip()


def nothing_there(request: Request) -> CallError:
    return NotFound(f"nothing is served at {request.path}; /docs lists what is")


class Surface(msgspec.Struct, frozen=True):
    """All that a dialect shows, for the models that have it on."""

    predicts: Sequence[Predict] = ()
    answers: Sequence[Answer] = ()
    kept: Sequence[Kept] = ()
    rpcs: Callable[[], Sequence[Rpc]] | None = None  # made when the first client of gRPC comes
    prefixes: tuple[str, ...] = ()  # ground of its own, where its own 404 and 405 hold: "/v2"
    error: Callable[[CallError, Request], Reply] | None = None  # a 404 or 405 of its own; None: the dialect's `error`
    not_found: Callable[[Request], CallError] = nothing_there  # why a path on that ground is not there: an unknown model, version, path
    credentials: Callable[[Request], str] = bearer  # the token that a request presents; raises `Unauthorized`. Not asked without tokens
    openapi: Mapping[str, Any] = msgspec.field(default_factory=dict)  # OpenAPI 3.1 path items, by path
    keep_alive_seconds: float = 0.0  # how long its clients expect an idle connection to stay, where that is longer than the server's own


class Dialect(Protocol):
    """Without state of its own: what it knows of the models is in the `Surface` that it makes."""

    @property
    def name(self) -> str:
        """In metrics and in the docs: "v1", "v2", "v2_grpc", …"""

    @property
    def option(self) -> str:
        """What switches it on: its key under `spec.serving.dialects` in the manifest."""

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """The paths for these models, each with the dialect's options from its manifest."""

    def error(self, error: CallError, request: Request) -> Reply:
        """An error in this API's own shape."""

    def example(self, model: Model, options: msgspec.Struct, base_url: str) -> str:
        """A curl command that predicts the signature's example row, ready to be pasted; `options` are those of its manifest."""


def error_reply(error: CallError) -> Reply:
    """`{"error": "<text>"}`: the shape that v1 and v2 share, and the runtime's own."""
    return Reply(error.status, json.encode({"error": error.message}), headers=error.headers)


def curl(url: str, document: Any) -> str:
    """A curl command that posts the document as JSON, quoted for a POSIX shell."""
    return f"curl -s {shlex.quote(url)} -H 'content-type: application/json' -d {shlex.quote(json.encode(document).decode())}"
