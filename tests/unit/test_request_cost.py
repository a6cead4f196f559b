"""What a request costs beyond the model, in calls and in bytes: counted, so the same on every machine, where times are not.

Bytes go through the worker's own protocol, application, dialect, checker and batcher, for a real model; only the socket is a list that
replies are written to. Counted are the functions called, Python's and C's, and the memory taken at the peak, less what the model's own
predict calls and takes. A bound that fails says that a request has become dearer than it was: look at `cost(...).by_name` for what is
called more often than before. Where that is meant, and worth it, raise the bound; where a request has become cheaper, lower it: a bound is
the count, and a tenth.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import joblib
import pytest
from prometheus_client import CollectorRegistry
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.models import iris, loaded
from tests.support.rpcs import rpcs_of

from dragoman import manifest
from dragoman.admission import Admission
from dragoman.app import Application, surfaces
from dragoman.call import PREDICT, Call
from dragoman.check import Checker
from dragoman.dialects.dialect import Request
from dragoman.exchange import Worker, decode_large
from dragoman.formats import probe
from dragoman.heartbeat import Heartbeats
from dragoman.http2.connection import Connection
from dragoman.http2.fields import block_of
from dragoman.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame, settings
from dragoman.http_protocol import Protocol
from dragoman.kept import Stores
from dragoman.metrics import Metrics
from dragoman.proto import open_inference as pb
from dragoman.registry import Outcome, ServedModel
from dragoman.rpc.server import GrpcServer
from dragoman.server import HttpServer
from dragoman.table import Table

ROW = [5.1, 3.5, 1.4, 0.2]
V1, V2 = "/v1/models/iris:predict", "/v2/models/iris/infer"
TENSOR = {"name": "input", "shape": [1, 4], "datatype": "FP64", "data": ROW}


class Bound(NamedTuple):
    """At most so many calls, and bytes at the peak."""

    calls: int
    bytes: int


CASES: dict[str, tuple[str, Any, int, Bound]] = {  # path, document, its rows, and what it may cost
    "v1, one row": (V1, {"instances": [ROW]}, 1, Bound(190, 3500)),
    "v2, one row": (V2, {"inputs": [TENSOR]}, 1, Bound(250, 4150)),
    "v1, 100 rows": (V1, {"instances": [ROW] * 100}, 100, Bound(312, 9000)),
}


@dataclass(frozen=True)
class Cost:
    calls: int
    bytes: int
    by_name: Counter[str]


class Wire(asyncio.Transport):
    """Keeps what is written in place of sending it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Served:
    """One model behind one connection."""

    def __init__(self, folder: Path) -> None:
        file = folder / "iris.joblib"
        measurements, species = iris()
        joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(measurements.to_numpy(), species), file)
        model = loaded(file)
        self.predictor, signature = model.predictor, probe(model).signature
        self.check = Checker(signature)
        heartbeats = Heartbeats.create(1)
        slot = heartbeats.slot(0)
        outcome = Outcome(
            manifest.from_uri(str(file), "iris"), "Loaded", digest="sha256:" + "0" * 64, format="sklearn", signature=signature
        )
        outcome.predictor, outcome.rows_independent = model.predictor, True
        self.model = ServedModel(outcome, slot, lambda seconds, rows: None)
        worker = Worker(Admission(512, 1 << 30, heartbeats, slot), Metrics(CollectorRegistry()), Stores(folder))
        worker.only_client = lambda: True  # the predict is in the turn that brought the request: no other turn is counted
        self._app, self._worker = Application({"iris": self.model}, worker), worker
        assert self.model._batcher is not None
        self.model._batcher._clock = lambda: 0.0  # no predict is slow, so none is left to a thread; and no deadline passes
        self.model._batcher.expect(0.0)
        self.loop = asyncio.new_event_loop()
        self.wire = Wire()
        self.protocol: Protocol | Connection

    async def connect(self) -> None:
        with socket.socket() as unused:
            server = HttpServer(self._app, unused)
            await server._server.on_tick(0)
            self.protocol = server._protocol()
        self.protocol.connection_made(self.wire)

    def connect_grpc(self) -> None:
        models = {"iris": self.model}
        server = GrpcServer({"v2_grpc": rpcs_of(surfaces(models)["v2_grpc"])}, models, self._worker)
        self.protocol = server.connection()
        self.protocol.connection_made(self.wire)
        self.protocol.data_received(PREFACE + settings({}))

    def ask(self, request: bytes) -> bytes:
        """The reply, made before this returns."""
        self.wire.written.clear()
        self.protocol.data_received(request)
        return b"".join(self.wire.written)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("cost"))
    yield made
    made.model.close()
    made.loop.run_until_complete(made.loop.shutdown_default_executor())
    made.loop.close()


@pytest.mark.parametrize("case", CASES)
def test_a_request_is_not_dearer_than_it_was(served: Served, case: str) -> None:
    path, document, rows, bound = CASES[case]
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    table = served.check(Table.of_rows([ROW] * rows))

    async def measured() -> tuple[bytes, Cost, Cost]:
        await served.connect()
        request = head.encode() + body
        reply = served.ask(request)
        return reply, cost(lambda: served.ask(request)), cost(lambda: served.predictor.predict(table, (PREDICT,), {}))

    reply, whole, model = served.loop.run_until_complete(measured())
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    own = Bound(whole.calls - model.calls, whole.bytes - model.bytes)
    assert own.calls <= bound.calls and own.bytes <= bound.bytes, (  # noqa: PT018
        f"{case} costs {own.calls} calls and {own.bytes} bytes beyond the model; the bound is {bound.calls} and {bound.bytes}. "
        f"This file says what to do. Called most often:\n{(whole.by_name - model.by_name).most_common(40)}"
    )


def test_a_grpc_call_is_not_dearer_than_it_was(served: Served) -> None:
    bound = Bound(256, 1760)
    message = pb.ModelInferRequest(model_name="iris")
    message.inputs.add(name="input", datatype="FP64", shape=[1, 4]).contents.fp64_contents.extend(ROW)
    sent = message.SerializeToString()
    path = "/inference.GRPCInferenceService/ModelInfer"
    fields = block_of((":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc"))

    def call(stream: int) -> bytes:
        return frame(HEADERS, END_HEADERS, stream, fields) + frame(DATA, END_STREAM, stream, b"\0" + len(sent).to_bytes(4, "big") + sent)

    async def measured() -> tuple[bytes, Cost, Cost]:
        served.connect_grpc()
        reply = served.ask(call(1))
        requests = iter([call(stream) for stream in range(3, 103, 2)])  # made before what is counted
        table = served.check(Table.of_rows([ROW]))
        return reply, cost(lambda: served.ask(next(requests))), cost(lambda: served.predictor.predict(table, (PREDICT,), {}))

    reply, whole, model = served.loop.run_until_complete(measured())
    assert block_of(("grpc-status", "0")) in reply
    own = Bound(whole.calls - model.calls, whole.bytes - model.bytes)
    assert own.calls <= bound.calls and own.bytes <= bound.bytes, (  # noqa: PT018
        f"a call costs {own.calls} calls and {own.bytes} bytes beyond the model; the bound is {bound.calls} and {bound.bytes}. "
        f"This file says what to do. Called most often:\n{(whole.by_name - model.by_name).most_common(40)}"
    )


def test_a_large_body_is_decoded_without_the_collector_looking_on() -> None:
    body = json.dumps([[1.0]] * 100_000).encode()
    looks: list[str] = []

    def look(phase: str, about: dict[str, int]) -> None:
        looks.append(phase)

    def decode(request: Request) -> Call:
        gc.callbacks.append(look)
        try:
            return Call(Table.of_rows(json.loads(request.body)), (PREDICT,))
        finally:
            gc.callbacks.remove(look)

    assert decode_large(decode, Request("POST", V1, {}, body, "", "1", 0.0)).table.rows == 100_000
    assert not looks
    assert gc.isenabled()


def test_the_count_is_the_same_in_every_run(served: Served) -> None:
    def counted() -> int:
        return cost(lambda: json.loads(json.dumps({"rows": [ROW] * 10}))).calls

    assert counted() == counted() > 0


def cost(act: Callable[[], Any]) -> Cost:
    """Of one call, when everything is warm: the least of a few, since whatever comes between only adds."""
    for _ in range(20):
        act()
    names = min((_called(act) for _ in range(5)), key=Counter.total)
    return Cost(names.total(), min(_peak(act) for _ in range(5)), names)


def _called(act: Callable[[], Any]) -> Counter[str]:
    names: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            names[f"{frame.f_code.co_qualname} ({frame.f_globals.get('__name__')})"] += 1
        elif event == "c_call":
            names[f"{getattr(argument, '__qualname__', argument)} (C)"] += 1

    gc.disable()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
        gc.enable()
    names[f"{sys.setprofile.__qualname__} (C)"] -= 1
    return names


def _peak(act: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        act()  # what tracing itself takes is there now
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        act()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
