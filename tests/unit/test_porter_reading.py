"""Requests of the porter API: any JSON is read as it was sent."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects.dialect import Request
from dragoman.dialects.porter import reading
from dragoman.dialects.porter.replies import encoded
from dragoman.errors import BadRequest

NUMBERS = st.integers(-(10**40), 10**40) | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types: 1 is not 1.0 here."""
    return repr(one) == repr(other)


@given(JSON.filter(lambda value: value is not None), st.booleans(), st.sampled_from(["", " ", "\ufeff"]))
def test_json_is_read_as_it_was_sent(value: Any, ascii_only: bool, before: str) -> None:
    assert same(reading.parse((before + json.dumps(value, ensure_ascii=ascii_only)).encode()), value)


@given(st.lists(JSON, max_size=3))
def test_json_is_written_as_it_was_read(value: Any) -> None:
    assert same(json.loads(encoded(value)), value)


@given(st.binary(max_size=30))
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    try:
        expected = json.loads(body.decode("utf-8-sig"), parse_constant=int)  # NaN: no number, and so no JSON
    except (ValueError, RecursionError):
        expected = None
    if expected is None:
        with pytest.raises(BadRequest):
            reading.parse(body)
    else:
        assert reading.parse(body) == expected


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()),
        min_size=1,
    )
)
def test_rows_of_one_shape_make_columns_of_the_types_that_each_makes_alone(rows: list[dict[str, Any]]) -> None:
    """What the shape promises to batching: two requests of one shape make a frame whose columns are of the types of each one's own."""
    import pandas as pd

    half = len(rows) // 2
    first, second = rows[:half], rows[half:]
    if first and reading.shape_of(first) == reading.shape_of(second):
        whole, alone = pd.DataFrame(first + second), pd.DataFrame(first)
        assert list(whole.columns) == list(alone.columns)
        small = all(-(2**63) <= value < 2**63 for row in rows for value in row.values() if isinstance(value, int))
        if small:
            assert whole.dtypes.tolist() == alone.dtypes.tolist()


@pytest.mark.parametrize("given_id", ["", "order-7", "0" * 32, uuid.UUID(int=1).hex])
def test_an_id_is_a_uuid_and_stays_the_same(given_id: str) -> None:
    request = Request("POST", "/", {"x-request-id": given_id} if given_id else {}, b"", request_id=given_id or "f" * 32)
    made = reading.identity(request)
    assert uuid.UUID(made).version == 4
    assert reading.identity(request) == made
    assert request.request_id == (given_id or made)


def test_a_clients_uuid_is_the_replys() -> None:
    mine = uuid.uuid4().hex
    assert reading.identity(Request("POST", "/", {"x-request-id": mine}, b"", request_id=mine)) == mine
