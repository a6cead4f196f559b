"""What is wrong with a request's content is said, in its dialect's own shape, and leaves the server serving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.requests import ROW, V1, V2, assert_serves, infer, instances, refused, sent, tensor
from tests.support.serving import Server, manifest, serving
from tests.support.wire import Wire

IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
GOOD = instances(ROW)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bad-input")
    with serving(folder, manifest(folder, "iris", IRIS)) as started:
        yield started


@pytest.fixture(autouse=True)
def _still_serving(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        assert_serves(request.getfixturevalue("server"))


# --- what the body says ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["empty"]),
        (b"   ", ["empty"]),
        (b"{", ["not valid JSON"]),
        (GOOD[:-1], ["not valid JSON"]),
        (GOOD + b"]", ["not valid JSON"]),
        (b"\xff\xfe{}", ["not valid JSON"]),
        (b'{"instances": [["\\ud800", 1, 2, 3]]}', ["not valid JSON"]),
        (b"[" * 50_000 + b"]" * 49_999, ["not valid JSON"]),
        (b'{"instances":' * 5_000 + b"1" + b"}" * 5_000, ["not valid JSON"]),
        (b'{"instances": [[NaN, 1, 2, 3]]}', ["not valid JSON"]),
        (b'{"instances": [[Infinity, 1, 2, 3]]}', ["not valid JSON"]),
        (b'{"instances": [[1e999, 1, 2, 3]]}', []),
        (b'{"instances": [[-1e309, 1, 2, 3]]}', []),
        (b'{"instances": [[1' + b"0" * 400 + b", 1, 2, 3]]}", []),
        (b"[]", ["an object", "a list"]),
        (b"null", ["an object", "null"]),
        (b"7", ["an object", "a number"]),
        (b"{}", ["'instances'", "'inputs'"]),
        (b'{"instances": 5}', ["'instances'", "a number"]),
        (b'{"instances": {"a": 1}}', ["'instances'", "an object"]),
        (b'{"instances": [[1,2,3,4]], "inputs": [[1,2,3,4]]}', ["both"]),
        (b'{"instances": [[1,2,3,4]], "signature_name": 1}', ["'signature_name'"]),
        (instances([1, 2, 3]), ["row 0", "3 values", "'petal_width'"]),
        (instances(ROW, [1, 2]), ["row 1", "2 values"]),
        (instances(ROW, ROW, {"sepal_length": 1}), ["row 2", "an object"]),
        (instances([[1, 2, 3, 4]]), ["row 0"]),
        (instances([1, 2, 3, [4]]), ["row 0", "a list"]),
        (instances(ROW, [1, "wide", 3, 4]), ["row 1", "'sepal_width'", '"wide"']),
        (instances([1, 2, True, 4]), ["row 0", "'petal_length'", "true"]),
        (instances([1, 2, 3, None]), ["row 0", "'petal_width'", "null"]),
        (instances([1, 2, 3, "x" * 10_000]), ["row 0", "'petal_width'", "xxx…"]),
        (instances({"sepal_length": 1, "sepal_width": 1, "petal_length": 1}), ["'petal_width'", "missing"]),
        (b'{"inputs": {"sepal_length": [1], "sepal_width": [1, 2]}}', ["'sepal_width'", "2 values"]),
        (b'{"inputs": {"sepal_length": 1}}', ["'sepal_length'", "a list"]),
    ],
)
def test_v1_says_what_is_wrong_with_the_rows(server: Server, body: bytes, words: list[str]) -> None:
    refused(sent(server, V1, body), 400, *words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["empty"]),
        (b'{"inputs": [', ["not valid JSON"]),
        (b"[" * 50_000, ["not valid JSON"]),
        (b"[]", ["inference request"]),
        (b"{}", ["inputs"]),
        (b'{"inputs": {}}', ["inputs"]),
        (infer(), ["'inputs' is empty"]),
        (infer(7), ["inputs[0]"]),
        (infer({"name": "input", "shape": [1, 4], "datatype": "FP64"}), ["'input'", "data"]),
        (infer(tensor(name=3)), ["inputs[0].name"]),
        (infer(tensor(datatype="FP128")), ["'input'", "FP128"]),
        (infer(tensor(datatype=None)), ["datatype"]),
        (infer(tensor(shape="1,4")), ["shape"]),
        (infer(tensor(shape=[1.5, 4])), ["shape"]),
        (infer(tensor(shape=[-1, 4])), ["'input'", "-1"]),
        (infer(tensor(shape=[2**40, 2**40])), ["'input'"]),
        (infer(tensor(shape=[2**63, 2])), ["'input'"]),
        (infer(tensor(shape=[10**30, 4])), []),
        (infer(tensor(shape=[1] * 1000, values=[1])), ["'input'"]),
        (infer(tensor(shape=[2, 4])), ["'input'", "4", "8"]),
        (infer(tensor(shape=[1, 5], values=[*ROW, 1])), ["'input'", "(rows, 4)"]),
        (infer(tensor(shape=[1, 2, 2])), ["'input'"]),
        (infer(tensor(shape=[])), ["'input'"]),
        (infer(tensor(values=[1, 2, 3, "four"])), ["'input'"]),
        (infer(tensor(values=[1, 2, 3, None])), ["row 0", "'petal_width'", "null"]),
        (infer(tensor(values=[[1, 2], [3]])), ["'input'"]),
        (infer(tensor(values="AAAA")), ["'input'"]),
        (infer(tensor(datatype="INT8", values=[1, 2, 3, 300])), ["'input'", "300"]),
        (infer(tensor(datatype="UINT8", values=[1, 2, 3, -1])), ["'input'", "-1"]),
        (infer(tensor(datatype="INT64", values=[1, 2, 3, 10**30])), ["'input'"]),
        (infer(tensor(datatype="BOOL", values=[1, 2, 3, 4])), ["'input'"]),
        (infer(tensor(datatype="BYTES", values=["a", "b", "c", "d"])), ["row 0", "'sepal_length'"]),
        (b'{"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP64", "data": [NaN, 1, 2, 3]}]}', ["not valid JSON"]),
        (b'{"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1e300, 1, 2, 3]}]}', []),
        (infer(tensor(), tensor()), ["'input'", "twice"]),
        (infer(tensor(name="sepal_length", shape=[1], values=[1])), ["'sepal_width'", "missing"]),
        (infer(tensor(), outputs=[{"name": "nonsense"}]), ["'nonsense'", "predict"]),
        (infer(tensor(), outputs=[{"name": "predict"}, {"name": "predict"}]), ["'predict'", "twice"]),
        (infer(tensor(), outputs="predict"), ["outputs"]),
        (infer(tensor(), id=7), ["id"]),
        (infer(tensor(parameters=[])), ["parameters"]),
        (infer(tensor(), parameters={"binary_data_output": "yes"}), ["binary_data_output"]),
        (infer(tensor(parameters={"binary_data_size": 8})), ["'input'", "binary_data_size"]),
    ],
)
def test_v2_says_what_is_wrong_with_the_tensors(server: Server, body: bytes, words: list[str]) -> None:
    refused(sent(server, V2, body), 400, *words)


def described(size: Any, shape: Any = (1, 4), datatype: str = "FP64") -> bytes:
    parameters = {"binary_data_size": size}
    return json.dumps({"inputs": [{"name": "input", "shape": shape, "datatype": datatype, "parameters": parameters}]}).encode()


@pytest.mark.parametrize(
    ("head", "rest", "length", "words"),
    [
        (described(32), b"\0" * 31, None, ["'input'", "32", "31"]),
        (described(32), b"\0" * 33, None, ["1 bytes more"]),
        (described(24), b"\0" * 24, None, ["'input'"]),
        (described(-32), b"\0" * 32, None, ["'input'", "-32"]),
        (described("32"), b"\0" * 32, None, ["'input'", "'32'"]),
        (described(2**64), b"\0" * 32, None, ["'input'"]),
        (described(32, shape=[-1, 4]), b"\0" * 32, None, ["'input'"]),
        (described(32, shape=[2**61, 4]), b"\0" * 32, None, ["'input'"]),
        (described(8, datatype="BYTES"), b"\xff\xff\xff\xff\0\0\0\0", None, ["'input'"]),
        (described(5, shape=[1], datatype="BYTES"), b"\1\0\0\0\xff", None, ["'input'"]),
        (described(4, datatype="BOOL"), b"\1\0\2\0", None, ["'input'"]),
        (described(32), b"\0" * 32, "9999", ["Inference-Header-Content-Length", "9999"]),
        (described(32), b"\0" * 32, "-1", ["Inference-Header-Content-Length", "-1"]),
        (described(32), b"\0" * 32, "ten", ["Inference-Header-Content-Length", "ten"]),
        (described(32), b"\0" * 32, "9" * 50, ["Inference-Header-Content-Length"]),
        (described(32), b"\0" * 32, "10", ["not valid JSON"]),
        (b"", b"\0" * 31, "0", ["'input'", "31"]),
    ],
)
def test_v2_says_what_is_wrong_with_binary_tensors(server: Server, head: bytes, rest: bytes, length: str | None, words: list[str]) -> None:
    reply = sent(server, V2, head + rest, inference_header_content_length=str(len(head)) if length is None else length)
    refused(reply, 400, *words)


def test_a_value_that_is_not_finite_is_refused_from_binary_tensors_too(server: Server) -> None:
    head = described(32)
    rest = bytes.fromhex("000000000000f07f") + b"\0" * 24
    reply = sent(server, V2, head + rest, inference_header_content_length=str(len(head)))
    refused(reply, 400, "row 0", "'sepal_length'", "finite")


# --- what is asked for -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/v1/models/rose:predict", 404, ["'rose'", "iris"]),
        ("POST", "/v1/models/iris:classify", 404, ["':classify'", ":predict"]),
        ("GET", "/v1/models/rose", 404, ["'rose'", "iris"]),
        ("GET", "/v1/nothing", 404, ["/v1/nothing"]),
        ("POST", "/v2/models/rose/infer", 404, ["'rose'", "iris"]),
        ("POST", "/v2/models/iris/versions/7/infer", 404, ["'7'"]),
        ("GET", "/v2/models/iris/versions/7", 404, ["'7'"]),
        ("GET", "/v2/models/rose", 404, ["'rose'"]),
        ("GET", "/v2/nothing/at/all", 404, ["/v2/nothing/at/all"]),
        ("GET", "/nothing", 404, ["/nothing", "/docs"]),
        ("GET", "/v2/", 404, ["/v2/"]),
        ("GET", "/v1/%00/../%2e%2e/etc/passwd", 404, []),
        ("GET", "/docs/assets/../../../../etc/passwd", 404, []),
        ("GET", "/docs/assets/%2e%2e/%2e%2e/errors.py", 404, []),
        ("GET", V1, 405, ["GET", V1]),
        ("DELETE", "/v1/models/iris", 405, ["DELETE"]),
        ("PUT", V2, 405, ["PUT", V2]),
        ("POST", "/v2", 405, ["POST", "/v2"]),
        ("POST", "/v2/repository/models/iris/unload", 403, ["token"]),
    ],
)
def test_what_is_not_there_is_said_by_name(server: Server, method: str, path: str, status: int, words: list[str]) -> None:
    with Wire(server.rest) as wire:
        answer = wire.send(f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode()).answer()
    assert answer.status == status
    assert answer.headers["x-request-id"]
    for word in words:
        assert word in answer.error
    assert ("allow" in answer.headers) is (status == 405)
