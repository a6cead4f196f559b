"""The protocol of a dialect: a codec between one prediction API and the core.

A dialect knows its paths, its options, how to decode a request into a `Call`, how to encode a `Prediction`, and how an error looks
to its clients. It never touches a model, a metric or a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from dragoman.call import Call, Prediction
from dragoman.errors import CallError
from dragoman.signature import Signature

State = Literal["Pending", "Fetching", "Loading", "Loaded", "Failed"]


class Model(Protocol):
    """What a dialect may know of a served model."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...  # the first 12 hex digits of the digest
    @property
    def format(self) -> str: ...  # sklearn, xgboost, …
    @property
    def state(self) -> State: ...
    @property
    def reason(self) -> str: ...  # why it is not Loaded; "" otherwise
    @property
    def signature(self) -> Signature: ...


@dataclass(slots=True)
class Request:
    """One HTTP request, its body whole and already decompressed. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    request_id: str = ""


@dataclass(slots=True)
class Reply:
    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Predict:
    """A path that predicts: decoded, run by the core, encoded."""

    path: str
    model: Model
    decode: Callable[[Request], Call]
    encode: Callable[[Request, Call, Prediction], Reply]
    method: str = "POST"
    media_types: frozenset[str] = frozenset()  # which of several dialects on one path; empty: any


@dataclass(frozen=True, slots=True)
class Answer:
    """A path that the dialect answers by itself: metadata, health."""

    path: str
    reply: Callable[[Request], Reply]
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Rpc:
    """A gRPC method: a predicting one has `model`, `decode` and `encode`; another has `reply`. Messages are protobuf's own classes."""

    method: str  # "/inference.GRPCInferenceService/ModelInfer"
    parse: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    reply: Callable[[Any], Any] | None = None
    model: Callable[[Any], Model] | None = None  # of a request; raises NotFound
    decode: Callable[[Any, Model], Call] | None = None
    encode: Callable[[Any, Model, Call, Prediction], Any] | None = None


@dataclass(frozen=True, slots=True)
class Surface:
    """All that a dialect shows, for the models that have it on."""

    predicts: Sequence[Predict] = ()
    answers: Sequence[Answer] = ()
    rpcs: Sequence[Rpc] = ()
    prefixes: tuple[str, ...] = ()  # ground of its own, where its own 404 and 405 hold: "/v2"
    openapi: Mapping[str, Any] = field(default_factory=dict)  # OpenAPI 3.1 path items, by path


class Dialect(Protocol):
    name: str

    def surface(self, models: Sequence[tuple[Model, msgspec.Struct]]) -> Surface:
        """The paths for these models, each with the dialect's options from its manifest."""

    def error(self, error: CallError, request: Request) -> Reply:
        """An error in this API's own shape."""

    def not_found(self, request: Request) -> CallError:
        """Why a path on the dialect's own ground is not there: an unknown model, an unknown version, an unknown path."""

    def example(self, model: Model, base_url: str) -> str:
        """A curl command that predicts the signature's example row, ready to be pasted."""
