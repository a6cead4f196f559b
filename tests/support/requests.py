"""Requests to v1 and v2, right ones and wrong ones, and what a refusal must look like."""

from __future__ import annotations

import json
from typing import Any

import httpx
from tests.support.serving import Server

V1 = "/v1/models/iris:predict"
V2 = "/v2/models/iris/infer"
ROW = [5.1, 3.5, 1.4, 0.2]


def instances(*rows: Any) -> bytes:
    return json.dumps({"instances": rows}).encode()


def tensor(shape: Any = (1, 4), datatype: Any = "FP64", values: Any = ROW, name: Any = "input", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": values} | more


def infer(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": inputs} | more).encode()


def sent(server: Server, path: str, body: bytes, **headers: str) -> httpx.Response:
    """Posted as JSON; `content_encoding="gzip"` is a header more."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(server.rest + path, content=body, headers={"content-type": "application/json"} | given, timeout=30)


def refused(reply: httpx.Response, status: int, *words: str) -> None:
    """The reply is this error, in the shape of v1 and v2, and its text has these words."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    document = reply.json()
    assert set(document) == {"error"}
    for word in words:
        assert word in document["error"], document["error"]


def assert_serves(server: Server) -> None:
    """Whatever was sent before: iris still answers, no worker was lost, nothing is left in flight."""
    assert server.predict("iris", [ROW]).json() == {"predictions": [0]}
    assert server.metric("dragoman_worker_restarts_total") == 0
