"""What answers a method and path."""

from __future__ import annotations

import pytest

from dragoman.asgi import Receive, Scope, Send
from dragoman.routes import Routes


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


def routes(*added: tuple[str, str, str]) -> Routes:
    made = Routes()
    for method, path, name in added:
        made.add(method, path, Named(name))
    return made


def answering(found: Routes, path: str) -> dict[str, str]:
    return {method: app.name for method, app in found.at(path).items() if isinstance(app, Named)}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/results/7", {"GET": "result", "HEAD": "result"}),
        ("/results/all", {"GET": "all", "HEAD": "all"}),
        ("/results/", {}),
        ("/results/7/more", {}),
        ("/resultsX7", {}),
        ("/files/a.b", {"GET": "file", "HEAD": "file"}),
        ("/filesXa", {}),
        ("/", {}),
        ("", {}),
    ],
)
def test_a_free_part_is_one_part_of_the_path(path: str, expected: dict[str, str]) -> None:
    found = routes(("GET", "/results/{name}", "result"), ("GET", "/results/all", "all"), ("GET", "/files/{a}", "file"))
    assert answering(found, path) == expected


def test_head_is_answered_wherever_get_is() -> None:
    assert answering(routes(("GET", "/a", "get"), ("POST", "/a", "post")), "/a") == {"GET": "get", "HEAD": "get", "POST": "post"}
    assert answering(routes(("POST", "/a", "post")), "/a") == {"POST": "post"}


def test_what_was_added_first_stays() -> None:
    assert answering(routes(("GET", "/a", "first"), ("GET", "/a", "second"), ("PUT", "/a", "put")), "/a") == {
        "GET": "first", "HEAD": "first", "PUT": "put"
    }  # fmt: skip


def test_what_looks_like_a_pattern_in_a_fixed_part_is_none() -> None:
    found = routes(("GET", "/v1.0/{name}", "free"))
    assert answering(found, "/v1x0/a") == {}
    assert answering(found, "/v1.0/a") == {"GET": "free", "HEAD": "free"}
