"""The porter contract, row by row, over a socket: of an application served with workers, and the same one run in its own process."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.serving import Server, eventually, manifest, serving

APP = Path(__file__).parents[1] / "models/porter_app.py"
CHECKED, SINGLE = "/checked/v1/prediction", "/single/v1/prediction"
CONTEXT = {"model_name": "checked", "api_version": "v1", "model_meta": {"algorithm": "none", "trained": 1}}
LIVE = "This endpoint is live. Send POST requests for predictions"
NOT_UNDERSTOOD = "The browser (or proxy) sent a request that this server could not understand."
NOT_FOUND = "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again."
NOT_ALLOWED = "The method is not allowed for the requested URL."
FAILED = "Could not serve model results successfully."


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """The standard library's, one connection a request."""

    address: str

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = HTTPConnection(self.address, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def post(self, path: str, document: Any, **headers: str) -> Answer:
        return self.ask("POST", path, json.dumps(document).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("porter")
    with serving(folder, manifest(folder, "app", APP, serving={"dialects": {"porter": {"supportResponseGzip": True}}})) as running:
        yield running


@pytest.fixture(scope="module")
def own_process() -> Iterator[str]:
    """`ModelApp.run()`, in a thread of this process; gives its address."""
    import dragoman.porter.config as cf
    from dragoman.hosting import hosted

    spec = importlib.util.spec_from_file_location("porter_app_of_the_contract", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with hosted():  # its own `run()` would not come back
        spec.loader.exec_module(module)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    cf.support_response_gzip = True
    threading.Thread(target=module.app.run, kwargs={"port": port}, daemon=True).start()
    address = f"127.0.0.1:{port}"
    eventually(lambda: _is_open(port))
    yield address
    cf.support_response_gzip = False


def _is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=["workers", "own process"])
def client(request: pytest.FixtureRequest) -> Client:
    if request.param == "workers":
        return Client(urlsplit(request.getfixturevalue("server").rest).netloc)
    return Client(request.getfixturevalue("own_process"))


def row(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "a": 1, "b": 2.5, "c": "x"} | changes


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in row().items() if name not in names}


@dataclass
class Case:
    """A request, and all of its reply but the request's id."""

    name: str
    body: Any
    status: int
    expected: Any
    path: str = CHECKED
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def predictions(*values: Any, context: Any = CONTEXT, ids: Any = None) -> dict[str, Any]:
    found = [{"id": one, "prediction": value} for one, value in zip(ids or range(1, len(values) + 1), values, strict=True)]
    return {"model_context": context, "predictions": found}


def error(name: str, *messages: Any, context: Any = CONTEXT) -> dict[str, Any]:
    body: dict[str, Any] = {"error": {"name": name, "messages": list(messages)}}
    return body if context is None else body | {"model_context": context}


def of(name: str) -> dict[str, Any]:
    return {"model_name": name, "api_version": "v1", "model_meta": {}}


def invalid(text: str, context: Any = CONTEXT) -> dict[str, Any]:
    return error("UnprocessableEntity", f"Schema validation failed: {text}", context=context)


def refused(name: str, body: Any, text: str) -> Case:
    return Case(name, body, 422, invalid(text))


CASES = [
    # routes
    Case("a batch", [row(), row(id=2, b=1)], 200, predictions(5.0, 2.0)),
    Case("a trailing slash", [row()], 200, predictions(5.0), f"{CHECKED}/"),
    Case("a content type that is not JSON's", [row()], 200, predictions(5.0), headers={"content-type": "text/csv"}),
    Case("no rows", [], 200, predictions()),
    Case("one row alone", row(), 200, {"model_context": of("single"), "predictions": {"id": 1, "prediction": 5.0}}, SINGLE),
    Case("a list where one row is taken", [row()], 422, invalid("data must be object", of("single")), SINGLE),
    Case("a vector", [{"id": 1, "kind": "vector"}], 200, predictions([1, 2.5], context=of("shapes")), "/shapes/v1/prediction"),
    Case(
        "a list of different kinds", [{"id": 1, "kind": "mixed"}], 200, predictions(["a", 1], context=of("shapes")), "/shapes/v1/prediction"
    ),
    Case("an object", [{"id": 1, "kind": "object"}], 200, predictions({"p": 0.5}, context=of("shapes")), "/shapes/v1/prediction"),
    Case("a text", [{"id": 1, "kind": "text"}], 200, predictions("yes", context=of("shapes")), "/shapes/v1/prediction"),
    Case("NaN is null", [{"id": 1, "kind": "nan"}], 200, predictions(None, context=of("shapes")), "/shapes/v1/prediction"),
    Case(
        "ids of any kind", [{"id": "x", "kind": "text"}], 200, predictions("yes", context=of("shapes"), ids=["x"]), "/shapes/v1/prediction"
    ),
    # order of work
    Case(
        "the order of work",
        [{"more": 1, "id": 1, "a": 1, "b": 2}],
        200,
        predictions(
            {
                "steps": [
                    "checks ['more', 'id', 'a', 'b']",
                    "preprocess ['b', 'a']",
                    "predict ['b', 'a', 'made']",
                    "postprocess ['more', 'id', 'a', 'b'] ['b', 'a', 'made']",
                ]
            },
            context=of("traced"),
        ),
        "/some/space/traced/v1/trace",
    ),
    Case(
        "every column without a schema",
        [{"z": 1, "id": 1, "a": 2}],
        200,
        predictions(["z", "id", "a"], context=of("columns")),
        "/columns/v1/prediction",
    ),
    Case(
        "every column where none is inferred",
        [{"z": 1, "id": 1, "a": 2}],
        200,
        predictions(["z", "id", "a"], context=of("all-columns")),
        "/all-columns/v1/prediction",
    ),
    Case("the schema before the checks", [row(a=9, c="z")], 422, invalid("data[0].c must be one of ['x', 'y']")),
    Case("fewer predictions than rows", [row(a=6), row(id=2)], 500, error("InternalServerError", FAILED)),
    Case("more predictions than rows", [row(a=4)], 500, error("InternalServerError", FAILED)),
    # errors
    Case("not JSON", b"{", 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("an empty body", b"", 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("null", b"null", 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("NaN, which JSON has not", b'[{"id": 1, "a": 1, "b": NaN, "c": "x"}]', 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("NaN beside a long integer", b'[{"id": 123456789012345678901234567890, "a": NaN}]', 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("not UTF-8", b'[{"id": "\xff"}]', 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("nested without end", b"[" * 100_000, 400, error("BadRequest", NOT_UNDERSTOOD)),
    Case("bad gzip", b"not gzip", 400, error("BadRequest", NOT_UNDERSTOOD), headers={"content-encoding": "gzip"}),
    Case("gzip cut short", gzip.compress(b"[]" * 99)[:-9], 400, error("BadRequest", NOT_UNDERSTOOD), headers={"content-encoding": "gzip"}),
    Case("gzip", gzip.compress(json.dumps([row()]).encode()), 200, predictions(5.0), headers={"content-encoding": "gzip"}),
    Case("identity", [row()], 200, predictions(5.0), headers={"content-encoding": "identity"}),
    Case("deflate", b"", 415, error("UnsupportedMediaType", 'unsupported encoding: "deflate"'), headers={"content-encoding": "deflate"}),
    Case("br", b"", 415, error("UnsupportedMediaType", 'unsupported encoding: "br"'), headers={"content-encoding": "br"}),
    Case("what the checks raise", [row(id=5, a=9)], 422, error("UnprocessableEntity", "a must not be 9", 5)),
    Case("an error on purpose", [row(a=8)], 418, error("PorterException", "not today")),
    Case("werkzeug's error on purpose", [row(a=5)], 503, error("ServiceUnavailable", "the feature store is down")),
    Case("the model raises", [row(a=7)], 500, error("InternalServerError", FAILED)),
    Case(
        "a reply that its schema refuses",
        [row()],
        500,
        error(
            "ValueError",
            "Schema validation failed: data.predictions[0].prediction must be bigger than or equal to 100",
            context=of("bounded"),
        ),
        "/bounded/v1/prediction",
    ),
    Case("a reply that its schema allows", [row(b=50)], 200, predictions(100.0, context=of("bounded")), "/bounded/v1/prediction"),
    Case("nothing there", None, 404, error("NotFound", NOT_FOUND, context=None), "/nothing/there", "GET"),
    Case("nothing there to post to", [row()], 404, error("NotFound", NOT_FOUND, context=None), "/checked/v2/prediction"),
    Case("nothing on health's ground", None, 404, error("NotFound", NOT_FOUND, context=None), "/-/nothing", "GET"),
    Case("another method", [row()], 405, error("MethodNotAllowed", NOT_ALLOWED, context=None), method="PUT"),
    Case("a method that health does not have", b"", 405, error("MethodNotAllowed", NOT_ALLOWED, context=None), "/-/alive"),
    # validation texts
    refused("an object where a list is taken", row(), "data must be array"),
    refused("a text where a list is taken", "rows", "data must be array"),
    refused("a row that is no object", [[1]], "data[0] must be object"),
    refused("no id", [without("id")], "data[0] must contain ['id'] properties"),
    refused("missing keys in the schema's order", [without("c", "id", "a")], "data[0] must contain ['id', 'a', 'c'] properties"),
    refused("a second row", [row(), without("b")], "data[1] must contain ['b'] properties"),
    refused("a fraction", [row(a=1.5)], "data[0].a must be integer"),
    refused("true is no integer", [row(a=True)], "data[0].a must be integer"),
    refused("a text is no integer", [row(a="1")], "data[0].a must be integer"),
    refused("null is no integer", [row(a=None)], "data[0].a must be integer"),
    refused("a text is no id", [row(id="1")], "data[0].id must be integer"),
    refused("true is no number", [row(b=True)], "data[0].b must be number"),
    refused("too small", [row(b=-1)], "data[0].b must be bigger than or equal to 0"),
    refused("too big", [row(a=11)], "data[0].a must be smaller than or equal to 10"),
    refused("none of the choices", [row(c="z")], "data[0].c must be one of ['x', 'y']"),
    refused("no text", [row(c=1)], "data[0].c must be string"),
    Case("1.0 is an integer", [row(a=1.0)], 200, predictions(5.0)),
    Case("columns that the schema has not", [row(more=[1])], 200, predictions(5.0)),
    # oddities of JSON
    Case("the last of two keys", b'[{"id": 1, "a": 1, "b": 9, "c": "x", "b": 2.5}]', 200, predictions(5.0)),
    Case("a long id", [row(id=10**30)], 200, predictions(5.0, ids=[10**30])),
    Case("an integer beyond the bound", [row(a=10**30)], 422, invalid("data[0].a must be smaller than or equal to 10")),
    Case("a byte order mark", b"\xef\xbb\xbf" + json.dumps([row()]).encode(), 200, predictions(5.0)),
    # without a schema
    Case("rows that are none", [1], 422, invalid("data[0] must be object", of("columns")), "/columns/v1/prediction"),
    Case("rows without an id", [{"a": 1}], 422, invalid("data[0] must contain ['id'] properties", of("columns")), "/columns/v1/prediction"),
    # services of the author's own code
    Case("own code that fails", {}, 500, error("InternalServerError", FAILED, context=of("own")), "/own/v1/echo", headers={"x-fail": "1"}),
    Case("own code that is sent no JSON", b"{", 400, error("BadRequest", NOT_UNDERSTOOD, context=of("own")), "/own/v1/echo"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_contract(client: Client, case: Case) -> None:
    body = case.body if isinstance(case.body, bytes | None) else json.dumps(case.body).encode()
    answer = client.ask(case.method, case.path, body, case.headers)
    assert answer.status == case.status, answer.body
    assert answer.headers["content-type"] == "application/json"
    found = answer.json
    made = uuid.UUID(found.pop("request_id"))
    assert made.version == 4
    assert found == case.expected
    assert answer.headers["x-request-id"] == made.hex


@pytest.mark.parametrize("path", [CHECKED, f"{CHECKED}/", SINGLE, "/some/space/traced/v1/trace"])
def test_an_endpoint_says_that_it_is_live(client: Client, path: str) -> None:
    answer, head = client.ask("GET", path), client.ask("HEAD", path)
    assert (answer.status, answer.json) == (200, LIVE)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/-/alive", "/-/ready"])
def test_health(client: Client, path: str) -> None:
    answer = client.ask("GET", path)
    body = answer.json
    assert answer.status == 200
    assert set(body) == {"request_id", "porter_version", "deployed_on", "app_meta", "services"}
    assert time.strptime(body["deployed_on"][:19], "%Y-%m-%dT%H:%M:%S") <= time.gmtime()
    assert body["app_meta"] == {
        "name": "Contract",
        "description": f"<div>All of it</div><div><p>(porter v{body['porter_version']})</p></div>",
        "version": "3",
        "expose_docs": True,
        "docs_url": "/docs/",
        "docs_json_url": "/_docs.json",
        "docs_prefix": "",
    }
    assert body["services"][CHECKED] == {"endpoint": CHECKED, "status": "READY", "model_context": CONTEXT}
    assert len(body["services"]) == 9
    assert client.ask("HEAD", path).status == 200


def test_docs(client: Client) -> None:
    root, page, document = client.ask("GET", "/"), client.ask("GET", "/docs/"), client.ask("GET", "/_docs.json")
    assert (root.status, root.headers["location"]) == (302, "/docs/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assets = [part.split('"')[1] for part in page.body.decode().split("src=")[1:] + page.body.decode().split("href=")[1:]]
    assert len(assets) == 3
    assert all(asset.startswith("/") and client.ask("GET", asset).status == 200 for asset in assets)
    assert document.json["openapi"].startswith("3.")
    assert document.json["components"]["schemas"]["Features"]["properties"]["a"]["description"] == "Which case."
    assert {CHECKED, "/-/alive", "/-/ready"} <= set(document.json["paths"])
    assert client.ask("GET", "/assets/swagger-ui/secret").status == 404


def test_replies_are_compressed_for_those_who_ask(client: Client) -> None:
    body = json.dumps([row()]).encode()
    packed = client.ask("POST", CHECKED, body, {"accept-encoding": "deflate, gzip;q=0.5"})
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert json.loads(gzip.decompress(packed.body))["predictions"] == [{"id": 1, "prediction": 5.0}]
    for accepted in ("identity", "gzip;q=0", "br"):
        assert "content-encoding" not in client.ask("POST", CHECKED, body, {"accept-encoding": accepted}).headers
    refused = client.ask("POST", CHECKED, b"[1]", {"accept-encoding": "gzip"})
    assert (refused.status, refused.headers.get("content-encoding")) == (422, None)


def test_a_clients_own_id_stays_its_own(client: Client) -> None:
    mine = uuid.uuid4().hex
    assert client.post(CHECKED, [row()], x_request_id=mine).json["request_id"] == mine
    answer = client.post(CHECKED, [row()], x_request_id="order-7")
    assert answer.headers["x-request-id"] == "order-7"
    assert uuid.UUID(answer.json["request_id"]).version == 4


def test_a_service_of_the_authors_own_code(client: Client) -> None:
    answer = client.ask("GET", "/own/v1/echo?text=a%20b")
    assert (answer.status, answer.body, answer.headers["x-own"]) == (203, b"a b", "1")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert client.post("/own/v1/echo/", {"a": [1]}, x_request_id="7").json == {"sent": {"a": [1]}, "id": "7"}


def test_rows_of_other_requests_do_not_mix_unless_the_author_says_so(server: Server) -> None:
    client = Client(urlsplit(server.rest).netloc)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: client.post("/sum/v1/prediction", [{"id": i, "a": i}]).json["predictions"], range(8)))
    assert answers == [[{"id": i, "prediction": i}] for i in range(8)]


def test_each_call_is_logged_in_one_line(server: Server) -> None:
    client = Client(urlsplit(server.rest).netloc)
    done, failed = client.post("/sum/v1/prediction", [{"id": 70, "a": 1}]).json, client.post("/sum/v1/prediction", [{"id": 71}]).json

    def lines() -> Any:
        told = [json.loads(line) for line in server.log.read_text().splitlines()]
        found = {line["request_id"]: line for line in told if line["logger"].startswith("porter")}
        return found if {done["request_id"], failed["request_id"]} <= set(found) else None

    found = eventually(lines)
    call, exception = found[done["request_id"]], found[failed["request_id"]]
    assert (call["event"], call["service_class"], call["request_data"]) == ("api_call", "PredictionService", [{"id": 70, "a": 1}])
    assert call["response_data"] == done
    assert (exception["event"], exception["request_data"], exception["response_data"]) == ("exception", [{"id": 71}], failed)


def test_what_the_code_raised_is_in_the_log_under_the_replys_id(server: Server) -> None:
    client = Client(urlsplit(server.rest).netloc)
    identity = client.post(CHECKED, [row(a=7)]).json["request_id"]

    def line() -> Any:
        told = [json.loads(one) for one in server.log.read_text().splitlines()]
        return [one for one in told if one.get("request_id") == identity and "exception" in one]

    assert "the inside of the code" in eventually(line)[0]["exception"]


def test_the_file_is_a_script_of_its_own_too(tmp_path: Path) -> None:
    """As `python app.py`: it serves from its own process until it is stopped."""
    text = APP.read_text().replace("app.run()", "app.run(port=__import__('os').environ['PORT'])")
    script = tmp_path / "app.py"
    script.write_text(text)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "PORT": str(port)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: _is_open(port))
        assert Client(f"127.0.0.1:{port}").post(CHECKED, [row()]).json["predictions"] == [{"id": 1, "prediction": 5.0}]
    finally:
        process.terminate()
        process.wait(20)
