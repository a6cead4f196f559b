"""What a client of Seldon's API over REST sends, and what it must get; of nothing of the server's."""

from __future__ import annotations

import json
from typing import Any

import httpx
from tests.support.serving import Server


def query(document: Any, client: str = "test1") -> dict[str, str]:
    """Parameters of /predict."""
    return {"client": client, "json": json.dumps(document)}


def refused(reply: httpx.Response, status: int, *words: str) -> None:
    """The reply is this error, and its text has these words."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    document = reply.json()
    assert list(document) == ["error"]
    for word in words:
        assert word in document["error"], document["error"]


ASKED = {"client": "test1", "user_id": "1", "recent_interactions": "", "exclusion_items": "", "data_key": "", "limit": "3"}


def recommended(server: Server, method: str = "GET", **changes: str) -> list[Any]:
    """What is recommended, with the parameters that are asked for and these changes."""
    sent = ASKED | changes
    given: dict[str, Any] = {"params": sent} if method == "GET" else {"data": sent}
    reply = httpx.request(method, f"{server.rest}/recommend", timeout=30, **given)
    assert reply.status_code == 200, reply.text
    assert list(reply.json()) == ["recommended"]
    found: list[Any] = reply.json()["recommended"]
    assert all(set(element) == {"item", "score"} for element in found)
    return found


def items(found: list[Any]) -> list[Any]:
    return [element["item"] for element in found]
