"""JSON out of whatever a model answers with."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dragoman.errors import BadRequest, ModelFailed
from dragoman.json import decode, encode, writable


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "null"),
        ([float("inf"), np.float64("-inf")], "[null,null]"),
        (np.array([1.5, np.nan]), "[1.5,null]"),
        (np.array(2.5), "2.5"),
        (np.arange(6).reshape(2, 3)[:, ::2], "[[0,2],[3,5]]"),
        (np.array([1], dtype=">i8"), "[1]"),
        (np.str_("a"), '"a"'),
        ({1: "a", np.int64(2): "b"}, '{"1":"a","2":"b"}'),
        (writable(np.array(["2024-01-31T12:00", "NaT"], dtype="M8[m]")), '["2024-01-31T12:00",null]'),
        (datetime.date(2024, 1, 31), '"2024-01-31"'),
        (datetime.timedelta(days=1), '"1 day, 0:00:00"'),
        (decimal.Decimal("1.5"), "1.5"),
        (b"a\xff", '"a\ufffd"'),
        ([pd.NA, pd.NaT, pd.Timestamp("2024-01-31")], '[null,null,"2024-01-31T00:00:00"]'),
        (pd.Series([1, 2]), "[1,2]"),
        (range(2), "[0,1]"),
        ({"größe"}, '["größe"]'),
    ],
    ids=str,
)
def test_what_models_answer_with_has_a_json_form(value: Any, text: str) -> None:
    assert encode(value).decode() == text


@pytest.mark.parametrize(
    "value", [object(), 1j, 2**70, "\ud800", {object(): 1}], ids=["object", "complex", "too large", "surrogate", "key"]
)
def test_what_has_none_is_the_models_failure(value: Any) -> None:
    with pytest.raises(ModelFailed, match="cannot be written as JSON"):
        encode({"predictions": [value]})


def test_floats_of_any_width_read_back_as_the_models_own() -> None:
    values = np.array([0.1, 1 / 3, 1e-30], dtype=np.float32)
    assert decode(encode(writable(values))) == values.astype(float).tolist()


@pytest.mark.parametrize("body", [b"", b" ", b"{", b"NaN", b'"\xff"', b"1 2", b"[" * 5000, b'{"a":1e400}'])
def test_a_body_that_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest, match="the body is"):
        decode(body)
