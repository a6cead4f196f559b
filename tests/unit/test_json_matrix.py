"""Numbers that go straight into an array are the same numbers, and the same refusals, as by way of Python's own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman import json, json_matrix
from dragoman.dialects import v1
from dragoman.errors import CallError
from dragoman.json_matrix import LEAST_BYTES, matrix_in, matrix_of_lines
from dragoman.table import Table

ODD_NUMBERS = [
    *("0", "-0", "-0.0", "0.1", "1e5", "1E+5", "1.5e-400", "5e-324", "2.2250738585072011e-308", "9007199254740993", "9007199254740993.0"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "1.7976931348623157e308", "123456789012345678901234567890.5"),
]
NO_NUMBERS = [
    *("NaN", "Infinity", "-Infinity", "1e400", "01", "1.", ".5", "+1", "-", "1.5.5", "0x1", "1_0", "٣"),
    *("true", "false", "null", '"1.5"', '""', "{}", "[]", "[1.5]", '{"a":1.5}'),
]
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr), st.integers(-(10**25), 10**25).map(str), st.sampled_from(ODD_NUMBERS)
)
CELLS = st.one_of(*[NUMBERS] * 30, st.sampled_from(NO_NUMBERS))
ROWS = st.one_of(
    st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6)),
    st.lists(st.lists(CELLS, max_size=4), max_size=4),
).map(lambda rows: "[" + ",".join("[" + ",".join(row) + "]" for row in rows) + "]")
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r ", "\x0b", "\ufeff", "\0"])
TAILS = st.sampled_from(["", "", "", "", ',"inputs":[[1.5]]', ',"instances":[[2.5]]', ',"signature_name":"a.b"', ",", "x", "]", ',"a":1'])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Mostly plain matrices; with what is almost one, and what is none, in between."""
    key = draw(st.sampled_from(["instances", "instances", "inputs", "in\\u0070uts", "rows"]))
    rows = draw(st.one_of(ROWS, CELLS, st.lists(CELLS).map(lambda cells: "[" + ",".join(cells) + "]")))
    text = f'{draw(SPACE)}{{{draw(SPACE)}"{key}"{draw(SPACE)}:{draw(SPACE)}{rows}{draw(SPACE)}{draw(TAILS)}}}{draw(SPACE)}'
    body = text.encode() + draw(st.sampled_from([b"", b"", b"", b"\xff", b"{}", b" x"]))
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) and draw(st.booleans()) else body


def outcome(table: Any, body: bytes) -> tuple[Any, ...]:
    """What becomes of a body, told bit by bit."""
    try:
        made: Table = table(body)
    except CallError as error:
        return type(error).__name__, error.message
    arrays = [made.array] if made.array is not None else list(made.columns)
    return made.names, made.rows, [(a.dtype.str, a.shape, a.tobytes() if a.dtype != object else repr(a.tolist())) for a in arrays]


def by_way_of_lists(body: bytes) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v1, "matrix_in", lambda body: None)
        return v1._table(body)


def straight(body: bytes) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v1, "matrix_in", lambda body: matrix_in(body, least_bytes=0))
        return v1._table(body)


PLAIN = st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=6))


@given(PLAIN)
def test_both_ways_make_the_same_of_any_plain_matrix(rows: list[list[str]]) -> None:
    body = ('{"instances": [' + ", ".join("[" + ",".join(row) + "]" for row in rows) + "]}").encode()
    assert outcome(straight, body) == outcome(by_way_of_lists, body)


@given(bodies())
def test_both_ways_make_the_same_of_any_body(body: bytes) -> None:
    assert outcome(straight, body) == outcome(by_way_of_lists, body)


@given(st.binary(max_size=60).map(lambda junk: b'{"instances":[[1.5,' + junk + b"]]}"))
def test_both_ways_make_the_same_of_bytes_that_are_no_json(body: bytes) -> None:
    assert outcome(straight, body) == outcome(by_way_of_lists, body)


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_a_plain_matrix_goes_straight_and_may_be_written_to(key: str) -> None:
    pytest.importorskip("simdjson", reason="pysimdjson has no wheels for this Python")
    rows = np.random.default_rng(0).normal(size=(50, 7))
    array = matrix_in(orjson.dumps({key: rows.tolist()}))
    assert array is not None
    assert array.tolist() == rows.tolist()
    array[0, 0] = 1.0


@pytest.mark.parametrize(
    "rows",
    [
        "[[1,2],[3,4]]",  # integers alone
        "[[1.5,2],[3]]",  # ragged
        "[[1.5,[2]],[3,[4]]]",  # nested
        "[[[],[1.5,2]],[3,4]]",
        "[[[1.5,2]],[[3,4]]]",
        "[1.5,2.5]",
        "[[1.5,true]]",
        "[[1.5,null]]",
        "[[1.5],{}]",
        "[]",
        "[[]]",
    ],
)
def test_what_is_no_plain_matrix_with_a_point_does_not_go_straight(rows: str) -> None:
    assert matrix_in(b'{"instances":' + rows.encode() + b"}", least_bytes=0) is None


def test_small_bodies_do_not_go_straight() -> None:
    body = json.encode({"instances": [[0.5] * 4]})
    assert len(body) < LEAST_BYTES
    assert matrix_in(body) is None


def test_one_parser_reads_one_body_after_another_also_after_a_bad_one() -> None:
    pytest.importorskip("simdjson", reason="pysimdjson has no wheels for this Python")
    good = b'{"instances":[[1.5,2.5]]}'
    kept = [matrix_in(body, least_bytes=0) for body in (good, b'{"instances":[[1.5,]]}', good, b'{"instances":[[1.5],2]}', good)]
    assert [None if array is None else array.tolist() for array in kept] == [[[1.5, 2.5]], None, [[1.5, 2.5]], None, [[1.5, 2.5]]]


# --- lines of numbers ----------------------------------------------------------------------------------------------

LINES = st.one_of(
    st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6)),
    st.lists(st.lists(CELLS, max_size=4), max_size=4),
)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    ending = draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n", " \n", "\r"]))
    comma = draw(st.sampled_from([",", ",", ",", ", ", ";", ",,", "],["]))
    lines = [comma.join(row) for row in draw(LINES)]
    return (ending.join(lines) + draw(st.sampled_from(["", ending]))).encode()


@given(contents())
def test_lines_that_go_straight_are_what_numpy_reads(content: bytes) -> None:
    straight = matrix_of_lines(content)
    if straight is None:
        return
    read = np.loadtxt(io.StringIO(content.decode()), dtype=np.float64, delimiter=",", comments=None, ndmin=2)
    assert (straight.shape, straight.tobytes()) == (read.shape, read.tobytes())


@pytest.mark.parametrize("piece", [1, 4, 7, 20])
def test_lines_are_the_same_however_they_are_cut(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simdjson", reason="pysimdjson has no wheels for this Python")
    monkeypatch.setattr(json_matrix, "_PIECE_BYTES", piece)
    matrix = matrix_of_lines(b"1,2.5\n3,-4e5\n-5.25,6\n7,8")
    assert matrix is not None
    assert matrix.tolist() == [[1.0, 2.5], [3.0, -4e5], [-5.25, 6.0], [7.0, 8.0]]
    assert matrix_of_lines(b"1,2.5\n3,-4e5\n-5.25\n7,8") is None


@pytest.mark.parametrize("content", [b"1,2.5\n3,-4e5\n", b"1,2.5\r\n3,4", b"-0.0,0\n1,2\n", b" 1 ,2\n3,4\n"])
def test_plain_lines_go_straight(content: bytes) -> None:
    pytest.importorskip("simdjson", reason="pysimdjson has no wheels for this Python")
    assert matrix_of_lines(content) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"1.5,2\n3,\r4\n",  # to CSV the row ends there
        *(
            b"1,2\n3\n",
            b"1,2\n\n3,4\n",
            b"1,2],[3,4\n",
            b"[1],2\n",
            b"1,,2\n",
            b"1,2,\n",
            b"nan,1\n",
            b".5,1\n",
            b"+1,2\n",
            b"true,1\n",
            b"",
        ),
        *(b"-0,1\n2,3\n", b"1,-0\n", b"1,-0", b"1e400,1\n", b"18446744073709551616,1\n", b"\xff,1\n", b"1,2\n\x1a"),
    ],
)
def test_other_lines_are_left_to_the_other_ways(content: bytes) -> None:
    assert matrix_of_lines(content) is None
