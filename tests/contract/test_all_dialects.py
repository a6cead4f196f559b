"""One ModelDeployment answers in every API at once: with the same numbers, from shared predicts, each on its own ground.

The clients are httpx and grpcio, with nothing of ours.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Semaphore
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from tests.support.every_dialect import CLASSES, FEATURES, FORM, JSON, KINDS, PREDICTIONS, Answer, Kind, Row, flowers, iris, shape_of
from tests.support.serving import Server, eventually, serving

IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
GATED = Path(__file__).parents[1] / "models/gated_iris.py"
ROWS = flowers()
NOT_FOUND = "The requested URL was not found on the server. If you entered the URL manually, please check your spelling and try again."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("all")
    with serving(folder, iris(folder, IRIS)) as started:
        yield started
        assert started.metric("dragoman_worker_restarts_total") == 0


@pytest.fixture(scope="module")
def expected() -> Answer:
    """What the model itself answers of every flower, in this process."""
    model, frame = joblib.load(IRIS), pd.DataFrame(ROWS, columns=list(FEATURES))
    return Answer([CLASSES[label] for label in model.predict(frame)], model.predict_proba(frame).tolist())


def assert_same(found: Answer, expected: Answer, which: slice = slice(None)) -> None:
    """Labels identical, numbers within 1e-12 relative."""
    assert found.labels == expected.labels[which]
    if found.scores is not None:
        assert expected.scores is not None
        np.testing.assert_allclose(found.scores, expected.scores[which], rtol=1e-12, atol=0)


@contextmanager
def asked_by(server: Server, kind: Kind, sent: Semaphore | None = None) -> Iterator[Any]:
    """A client of this kind, with a connection of its own. `sent` is released when a request has been handed to the kernel whole."""

    def trace(event: str, info: Any) -> None:
        if sent is not None and event == "http11.send_request_body.complete":
            sent.release()

    if kind.over_grpc:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.grpc, options) as channel:
            yield channel
    else:
        follow = {"request": [lambda request: request.extensions.update(trace=trace)]}
        with httpx.Client(base_url=server.rest, timeout=60, event_hooks=follow) as client:
            yield client


def ask(server: Server, kind: Kind, rows: Sequence[Row], sent: Semaphore | None = None) -> Answer:
    with asked_by(server, kind, sent) as client:
        return kind.ask(client, rows)


# --- the same numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_same_rows_have_the_same_numbers_in_every_api(server: Server, expected: Answer, kind: Kind) -> None:
    assert_same(ask(server, kind, ROWS), expected)


def test_probabilities_are_told_by_every_api_that_has_a_place_for_them(server: Server) -> None:
    told = {kind.dialect for kind in KINDS.values() if ask(server, kind, ROWS[:1]).scores is not None}
    assert told == {"v2", "v2_grpc", "datarobot", "certifai", "seldon", "seldon_grpc"}


def test_all_at_once_are_answered_as_each_alone_and_counted_once(server: Server, expected: Answer) -> None:
    """Two clients a kind, over connections of their own; a request has one row, or two where the API takes several."""
    kinds, clients = list(KINDS.values()), 2 * len(KINDS)
    before, batches = counted(server), batches_of(server)
    barrier = Barrier(clients)

    def client(number: int) -> tuple[int, int]:
        kind = kinds[number % len(kinds)]
        step = 1 if kind.row_a_request else 2
        starts = range(number, number + 20 * step, step)
        with asked_by(server, kind) as asking:
            barrier.wait()
            for start in starts:
                assert_same(kind.ask(asking, ROWS[start : start + step]), expected, slice(start, start + step))
        return len(starts), len(starts) * step

    with ThreadPoolExecutor(clients) as pool:
        totals = list(pool.map(client, range(clients)))
    requests, rows = (sum(column) for column in zip(*totals, strict=True))
    asked = Counter({dialect: 40 * ways for dialect, ways in Counter(kind.dialect for kind in kinds).items()})
    assert asked.total() == requests
    eventually(lambda: (counted(server) - before).total() >= requests)  # a request is counted once its reply is on its way
    assert counted(server) - before == asked
    number, in_them = (now - then for now, then in zip(batches_of(server), batches, strict=True))
    assert in_them == rows
    assert number <= requests


def requests_counted(server: Server) -> Counter[tuple[str, str, str]]:
    """(model, dialect, code) of every request so far."""
    scraped = httpx.get(f"{server.management}/metrics", timeout=10).text
    found = re.findall(r"^dragoman_request_duration_seconds_count\{(.*)\} (\S+)", scraped, re.MULTILINE)
    labels = [(dict(re.findall(r'(\w+)="(.*?)"', said)), int(float(count))) for said, count in found]
    return Counter({(said["model"], said["dialect"], said["code"]): count for said, count in labels})


def counted(server: Server) -> Counter[str]:
    """Requests by dialect, of those that were about the model and answered with 200."""
    every = requests_counted(server)
    return Counter({dialect: count for (model, dialect, code), count in every.items() if (model, code) == ("iris", "200")})


def batches_of(server: Server) -> tuple[int, int]:
    """How often the model was called, and for how many rows."""
    found = tuple(int(server.metric(f"dragoman_batch_rows_{what}", model="iris")) for what in ("count", "sum"))
    assert found[0] == int(server.metric("dragoman_predict_duration_seconds_count", model="iris"))
    return found[0], found[1]


# --- shared predicts ---------------------------------------------------------------------------------------------

TWICE = 2  # requests of each kind


@pytest.fixture
def gated(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Server, Path]]:
    """The same ModelDeployment, its model behind a gate; and the folder of the gate."""
    environment = {"GATED_HOME": str(tmp_path), "IRIS_MODEL": str(IRIS)}
    with serving(tmp_path, iris(tmp_path, GATED, mlup=request.param), env=environment) as started:
        (tmp_path / "calls").unlink()  # of the warm-up
        yield started, tmp_path
        (tmp_path / "closed").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("gated", "alone"),
    [({}, TWICE), ({"mode": "batching", "minBatchLen": TWICE, "batchWorkerTimeout": 60}, 0)],
    ids=["mlup directly", "mlup batching"],
    indirect=["gated"],
)
def test_requests_of_all_apis_share_a_predict_where_their_contract_lets_them(
    gated: tuple[Server, Path], expected: Answer, alone: int
) -> None:
    """One request is at the model while all others gather behind it; then they are one call. mlup's share where its mode is `batching`."""
    server, home = gated
    kinds = [kind for kind in KINDS.values() for _ in range(TWICE)]
    http = sum(not kind.over_grpc for kind in kinds)
    sent, calls = Semaphore(0), home / "calls"
    (home / "closed").touch()
    with ThreadPoolExecutor(1 + len(kinds)) as pool:
        first = pool.submit(ask, server, KINDS["v1"], ROWS[:1])
        eventually(calls.exists)
        others = [pool.submit(ask, server, kind, [ROWS[i]], sent) for i, kind in enumerate(kinds)]
        for _ in range(http):
            assert sent.acquire(timeout=60)
        eventually(lambda: server.metric("dragoman_requests_in_flight") == 1 + len(kinds))
        for _ in range(2):  # the one worker has read what was sent before these
            assert httpx.get(f"{server.rest}/v1/models").status_code == 200
        (home / "closed").unlink()
        assert_same(first.result(), expected, slice(1))
        for i, other in enumerate(others):
            assert_same(other.result(), expected, slice(i, i + 1))
    shared = len(kinds) - alone
    found = Counter(tuple(json.loads(line)) for line in calls.read_text().splitlines())
    assert found == Counter([("predict", 1)] * (1 + alone) + [("predict", shared), ("predict_proba", shared)])
    assert batches_of(server) == (2 + alone, 1 + len(kinds))
    eventually(lambda: counted(server).total() == 1 + len(kinds))


# --- shared ground -----------------------------------------------------------------------------------------------


class Shared(NamedTuple):
    """A request to a path that several APIs might own, or that is nobody's; and who answers, with what."""

    method: str
    path: str
    status: int
    owner: str  # as `shape_of` names it for errors; else a key of `ANSWERS`
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    allow: str = ""


ROW_TEXT = json.dumps(ROWS[0])
AS_JSON = json.dumps({"X": ROWS[:1]}).encode()
QUERY = f"json={{%22data%22:{ROW_TEXT.replace(' ', '')}}}"
PLAIN = b'--b\r\nContent-Disposition: form-data; name="json"\r\n\r\n{"data":%b}\r\n--b--\r\n' % ROW_TEXT.encode()
ANSWERS: dict[str, Any] = {
    "mlup": lambda reply: reply.json() == {"predict_result": [0]} and reply.headers["x-predict-id"],
    "mlup's health": lambda reply: reply.json() == {"status_code": 200},
    "mlup's info": lambda reply: set(reply.json()) == {"model_info", "web_app_info"},
    "seldon": lambda reply: [one["classId"] for one in reply.json()["predictions"]] == list(CLASSES),
    "porter is live": lambda reply: reply.json() == "This endpoint is live. Send POST requests for predictions",
    "porter's health": lambda reply: set(reply.json()) == {"request_id", "porter_version", "deployed_on", "app_meta", "services"},
    "porter's docs": lambda reply: "/_docs.json" in reply.text,
    "porter's openapi": lambda reply: (
        reply.json()["openapi"].startswith("3.0") and all(path.startswith(("/flowers/", "/-/")) for path in reply.json()["paths"])
    ),
    "to porter's docs": lambda reply: reply.headers["location"] == "/docs/",
    "the docs": lambda reply: "swagger-ui" in reply.text and "docs/assets" in reply.text,
    "openapi": lambda reply: reply.json()["openapi"].startswith("3.1"),
    "nothing": lambda reply: reply.content == b"",
}
SHARED = (
    # POST /predict by media type
    Shared("POST", "/predict", 200, "mlup", JSON, AS_JSON),
    Shared("POST", "/predict", 200, "mlup", {"content-type": "Application/JSON; charset=utf-8"}, AS_JSON),
    Shared("POST", "/predict", 200, "seldon", FORM, b'json={"data":%b}' % ROW_TEXT.encode()),
    Shared("POST", "/predict", 200, "seldon", {"content-type": "multipart/form-data; boundary=b"}, PLAIN),
    Shared("POST", f"/predict?{QUERY}", 200, "seldon"),
    Shared("GET", f"/predict?{QUERY}", 200, "seldon"),
    Shared("POST", f"/predict?{QUERY}", 422, "mlup", JSON, b"{}"),
    Shared("POST", "/predict", 422, "mlup", JSON, b"{}"),
    Shared("POST", "/predict", 400, "plain", FORM, b"a=1"),
    Shared("GET", "/predict", 400, "plain"),
    Shared("PUT", "/predict", 405, "mlup", allow="GET, POST"),
    # health, docs, the root
    Shared("GET", "/health", 200, "mlup's health"),
    Shared("HEAD", "/health", 200, "nothing"),
    Shared("OPTIONS", "/health", 200, "mlup's health"),
    Shared("POST", "/health", 405, "plain", allow="GET, HEAD, OPTIONS"),
    Shared("GET", "/docs", 200, "the docs"),
    Shared("GET", "/openapi.json", 200, "openapi"),
    Shared("GET", "/docs/", 200, "porter's docs"),
    Shared("GET", "/_docs.json", 200, "porter's openapi"),
    Shared("GET", "/", 302, "to porter's docs"),
    Shared("POST", "/docs", 405, "plain", allow="GET, HEAD"),
    Shared("DELETE", "/", 405, "plain", allow="GET, HEAD"),
    # each on its own ground
    Shared("GET", "/v1/nothing", 404, "plain"),
    Shared("PUT", "/v1/models/iris:predict", 405, "plain", allow="POST"),
    Shared("GET", "/v2/nothing", 404, "plain"),
    Shared("GET", "/v2/models/iris/infer", 405, "plain", allow="POST"),
    Shared("GET", "/flowers/iris/v1/prediction", 200, "porter is live"),
    Shared("GET", "/flowers/iris/v1/prediction/", 200, "porter is live"),
    Shared("GET", "/flowers/iris/v1/nothing", 404, "porter"),
    Shared("PUT", "/flowers/iris/v1/prediction", 405, "porter", allow="GET, POST"),
    Shared("GET", "/-/ready", 200, "porter's health"),
    Shared("GET", "/-/nothing", 404, "porter"),
    Shared("POST", "/-/alive", 405, "porter", allow="GET, HEAD"),
    Shared("POST", "/predApi/v1.0/deployments/nobody/predictions", 404, "datarobot"),
    Shared("POST", PREDICTIONS.rpartition("/")[0], 400, "datarobot"),
    Shared("GET", PREDICTIONS, 405, "datarobot", allow="OPTIONS, POST"),
    Shared("GET", "/scan/predict", 405, "certifai", allow="POST"),
    Shared("GET", "/scan/predict/more", 404, "certifai"),
    Shared("GET", "/info", 200, "mlup's info"),
    Shared("POST", "/info", 405, "mlup", allow="GET, HEAD"),
    Shared("GET", "/get-predict/7d9bea07-7505-45ec-a700-40417842025b", 404, "mlup"),
    Shared("GET", "/recommend?client=a&user_id=1&limit=1", 404, "plain"),
    # nobody's ground
    Shared("GET", "/nothing", 404, "plain"),
    Shared("POST", "/nothing", 404, "plain", JSON, b"{}"),
    Shared("GET", "/iris/predict", 404, "plain"),
    Shared("GET", "/flowersandmore", 404, "plain"),
    Shared("GET", "/v1beta/models", 404, "plain"),
)


@pytest.mark.parametrize("case", SHARED, ids=lambda case: f"{case.method} {case.path.partition('?')[0]} {case.status} {case.owner}")
def test_each_path_is_answered_by_its_owner(server: Server, case: Shared) -> None:
    reply = httpx.request(case.method, server.rest + case.path, content=case.body, headers=case.headers, timeout=30)
    assert reply.status_code == case.status, reply.text
    if case.status < 400:
        assert ANSWERS[case.owner](reply), reply.text
    else:
        assert shape_of(reply) == case.owner
    if case.owner in ("datarobot", "mlup") and case.status in (400, 404):
        assert reply.json() in ({"message": NOT_FOUND}, {"detail": "Not Found"})
    assert reply.headers.get("allow", "") == case.allow


def test_a_path_that_two_apis_share_is_described_with_what_both_take(server: Server) -> None:
    described = httpx.get(f"{server.rest}/openapi.json").json()["paths"]["/predict"]
    assert set(described) == {"get", "post"}
    assert "application/json" in described["post"]["requestBody"]["content"]
    assert [parameter["name"] for parameter in described["get"]["parameters"]] == ["client", "json"]


def test_what_is_refused_is_counted_once_under_the_dialect_on_whose_ground_it_is(server: Server) -> None:
    refused = {
        "v1": ("POST", "/v1/models/iris:predict", 400),
        "v2": ("POST", "/v2/models/iris/infer", 400),
        "porter": ("POST", "/flowers/iris/v1/prediction", 400),
        "datarobot": ("POST", PREDICTIONS, 400),
        "certifai": ("POST", "/scan/predict", 400),
        "mlup": ("POST", "/predict", 422),
        "seldon": ("GET", "/predict", 400),
    }
    lost = {
        "v1": "/v1/a",
        "v2": "/v2/a",
        "porter": "/-/a",
        "datarobot": "/predApi/a",
        "certifai": "/scan/predict/a",
        "mlup": "/info/a",
        "seldon": "/recommend",
        "": "/a",
    }
    before = requests_counted(server)
    expected: Counter[tuple[str, str, str]] = Counter()
    for dialect, (method, path, code) in refused.items():
        assert httpx.request(method, server.rest + path, content=b"{" if method == "POST" else b"", headers=JSON).status_code == code
        expected["iris", dialect, str(code)] += 1
    for dialect, path in lost.items():
        assert httpx.get(server.rest + path).status_code == 404
        expected["", dialect, "404"] += 1
    eventually(lambda: (requests_counted(server) - before).total() >= expected.total())
    assert requests_counted(server) - before == expected
