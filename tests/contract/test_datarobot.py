"""DataRobot's Prediction API over a real socket, row by row from its page; asked by http.client, which knows nothing of it."""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import http.client
import io
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from sklearn.datasets import load_iris
from tests.support.serving import Server, manifest, run, serving

MODELS = Path(__file__).parents[1] / "models"
IRIS = Path(__file__).parents[2] / "examples" / "iris" / "model.joblib"
ROOT = "/predApi/v1.0/deployments"
LIMIT = 50 * 1024 * 1024
NOT_FOUND = "The requested URL was not found on the server. If you entered the URL manually, please check your spelling and try again."
MISSING = "columns do not match the model's features, features expected but not found: "
UNCERTAIN: dict[str, Any] = {
    "id": "5ebad4735f11b33a38ff3e0d",
    "name": "Uncertain Prediction Trigger",
    "trigger": {"uncertainPrediction": {"upper": 100}},
}
HUMILITY = [
    UNCERTAIN | {"action": {"noOperation": {}}},
    {
        "id": "o",
        "name": "Outlier",
        "trigger": {"outlyingInput": {"feature": "x", "lower": 0}},
        "action": {"overridePrediction": {"value": 5220}},
    },
    {
        "id": "r",
        "name": "Rare",
        "trigger": {"lowObservationRegion": {"feature": "kind", "values": ["short", "long"]}},
        "action": {"noOperation": {}},
    },
]
SALES = {
    "timestampColumn": "day",
    "seriesIdColumn": "shop",
    "timeUnit": "day",
    "forecastWindow": {"start": 1, "end": 3},
    "knownInAdvance": ["promotion"],
    "originalFormatTimestamp": True,
}
DEPLOYMENTS: dict[str, tuple[Path, dict[str, Any]]] = {
    "iris": (IRIS, {"target": "species"}),
    "ordered": (IRIS, {"deploymentId": "5f22ba7ade0f435ba7217bcf", "modelId": "5e6696ff820e737a5bd78430", "classOrder": [2, 0, 1]}),
    "coin": (MODELS / "coin.py", {}),
    "tails": (MODELS / "coin.py", {"positiveClass": 0, "threshold": 0.8}),
    "rates": (MODELS / "rates.py", {"exposureColumn": "exposure"}),
    "shares": (MODELS / "rates.py", {"exposureColumn": "exposure", "exposureAdjustment": "divide", "target": "total"}),
    "humble": (MODELS / "rates.py", {"humility": HUMILITY}),
    "proud": (MODELS / "rates.py", {"humility": [UNCERTAIN | {"action": {"throwError": {}}}]}),
    "sales": (MODELS / "sales.py", {"timeSeries": SALES}),
    "keyed": (MODELS / "coin.py", {"datarobotKeyEnv": "TEST_DATAROBOT_KEY"}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("datarobot")
    files = [manifest(folder, name, uri, serving={"dialects": {"datarobot": options}}) for name, (uri, options) in DEPLOYMENTS.items()]
    env = {"TEST_DATAROBOT_KEY": "a-key", "DRAGOMAN_KEEP_ALIVE_SECONDS": "0.2"}
    with serving(folder, *files, env=env) as running:
        yield running


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def message(self) -> str:
        document = json.loads(self.body)
        assert list(document) == ["message"]
        return str(document["message"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.body
        assert self.headers["content-type"] == "application/json"
        document = json.loads(self.body)
        assert list(document) == ["data"]
        found: list[dict[str, Any]] = document["data"]
        return found

    @property
    def table(self) -> list[list[str]]:
        assert self.status == 200, self.body
        assert self.headers["content-type"] == "text/csv"
        return list(csv.reader(io.StringIO(self.body.decode())))


def ask(server: Server, path: str, body: bytes | str = b"", method: str = "POST", **headers: str) -> Answer:
    """`path` below the deployments; `headers` with _ for -."""
    connection = http.client.HTTPConnection(server.rest.removeprefix("http://"), timeout=60)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, path if path.startswith("/") else f"{ROOT}/{path}", body.encode() if isinstance(body, str) else body, given
        )
        reply = connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


def post_csv(server: Server, path: str, body: bytes | str, **headers: str) -> Answer:
    return ask(server, path, body, **({"content_type": "text/csv"} | headers))


def post_json(server: Server, path: str, document: Any, **headers: str) -> Answer:
    return ask(server, path, json.dumps(document), **({"content_type": "application/json"} | headers))


def form(content: bytes, name: str = "file", filename: str = "dataset.csv", media_type: str = "text/csv") -> tuple[bytes, str]:
    head = f'--b0undary\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {media_type}\r\n\r\n'
    return head.encode() + content + b"\r\n--b0undary--\r\n", "multipart/form-data; boundary=b0undary"


COIN = "p\n0.2\n0.9\n"
RATES = "x,kind,exposure,note\n1,short,2,a\n60,long,4,\n-5,odd,0.5,c\n"


# --- endpoints ----------------------------------------------------------------------------------------------------


@dataclass
class Route:
    method: str
    path: str
    status: int
    message: str | None
    headers: Mapping[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    "case",
    [
        Route("POST", f"{ROOT}/coin/predictions", 200, None),
        Route(
            "POST",
            f"{ROOT}/rates/predictions",
            422,
            MISSING + "['x', 'kind']",
        ),
        Route("POST", f"{ROOT}/coin", 400, NOT_FOUND),
        Route("POST", f"{ROOT}/nobody", 400, NOT_FOUND),
        Route("POST", f"{ROOT}/nobody/predictions", 404, NOT_FOUND),
        Route("POST", f"{ROOT}/ordered/predictions", 404, NOT_FOUND),  # its deploymentId is another one
        Route("POST", f"{ROOT}/coin/predictions/", 404, NOT_FOUND),
        Route("POST", f"{ROOT}/coin/prediction", 404, NOT_FOUND),
        Route("POST", "/predApi/v1.0/coin/predictions", 404, NOT_FOUND),
        Route("GET", f"{ROOT}/coin", 404, NOT_FOUND),
        Route("GET", "/predApi/v1.0", 404, NOT_FOUND),
        Route("GET", "/nowhere", 404, NOT_FOUND),  # the only dialect that is spoken here
        Route("GET", f"{ROOT}/coin/predictions", 405, "The method is not allowed for the requested URL.", {"allow": "OPTIONS, POST"}),
        Route("PUT", f"{ROOT}/coin/predictionExplanations", 405, "The method is not allowed for the requested URL."),
        Route("OPTIONS", f"{ROOT}/coin/predictions", 200, None, {"allow": "OPTIONS, POST"}),
    ],
    ids=lambda case: f"{case.method} {case.path}",
)
def test_paths(server: Server, case: Route) -> None:
    reply = ask(server, case.path, COIN if case.method == "POST" else b"", case.method, content_type="text/csv")
    assert reply.status == case.status, reply.body
    if case.message is not None:
        assert reply.message == case.message
    for name, value in case.headers.items():
        assert reply.headers[name] == value


HEADERS = {
    "X-DataRobot-Execution-Time": r"\d+",
    "X-DataRobot-Model-Cache-Hit": "true|false",
    "X-DataRobot-Model-Id": r"[0-9a-f]{24}|",
    "X-DataRobot-Request-ID": "[0-9a-f]{32}",
    "Access-Control-Allow-Methods": "OPTIONS, POST",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": (
        "Content-Type,Content-Length,X-DataRobot-Execution-Time,X-DataRobot-Model-Cache-Hit,X-DataRobot-Model-Id,X-DataRobot-Request-Id"
    ),
    "Access-Control-Allow-Headers": "Content-Type,Authorization,datarobot-key",
}


@pytest.mark.parametrize(
    ("status", "path", "body", "headers"),
    [
        (200, "coin/predictions", COIN, {"content_type": "text/csv"}),
        (200, "coin/predictions", COIN, {"content_type": "text/csv", "accept": "text/csv"}),
        (400, "coin/predictions", "p\n1,2", {"content_type": "text/csv"}),
        (400, "coin", "", {}),
        (401, "keyed/predictions", COIN, {"content_type": "text/csv"}),
        (404, "nobody/predictions", COIN, {"content_type": "text/csv"}),
        (406, "coin/predictions", COIN, {"content_type": "text/csv", "accept": "text/html"}),
        (413, "coin/predictions", "", {"content_type": "text/csv", "content_length": str(LIMIT + 1)}),
        (414, "coin/predictions?passthroughColumns=" + "x" * 8192, COIN, {"content_type": "text/csv"}),
        (414, "nobody/predictions?passthroughColumns=" + "x" * 8192, COIN, {"content_type": "text/csv"}),
        (415, "coin/predictions", COIN, {"content_type": "text/xml"}),
        (415, "coin/predictions", COIN, {"content_type": "text/csv", "content_encoding": "br"}),
        (422, "coin/predictions?wd=1", COIN, {"content_type": "text/csv"}),
        (480, "proud/predictions", "x,kind\n60,long\n", {"content_type": "text/csv"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_reply_has_every_header(server: Server, status: int, path: str, body: str, headers: dict[str, str]) -> None:
    reply = ask(server, path, body, **headers)
    assert reply.status == status
    for name, pattern in HEADERS.items():
        assert reply.headers.get_all(name) is not None, name
        assert re.fullmatch(pattern, reply.headers[name]), name
    known = path.split("/")[0] != "nobody" and status not in (404,) and "/" in path
    assert reply.headers["X-DataRobot-Model-Cache-Hit"] == ("true" if known else "false")
    if status >= 400:
        assert reply.message
        assert "Traceback" not in reply.message


def test_a_405_has_the_headers_of_its_deployment(server: Server) -> None:
    reply = ask(server, "5f22ba7ade0f435ba7217bcf/predictions", method="GET")
    assert (reply.status, reply.headers["X-DataRobot-Model-Id"]) == (405, "5e6696ff820e737a5bd78430")


def test_a_model_has_an_id_of_its_own_unless_one_is_configured(server: Server) -> None:
    ids = [post_csv(server, f"{name}/predictions", COIN).headers["X-DataRobot-Model-Id"] for name in ("coin", "tails", "coin")]
    assert ids[0] == ids[2] != ids[1]
    version = next(m["digest"] for m in server.status()["models"] if m["name"] == "coin").removeprefix("sha256:")[:12]
    assert ids[0].startswith(version)
    named = ask(server, "5f22ba7ade0f435ba7217bcf/predictions", "[]", content_type="application/json")
    assert named.headers["X-DataRobot-Model-Id"] == "5e6696ff820e737a5bd78430"


def test_a_request_id_is_the_clients_where_it_has_the_form(server: Server) -> None:
    ours = post_csv(server, "coin/predictions", COIN, x_request_id="9e61f97b-f079-03b8-c526-f4eb47830a86")
    assert ours.headers["X-DataRobot-Request-ID"] == "9e61f97bf07903b8c526f4eb47830a86"
    first, second = (post_csv(server, "coin/predictions", COIN).headers["X-DataRobot-Request-ID"] for _ in range(2))
    assert first != second


def test_a_connection_is_kept_though_it_is_idle(server: Server) -> None:
    """For 600 seconds, whatever the server is told of other connections."""
    connection = http.client.HTTPConnection(server.rest.removeprefix("http://"), timeout=30)
    socks = set()
    for _ in range(3):
        connection.request("POST", f"{ROOT}/coin/predictions", COIN.encode(), {"content-type": "text/csv"})
        reply = connection.getresponse()
        assert reply.status == 200
        reply.read()
        socks.add(id(connection.sock))
        time.sleep(0.5)
    assert len(socks) == 1
    assert connection.sock is not None
    connection.close()


# --- input --------------------------------------------------------------------------------------------------------

UMLAUTS = "x,kind,name\n1,short,Zürich\n2,long,東京\n"


@dataclass
class Body:
    id: str
    body: bytes
    headers: dict[str, str]


def bodies() -> Iterator[Body]:
    text = UMLAUTS.encode()
    yield Body("text/csv", text, {"content_type": "text/csv"})
    yield Body("text/plain", text, {"content_type": "text/plain"})
    yield Body("charset utf8", text, {"content_type": "text/csv;charset=utf8"})
    yield Body("charset utf-16", UMLAUTS.encode("utf-16"), {"content_type": "text/csv; charset=utf-16"})
    yield Body("charset gb18030", UMLAUTS.encode("gb18030"), {"content_type": "text/csv; charset=gb18030"})
    yield Body("byte order mark", b"\xef\xbb\xbf" + text, {"content_type": "text/csv"})
    yield Body("CRLF", text.replace(b"\n", b"\r\n"), {"content_type": "text/csv"})
    yield Body("gzip", gzip.compress(text), {"content_type": "text/csv", "content_encoding": "gzip"})
    yield Body("bz2", bz2.compress(text), {"content_type": "text/csv", "content_encoding": "bz2"})
    yield Body(
        "gzip and utf-16", gzip.compress(UMLAUTS.encode("utf-16")), {"content_type": "text/csv;charset=utf-16", "content_encoding": "gzip"}
    )
    rows = [{"x": 1, "kind": "short", "name": "Zürich"}, {"x": 2, "kind": "long", "name": "東京"}]
    plain = json.dumps(rows, ensure_ascii=False)
    yield Body("application/json", plain.encode(), {"content_type": "application/json"})
    yield Body("text/json", plain.encode(), {"content_type": "text/json"})
    yield Body("json in gb18030", plain.encode("gb18030"), {"content_type": "application/json; charset=gb18030"})
    yield Body("json bz2", bz2.compress(plain.encode()), {"content_type": "application/json", "content_encoding": "bz2"})
    for name, content, filename, media_type in (
        ("form", text, "dataset.csv", "text/csv"),
        ("form, octets", text, "dataset", "application/octet-stream"),
        ("form, charset", UMLAUTS.encode("utf-16"), "dataset.csv", "text/csv; charset=utf-16"),
        ("form, json", plain.encode(), "dataset.json", "application/json"),
        ("form, json by its name", plain.encode(), "dataset.json", "application/octet-stream"),
    ):
        body, content_type = form(content, filename=filename, media_type=media_type)
        yield Body(name, body, {"content_type": content_type})
    body, content_type = form(text)
    yield Body("form, gzip", gzip.compress(body), {"content_type": content_type, "content_encoding": "gzip"})


@pytest.mark.parametrize("body", list(bodies()), ids=lambda body: body.id)
def test_every_way_to_send_rows(server: Server, body: Body) -> None:
    rows = ask(server, "rates/predictions?passthroughColumns=name", body.body, **body.headers).rows
    assert [(row["rowId"], row["prediction"], row["passthroughValues"]["name"]) for row in rows] == [(0, 2, "Zürich"), (1, 14, "東京")]


def test_one_object_is_one_row(server: Server) -> None:
    """As the original's documentation sends it, from requests."""
    rows = ask(server, "rates/predictions", '{"x": 4, "kind": "short"}', content_type="text/json", authorization="Bearer anything").rows
    assert rows == [{"predictionValues": [{"label": "length", "value": 8.0}], "prediction": 8.0, "rowId": 0}]


def test_no_rows_are_no_error(server: Server) -> None:
    for query in ("", "?passthroughColumns=a", "?passthroughColumnsSet=all", "?maxExplanations=2", "?excludeAdjustedPredictions=false"):
        assert post_json(server, f"rates/predictions{query}", []).rows == []
    assert post_json(server, "sales/predictions", []).rows == []
    assert post_csv(server, "coin/predictions", "p\n").rows == []
    assert post_csv(server, "coin/predictions", "p\n", accept="text/csv").table == [
        ["heads_PREDICTION", "heads_1_PREDICTION", "heads_0_PREDICTION", "THRESHOLD", "POSITIVE_CLASS"]
    ]


def test_row_order_is_kept_over_a_thousand_rows(server: Server) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    rows = post_csv(server, "rates/predictions", "kind,x\n" + "\n".join(f"short,{x!r}" for x in values.tolist())).rows
    assert [row["rowId"] for row in rows] == list(range(1000))
    assert [row["prediction"] for row in rows] == [2 * x for x in values.tolist()]


@pytest.mark.parametrize(
    ("status", "message", "body", "headers"),
    [
        (400, "the body is empty, CSV with a header was expected", b"", {"content_type": "text/csv"}),
        (400, "the body is empty, JSON was expected", b"", {"content_type": "application/json"}),
        (400, "row 1: has 3 columns, the header has 2", b"x,kind\n1,a\n1,a,b\n", {"content_type": "text/csv"}),
        (400, "two columns are called 'x': give each a name of its own", b"x,x\n1,a\n", {"content_type": "text/csv"}),
        (400, "line 2: not CSV: unexpected end of data", b'x,kind\n1,"a\n', {"content_type": "text/csv"}),
        (400, "row 0: 'x' must be a number, got \"wide\"", b"x,kind\nwide,a\n", {"content_type": "text/csv"}),
        (400, "row 1: 'x' must be a finite number, got null", b"x,kind\n1,a\n,a\n", {"content_type": "text/csv"}),
        (400, "the body is not utf-8: byte 9 is 0xff", b"x,kind\n1,\xff\n", {"content_type": "text/csv"}),
        (400, "the body is not valid JSON", b"[{", {"content_type": "application/json"}),
        (400, "the body is not valid JSON", b'[{"x": NaN, "kind": "a"}]', {"content_type": "application/json"}),
        (400, "the body must be an array of objects, got a string", b'"x"', {"content_type": "application/json"}),
        (400, "row 0: must be an object of features, got a list", b"[[1, 2]]", {"content_type": "application/json"}),
        (400, "the body is not valid JSON", b'[{"x": 1e400, "kind": "a"}]', {"content_type": "application/json"}),
        (400, "row 0: 'x' must be a finite number, got infinity", b"x,kind\n1e400,a\n", {"content_type": "text/csv"}),
        (400, "the body is not valid gzip", b"x,kind\n1,a\n", {"content_type": "text/csv", "content_encoding": "gzip"}),
        (400, "the body is not valid bzip2", b"x,kind\n1,a\n", {"content_type": "text/csv", "content_encoding": "bz2"}),
        (400, "the form has no field 'file'", form(b"x", name="data")[0], {"content_type": form(b"")[1]}),
        (400, "the multipart body does not have the boundary", b"x", {"content_type": form(b"")[1]}),
        (415, "charset 'klingon' is not known", b"x,kind\n1,a\n", {"content_type": "text/csv; charset=klingon"}),
        (415, "charset 'zlib' is not known", b"x,kind\n1,a\n", {"content_type": "text/csv; charset=zlib"}),
        (415, "Content-Type must be text/csv", b"x,kind\n1,a\n", {"content_type": "application/xml"}),
        (415, "Content-Type must be text/csv", b"x,kind\n1,a\n", {}),
        (415, "content-encoding 'deflate' is not supported", b"", {"content_type": "text/csv", "content_encoding": "deflate"}),
        (422, MISSING + "['kind']", b"x\n1\n", {"content_type": "text/csv"}),
        (422, MISSING + "['x', 'kind']", b"x;kind\n1;a\n", {"content_type": "text/csv"}),
        (422, MISSING + "['x']", b'[{"kind": "a"}]', {"content_type": "text/json"}),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(server: Server, status: int, message: str, body: bytes, headers: dict[str, str]) -> None:
    reply = ask(server, "rates/predictions", body, **headers)
    assert (reply.status, reply.message[: len(message)]) == (status, message)


@pytest.mark.parametrize("encoding", ["gzip", "bz2"])
def test_a_bomb_is_refused_at_the_limit(server: Server, encoding: str) -> None:
    zeros = b"0" * (LIMIT + 1)
    packed = gzip.compress(zeros, 1) if encoding == "gzip" else bz2.compress(zeros, 1)
    assert len(packed) < LIMIT / 10
    reply = ask(server, "coin/predictions", packed, content_type="text/csv", content_encoding=encoding)
    assert reply.status == 413
    assert "larger than 52428800 bytes" in reply.message


def test_the_limit_itself_is_allowed(server: Server) -> None:
    """A field of as many blanks as fit: 50 MiB exactly, compressed to less."""
    body = b"p,note\n0.5," + b" " * (LIMIT - len(b"p,note\n0.5,"))
    reply = ask(server, "coin/predictions", gzip.compress(body, 1), content_type="text/csv", content_encoding="gzip")
    assert [row["prediction"] for row in reply.rows] == [0]


def test_the_request_line_may_have_8192_bytes(server: Server) -> None:
    def line(size: int) -> str:
        lead = f"{ROOT}/coin/predictions?passthroughColumns="
        return lead + "x" * (size - len(f"POST {lead} HTTP/1.1"))

    assert post_csv(server, line(8192), COIN).status == 400  # there is no such column
    reply = post_csv(server, line(8193), COIN)
    assert (reply.status, reply.message) == (414, "the request line has 8193 bytes, it may have 8192: send fewer passthroughColumns")


# --- output -------------------------------------------------------------------------------------------------------


def test_a_regressions_rows(server: Server) -> None:
    assert post_csv(server, "rates/predictions", RATES).rows == [
        {"predictionValues": [{"label": "length", "value": v}], "prediction": v, "rowId": i} for i, v in enumerate((2.0, 130.0, -10.0))
    ]


def test_binary_rows_have_the_positive_class_first(server: Server) -> None:
    body = "p\n0.25\n0.75\n0.5\n"
    rows = post_csv(server, "coin/predictions", body).rows
    assert rows[0] == {
        "predictionValues": [{"label": 1, "value": 0.25}, {"label": 0, "value": 0.75}],
        "predictionThreshold": 0.5,
        "prediction": 0,
        "rowId": 0,
    }
    assert [row["prediction"] for row in rows] == [0, 1, 0]  # above the threshold, not at it
    other = post_csv(server, "tails/predictions", body).rows
    assert [value["label"] for value in other[0]["predictionValues"]] == [0, 1]
    assert [(row["prediction"], row["predictionThreshold"]) for row in other] == [(1, 0.8)] * 3


def test_rows_of_several_classes_come_in_the_configured_order(server: Server) -> None:
    rows, _ = load_iris(return_X_y=True)
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    body = ",".join(names) + "\n" + "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    model = joblib.load(IRIS)
    import pandas as pd

    expected = model.predict_proba(pd.DataFrame(rows, columns=names))
    for path, order in (("iris/predictions", [0, 1, 2]), ("5f22ba7ade0f435ba7217bcf/predictions", [2, 0, 1])):
        got = post_csv(server, path, body).rows
        assert [[value["label"] for value in row["predictionValues"]] for row in got] == [order] * len(rows)
        values = [[value["value"] for value in row["predictionValues"]] for row in got]
        np.testing.assert_allclose(values, expected[:, order], rtol=1e-12)
        assert [row["prediction"] for row in got] == expected.argmax(axis=1).tolist()
        assert all("predictionThreshold" not in row for row in got)


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/*", "text/html, application/json;q=0.5"])
def test_json_is_the_default(server: Server, accept: str) -> None:
    assert len(post_csv(server, "coin/predictions", COIN, accept=accept).rows) == 2


@pytest.mark.parametrize(
    ("path", "body", "table"),
    [
        ("rates/predictions", RATES, [["length_PREDICTION"], ["2.0"], ["130.0"], ["-10.0"]]),
        (
            "coin/predictions",
            COIN,
            [
                ["heads_PREDICTION", "heads_1_PREDICTION", "heads_0_PREDICTION", "THRESHOLD", "POSITIVE_CLASS"],
                ["0", "0.2", "0.8", "0.5", "1"],
                ["1", "0.9", "0.09999999999999998", "0.5", "1"],
            ],
        ),
        (
            "rates/predictions?passthroughColumns=note&passthroughColumns=kind&maxExplanations=1",
            RATES,
            [
                [
                    "length_PREDICTION",
                    *(f"EXPLANATION_1_{part}" for part in ("FEATURE_NAME", "STRENGTH", "ACTUAL_VALUE", "QUALITATIVE_STRENGTH")),
                    "note",
                    "kind",
                ],
                ["2.0", "kind", "-10.0", "short", "---", "a", "short"],
                ["130.0", "x", "120.0", "60", "+++", "", "long"],
                ["-10.0", "x", "-10.0", "-5", "---", "c", "odd"],
            ],
        ),
        (
            "shares/predictions?excludeAdjustedPredictions=false",
            RATES,
            [["total_PREDICTION", "total_ADJUSTED_PREDICTION"], ["2.0", "1.0"], ["130.0", "32.5"], ["-10.0", "-20.0"]],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_csv_replies(server: Server, path: str, body: str, table: list[list[str]]) -> None:
    assert post_csv(server, path, body, accept="text/csv").table == table


def test_passthrough_columns_come_last_and_unchanged(server: Server) -> None:
    body = 'x,kind,id,text\n1,short,007,"a,b"\n2,long,1.50,"say ""hi""\ntwice"\n'
    table = post_csv(server, "rates/predictions?passthroughColumnsSet=all", body, accept="text/csv").table
    assert table == [
        ["length_PREDICTION", "x", "kind", "id", "text"],
        ["2.0", "1", "short", "007", "a,b"],
        ["14.0", "2", "long", "1.50", 'say "hi"\ntwice'],
    ]
    rows = post_csv(server, "rates/predictions?passthroughColumnsSet=all", body).rows
    assert rows[0]["passthroughValues"] == {"x": 1, "kind": "short", "id": "007", "text": "a,b"}


def test_passthrough_values_of_json_keep_their_types(server: Server) -> None:
    row = {"x": 1, "kind": "short", "flag": True, "nothing": None, "nested": {"a": [1]}}
    names = "".join(f"&passthroughColumns={name}" for name in ("nested", "flag", "nothing", "x"))
    rows = post_json(server, f"rates/predictions?{names[1:]}", [row]).rows
    assert list(rows[0]["passthroughValues"].items()) == [("nested", {"a": [1]}), ("flag", True), ("nothing", None), ("x", 1)]


# --- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("wd=1", 422, "'wd': wd is not allowed key"),
        ("passthroughColumns=", 422, "'passthroughColumns': blank value is not allowed"),
        ("passthroughColumnsSet=x", 422, "'passthroughColumnsSet': value is not exactly 'all'"),
        ("maxExplanations=x", 422, "'maxExplanations': value can't be converted to int"),
        ("maxCodes=x", 422, "'maxCodes': value can't be converted to int"),
        ("passthroughColumns=x&passthroughColumnsSet=all", 422, "'passthroughColumns' and 'passthroughColumnsSet' cannot be used together"),
        ("passthroughColumns=Name", 400, "passthroughColumns do not match columns, columns expected but not found: ['Name']."),
        (
            "passthroughColumns=x&passthroughColumns=b&passthroughColumns=a",
            400,
            "passthroughColumns do not match columns, columns expected but not found: ['b', 'a'].",
        ),
        ("forecastPoint=2018-01-09", 422, "'forecastPoint': forecastPoint is not allowed key"),
    ],
)
def test_parameter_errors(server: Server, query: str, status: int, message: str) -> None:
    for path in ("rates/predictions", "rates/predictionExplanations"):
        reply = post_csv(server, f"{path}?{query}", RATES)
        assert (reply.status, reply.message) == (status, message)


def test_406(server: Server) -> None:
    reply = post_csv(server, "coin/predictions", COIN, accept="application/xml")
    assert (reply.status, reply.message) == (406, "Accept must allow application/json or text/csv, got 'application/xml'")


# --- explanations -------------------------------------------------------------------------------------------------


def explanation(feature: str, value: Any, strength: float, signs: str, label: Any = "length") -> dict[str, Any]:
    return {"label": label, "feature": feature, "featureValue": value, "strength": strength, "qualitativeStrength": signs}


def test_explanations_are_the_strongest_first(server: Server) -> None:
    rows = post_csv(server, "rates/predictionExplanations", RATES).rows
    assert [row["predictionExplanations"] for row in rows] == [
        [explanation("kind", "short", -10.0, "---"), explanation("x", 1, 2.0, "+")],
        [explanation("x", 60, 120.0, "+++")],
        [explanation("x", -5, -10.0, "---")],
    ]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("rates/predictions", None),
        ("rates/predictions?maxExplanations=0", None),
        ("rates/predictions?maxExplanations=1", [1, 1, 1]),
        ("rates/predictions?maxCodes=2", [2, 1, 1]),
        ("rates/predictionExplanations?maxExplanations=1", [1, 1, 1]),
        ("rates/predictionExplanations?thresholdLow=0", [0, 0, 1]),
        ("rates/predictionExplanations?thresholdHigh=100", [0, 1, 0]),
        ("rates/predictionExplanations?thresholdLow=0&thresholdHigh=100", [0, 1, 1]),
        ("rates/predictionExplanations?thresholdLow=2&thresholdHigh=130", [0, 0, 1]),  # below and above, not at
    ],
)
def test_which_rows_are_explained(server: Server, path: str, counts: list[int] | None) -> None:
    rows = post_csv(server, path, RATES).rows
    found = [row.get("predictionExplanations") for row in rows]
    assert found == [None] * 3 if counts is None else [len(one or ()) for one in found] == counts
    if counts is not None:
        assert None not in found


def test_explanations_of_a_class_name_it(server: Server) -> None:
    names = "sepal_length,sepal_width,petal_length,petal_width\n"
    (row,) = post_csv(server, "iris/predictionExplanations?maxExplanations=4", names + "5.1,3.5,1.4,0.2\n").rows
    assert row["prediction"] == 0
    told = row["predictionExplanations"]
    assert {one["label"] for one in told} == {0}
    sent = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    assert {one["feature"]: one["featureValue"] for one in told}.items() <= sent.items()
    strengths = [abs(one["strength"]) for one in told]
    assert strengths == sorted(strengths, reverse=True)
    assert all(re.fullmatch(r"\+{1,3}" if one["strength"] > 0 else "-{1,3}", one["qualitativeStrength"]) for one in told)


def test_explanations_of_two_classes_are_of_the_positive_one(server: Server) -> None:
    for path, label, sign in (("coin", 1, 1), ("tails", 0, -1)):
        rows = post_csv(server, f"{path}/predictionExplanations", "p\n0.9\n").rows
        for one in rows[0]["predictionExplanations"]:
            assert (one["label"], np.sign(one["strength"])) == (label, sign)


def test_adjusted_predictions_are_there_when_they_are_not_excluded(server: Server) -> None:
    plain = post_csv(server, "rates/predictions", RATES).rows
    assert all("adjustedPrediction" not in row and "adjustedPredictionValues" not in row for row in plain)
    rows = post_csv(server, "rates/predictions?excludeAdjustedPredictions=false", RATES).rows
    assert [row["adjustedPrediction"] for row in rows] == [4.0, 520.0, -5.0]
    assert rows[0]["adjustedPredictionValues"] == [{"label": "length", "value": 4.0}]
    rows = post_csv(server, "shares/predictions?excludeAdjustedPredictions=false", RATES).rows
    assert [(row["prediction"], row["adjustedPrediction"]) for row in rows] == [(2.0, 1.0), (130.0, 32.5), (-10.0, -20.0)]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("x,kind\n1,a\n", 422, MISSING + "['exposure']"),
        ("x,kind,exposure\n1,a,\n", 400, "row 0: 'exposure', the exposure, must be a number, got null"),
    ],
)
def test_an_exposure_that_is_not_there(server: Server, body: str, status: int, message: str) -> None:
    reply = post_csv(server, "rates/predictions?excludeAdjustedPredictions=false", body)
    assert (reply.status, reply.message) == (status, message)


# --- humility -----------------------------------------------------------------------------------------------------


def test_humility_rules_that_fire_are_told_of(server: Server) -> None:
    rows = post_csv(server, "humble/predictions", RATES).rows
    assert "humility" not in rows[0]
    assert rows[1] == {
        "predictionValues": [{"label": "length", "value": 130.0}],
        "prediction": 130.0,
        "rowId": 1,
        "humility": [{"ruleId": "5ebad4735f11b33a38ff3e0d", "ruleName": "Uncertain Prediction Trigger", "triggered": True}],
    }
    assert rows[2] == {
        "predictionValues": [{"label": "length", "value": -10.0}],
        "prediction": 5220,
        "rowId": 2,
        "humility": [
            {"ruleId": "o", "ruleName": "Outlier", "triggered": True},
            {"ruleId": "r", "ruleName": "Rare", "triggered": True},
        ],
    }
    table = post_csv(server, "humble/predictions", RATES, accept="text/csv").table
    assert table == [["length_PREDICTION"], ["2.0"], ["130.0"], ["5220"]]


def test_a_rule_that_throws_refuses_the_request(server: Server) -> None:
    reply = post_csv(server, "proud/predictions", RATES)
    assert (reply.status, reply.message) == (480, "Humility ReturnError action triggered.")
    assert len(post_csv(server, "proud/predictions", "x,kind\n1,short\n").rows) == 1


# --- credentials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", [None, "Bearer whatever", "Token whatever", "Basic " + base64.b64encode(b"me:whatever").decode(), "Digest x"]
)
def test_without_tokens_any_credentials_pass(server: Server, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert post_csv(server, "coin/predictions", COIN, **headers).status == 200


def test_a_deployment_may_have_a_key(server: Server) -> None:
    reply = post_csv(server, "keyed/predictions", COIN)
    assert (reply.status, reply.message) == (401, "The datarobot-key header is missing")
    assert post_csv(server, "keyed/predictions", COIN, datarobot_key="another").status == 401
    assert post_csv(server, "keyed/predictions", COIN, datarobot_key="a-key").status == 200


# --- time series --------------------------------------------------------------------------------------------------

HISTORY = [
    {"day": f"2024-01-0{day}", "shop": shop, "sales": base + day, "promotion": 0, "weather": "rain"}
    for shop, base in (("north", 100), ("south", 200))
    for day in (1, 2, 3)
]
WINDOW = [
    {"day": f"2024-01-0{day}", "shop": shop, "sales": None, "promotion": int(day == 5), "weather": "sun"}
    for shop in ("north", "south")
    for day in (4, 5, 6)
]


def told(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["rowId"], row["seriesId"], row["forecastDistance"], row["prediction"]) for row in rows]


FORECAST = [
    (6, "north", 1, 113),
    (7, "north", 2, 223),
    (8, "north", 3, 133),
    (9, "south", 1, 213),
    (10, "south", 2, 323),
    (11, "south", 3, 233),
]


def test_a_forecast_begins_after_the_last_known_target(server: Server) -> None:
    rows = post_json(server, "sales/predictions", HISTORY + WINDOW).rows
    assert told(rows) == FORECAST
    assert rows[0] == {
        "predictionValues": [{"label": "sales", "value": 113.0}],
        "prediction": 113.0,
        "rowId": 6,
        "seriesId": "north",
        "forecastPoint": "2024-01-03T00:00:00Z",
        "timestamp": "2024-01-04T00:00:00.000000Z",
        "forecastDistance": 1,
        "originalFormatTimestamp": "2024-01-04",
    }


def as_csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_csv_and_another_order_of_rows_forecast_the_same(server: Server) -> None:
    shuffled = [(HISTORY + WINDOW)[i] for i in np.random.default_rng(3).permutation(12)]
    rows = post_csv(server, "sales/predictions", as_csv(shuffled)).rows
    assert [row["rowId"] for row in rows] == sorted(i for i, row in enumerate(shuffled) if row["sales"] is None)
    assert {(s, d, p) for _, s, d, p in told(rows)} == {(s, d, p) for _, s, d, p in FORECAST}
    table = post_csv(server, "sales/predictions?passthroughColumns=shop", as_csv(HISTORY + WINDOW), accept="text/csv").table
    assert table[:2] == [
        ["sales_PREDICTION", "FORECAST_POINT", "FORECAST_DISTANCE", "shop"],
        ["113.0", "2024-01-03T00:00:00Z", "1", "north"],
    ]


def test_a_forecast_point_may_be_chosen_and_what_came_later_is_not_seen(server: Server) -> None:
    rows = post_json(server, "sales/predictions?forecastPoint=2024-01-02T00:00:00", HISTORY + WINDOW).rows
    assert told(rows)[:3] == [(2, "north", 1, 112), (5, "south", 1, 212), (6, "north", 2, 122)]
    assert {row["forecastPoint"] for row in rows} == {"2024-01-02T00:00:00Z"}
    assert len(rows) == 6


def test_rows_of_the_window_are_made_where_they_are_absent(server: Server) -> None:
    """Without a promotion, which is not known of them."""
    rows = post_json(server, "sales/predictions", HISTORY).rows
    assert [(i, s, d, p - 100 * (d == 2)) for i, s, d, p in FORECAST] == told(rows)
    assert [row["timestamp"][:10] for row in rows[:3]] == ["2024-01-04", "2024-01-05", "2024-01-06"]
    assert rows[0]["originalFormatTimestamp"] == "2024-01-04"
    some = post_json(server, "sales/predictions?passthroughColumnsSet=all", HISTORY + WINDOW[:2]).rows
    assert told(some) == [(6, "north", 1, 113), (7, "north", 2, 223), (8, "south", 1, 213), (9, "south", 2, 223), (10, "south", 3, 233)]
    assert some[2]["passthroughValues"] == {"day": "2024-01-04", "shop": "south", "sales": None, "promotion": None, "weather": None}


def test_a_range_is_forecast_at_every_distance_and_its_end_is_exclusive(server: Server) -> None:
    query = "predictionsStartDate=2024-01-02&predictionsEndDate=2024-01-04"
    rows = post_json(server, f"sales/predictions?{query}", HISTORY).rows
    found = [(row["rowId"], row["forecastPoint"][:10], row["forecastDistance"], row["prediction"]) for row in rows]
    assert found == [
        (1, "2024-01-01", 1, 111),
        (2, "2024-01-02", 1, 112),
        (2, "2024-01-01", 2, 121),
        (4, "2024-01-01", 1, 211),
        (5, "2024-01-02", 1, 212),
        (5, "2024-01-01", 2, 221),
    ]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("forecastPoint=soon", 422, "'forecastPoint': value is not a date and time in ISO 8601"),
        ("forecastPoint=2023-01-01", 422, "'forecastPoint': series 'north' has no row at or before 2023-01-01T00:00:00Z"),
        ("predictionsStartDate=2024-01-02", 422, "'predictionsEndDate': is required with 'predictionsStartDate'"),
        (
            "forecastPoint=2024-01-02&predictionsStartDate=2024-01-02&predictionsEndDate=2024-01-03",
            422,
            "'forecastPoint' and 'predictionsStartDate' cannot be used together",
        ),
        (
            "forecastPoint=2024-01-02T12:00:00",
            422,
            "row 2: 2024-01-03T00:00:00 is not a whole number of time steps after the forecast point",
        ),
        ("wd=1", 422, "'wd': wd is not allowed key"),
    ],
)
def test_forecasts_that_cannot_be_made(server: Server, query: str, status: int, message: str) -> None:
    reply = post_json(server, f"sales/predictions?{query}", HISTORY + WINDOW)
    assert (reply.status, reply.message[: len(message)]) == (status, message)


def test_features_known_in_advance_must_be_known_unless_that_is_relaxed(server: Server) -> None:
    rows = [row | {"promotion": None} if row["day"] == "2024-01-05" else row for row in HISTORY + WINDOW]
    reply = post_json(server, "sales/predictions", rows)
    assert reply.status == 422
    assert reply.message.startswith("features known in advance have missing values in the forecast window: ['promotion']")
    relaxed = post_json(server, "sales/predictions?relaxKnownInAdvanceFeaturesCheck=true", rows).rows
    assert [row["prediction"] for row in relaxed[:3]] == [113, 123, 133]
    absent = [{name: value for name, value in row.items() if name != "promotion"} for row in HISTORY + WINDOW]
    reply = post_json(server, "sales/predictions", absent)
    assert (reply.status, "['promotion']" in reply.message) == (422, True)
    relaxed = post_json(server, "sales/predictions?relaxKnownInAdvanceFeaturesCheck=true", absent).rows
    assert [row["prediction"] for row in relaxed[:3]] == [113, 123, 133]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"day": "yesterday"}, 400, "row 0: 'day' must be a date and time (ISO 8601), got 'yesterday'"),
        ({"day": None}, 400, "row 0: 'day' must be a date and time (ISO 8601), got None"),
        ({"day": "2024-01-02"}, 400, "row 1: 2024-01-02T00:00:00 is there twice in its series"),
        ({"sales": "many"}, 400, "row 0: 'sales' must be a number"),
    ],
)
def test_series_that_are_none(server: Server, change: dict[str, Any], status: int, message: str) -> None:
    reply = post_json(server, "sales/predictions", [HISTORY[0] | change, *HISTORY[1:], *WINDOW])
    assert (reply.status, reply.message[: len(message)]) == (status, message)


def test_a_data_set_without_any_known_target_needs_a_forecast_point(server: Server) -> None:
    reply = post_json(server, "sales/predictions", WINDOW)
    assert (reply.status, reply.message.startswith("'forecastPoint': no row has a value of 'sales'")) == (422, True)


# --- anything -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["iris/predictions", "rates/predictionExplanations", "sales/predictions"])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_made_of_the_openapi_document_is_answered_as_it_says(server: Server, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{server.rest}/openapi.json")[f"{ROOT}/{path}"]["POST"]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=40, derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    def tried(case: Any) -> None:
        case.call_and_validate(timeout=20, excluded_checks=[positive_data_acceptance])  # no schema says which parameters exclude each other

    tried()
    assert server.metric("dragoman_worker_restarts_total") == 0


# --- the page of the docs -----------------------------------------------------------------------------------------


def test_the_walk_of_the_docs_page_works(tmp_path: Path) -> None:
    """Its manifests are served, and each of its commands answers what the page says."""
    root = Path(__file__).parents[2]
    page = (root / "docs/dialects/datarobot.md").read_text(encoding="utf-8").partition("## A walk")[2]
    (document,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (walk,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "modeldeployment.yaml"
    file.write_text(document.replace("examples/", f"{root}/examples/"), encoding="utf-8")
    steps = re.findall(r"^\$ (.*?[^\\])\n(.*?)(?=^\$ |\Z)", walk, re.DOTALL | re.MULTILINE)
    assert len(steps) == 8
    with serving(tmp_path, file) as started:
        for command, answer in steps:
            url = command.replace("http://127.0.0.1:8080", started.rest)
            done = subprocess.run(url, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
            expected = ".*".join(map(re.escape, answer.strip().split("…")))
            assert re.fullmatch(expected, done.stdout.strip()), done.stdout


def test_options_that_the_model_cannot_be_end_the_start(tmp_path: Path) -> None:
    file = manifest(tmp_path, "coin", MODELS / "coin.py", serving={"dialects": {"datarobot": {"positiveClass": "edge"}}})
    done = run(tmp_path, "serve", file, "--port", "0", "--grpc-port", "0", "--management-port", "0")
    assert done.returncode == 19
    assert (
        "spec.serving.dialects.datarobot.positiveClass: 'edge' is none of the classes of model 'coin': [0, 1]" in done.stderr + done.stdout
    )
