"""The datarobot dialect's data sets: CSV and JSON as what a model takes, and as what a reply shows again."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.check import Checker
from dragoman.dialects.datarobot import csv_rows
from dragoman.dialects.datarobot.csv_rows import read_csv
from dragoman.dialects.datarobot.dataset import Dataset, Wanted, flat_numbers
from dragoman.dialects.datarobot.json_rows import read_json
from dragoman.dialects.datarobot.negotiation import as_utf8, codec_of
from dragoman.dialects.datarobot.refusals import Unprocessable
from dragoman.errors import BadRequest, InvalidInput
from dragoman.signature import Field, Signature

NUMBERS = Wanted((Field("a"), Field("b")))
MIXED = Wanted((Field("x", nullable=True), Field("word", "string", nullable=True)), keep=None)


def column(dataset: Dataset, name: str) -> list[Any]:
    names = dataset.table.names or ()
    return [None if value != value else value for value in dataset.table.column(names.index(name)).tolist()]


def columns(dataset: Dataset) -> dict[str, list[Any]]:
    return {name: column(dataset, name) for name in dataset.table.names or ()}


@pytest.mark.parametrize(
    ("body", "a", "b"),
    [
        pytest.param(b"a,b\n1,2\n3,4\n", [1, 3], [2, 4], id="plain"),
        pytest.param(b"a,b\n1,2\n3,4", [1, 3], [2, 4], id="no line end at the end"),
        pytest.param(b"a,b\r\n1,2\r\n3,4\r\n", [1, 3], [2, 4], id="CRLF"),
        pytest.param(b"a,b\r1,2\r3,4\r", [1, 3], [2, 4], id="CR alone"),
        pytest.param(b"b,a\n2,1\n4,3\n", [1, 3], [2, 4], id="another order"),
        pytest.param(b"a,z,b\n1,9,2\n3,9,4\n", [1, 3], [2, 4], id="a column more"),
        pytest.param(b"a,z,b\n1,word,2\n3,,4\n", [1, 3], [2, 4], id="a column of words more"),
        pytest.param(b'"a","b"\n1,2\n3,4\n', [1, 3], [2, 4], id="a quoted header"),
        pytest.param(b'a,b\n"1","2"\n"3",4\n', [1, 3], [2, 4], id="quoted numbers"),
        pytest.param(b"a,b\n\n1,2\n\n3,4\n\n", [1, 3], [2, 4], id="blank lines"),
        pytest.param(b"\n\na,b\n1,2\n3,4\n", [1, 3], [2, 4], id="blank lines before the header"),
        pytest.param(b" a , b\n 1, 2 \n3,4\n", [1, 3], [2, 4], id="blanks around"),
        pytest.param(b"a,b\n+1,.5\n007,-1.e2\n", [1, 7], [0.5, -100], id="numbers that JSON does not know"),
        pytest.param(b"a,b\n1e5,-0\n1E-5,1e+2\n", [1e5, 1e-5], [0, 100], id="exponents"),
        pytest.param(b"a,b\n,NaN\nNA,null\n", [None, None], [None, None], id="missing"),
        pytest.param(b"a,b\n1,\n,4\n", [1, None], [None, 4], id="empty fields"),
    ],
)
def test_numbers_are_read_however_they_are_written(body: bytes, a: list[Any], b: list[Any]) -> None:
    found = read_csv(body, NUMBERS)
    assert columns(found) == {"a": a, "b": b}
    assert found.rows == 2


def test_one_column_with_blank_lines_has_the_rows_that_are_not_blank() -> None:
    assert column(read_csv(b"a\n\n1\n\n2\n", Wanted((Field("a"),))), "a") == [1, 2]


def test_a_header_alone_is_a_data_set_without_rows() -> None:
    for body in (b"a,b\n", b"a,b", b"a,b\r\n"):
        assert read_csv(body, NUMBERS).rows == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"\n\n", "the body is empty"),
        (b"a,b\n1,2\n3\n", "row 1: has 1 columns, the header has 2"),
        (b"a,b\n1,2,3\n", "row 0: has 3 columns, the header has 2"),
        (b"a,b\n1\n2,3,4\n", "row 0: has 1 columns"),  # as many commas as two good rows have
        (b"a,b,a\n1,2,3\n", "two columns are called 'a'"),
        (b"," * 100_000 + b"\n", "the header has 100001 columns, more than 100000"),
        (b'a,b\n1,"2\n', "line 2: not CSV"),
        (b'a,b\n1,"2"3\n', "line 2: not CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match="^" + message):
        read_csv(body, NUMBERS)


def test_features_that_are_missing_are_named() -> None:
    with pytest.raises(Unprocessable, match=r"features expected but not found: \['a', 'b'\]"):
        read_csv(b"c\n1\n", NUMBERS)
    with pytest.raises(Unprocessable, match=r"not found: \['a', 'b'\]"):
        read_csv(b"a;b\n1;2\n", NUMBERS)
    with pytest.raises(Unprocessable, match=r"not found: \['b'\]"):
        read_json(b'[{"a": 1}]', NUMBERS)


def test_an_input_that_need_not_be_there_may_be_absent() -> None:
    wanted = Wanted((Field("a"), Field("b", required=False)))
    assert columns(read_csv(b"a\n1\n", wanted)) == {"a": [1]}
    assert columns(read_json(b'[{"a": 1}]', wanted)) == {"a": [1]}
    relaxed = Wanted(NUMBERS.fields, optional=frozenset({"b"}))
    assert columns(read_csv(b"a\n1\n", relaxed)) == {"a": [1], "b": [None]}


def test_a_model_that_knows_its_inputs_by_position_takes_the_columns_in_their_order() -> None:
    wanted = Wanted((Field("f0"), Field("f1")), named=False)
    assert columns(read_csv(b"left,right\n1,2\n", wanted)) == {"f0": [1], "f1": [2]}
    assert columns(read_json(b'[{"left": 1, "right": 2}]', wanted)) == {"f0": [1], "f1": [2]}
    with pytest.raises(Unprocessable):
        read_csv(b"left,right,more\n1,2,3\n", wanted)


def test_quotes_hold_commas_line_ends_and_quotes() -> None:
    found = read_csv(b'x,word\n1,"a,b"\n2,"two\nlines"\n3,"say ""hi"""\n4,\n', MIXED)
    assert columns(found) == {"x": [1, 2, 3, 4], "word": ["a,b", "two\nlines", 'say "hi"', None]}
    assert found.texts("word") == ["a,b", "two\nlines", 'say "hi"', ""]


def test_an_empty_field_of_a_string_that_may_not_be_null_is_an_empty_string() -> None:
    assert column(read_csv(b"x,word\n1,\n", Wanted((Field("x"), Field("word", "string")))), "word") == [""]


def test_booleans_are_read_as_people_write_them() -> None:
    wanted = Wanted((Field("yes", "boolean", nullable=True),))
    assert column(read_csv(b"yes\nTrue\nfalse\n1\n0\nFALSE\n", wanted), "yes") == [True, False, True, False, False]


def test_what_is_no_number_is_left_for_the_check_which_names_it() -> None:
    signature = Signature(NUMBERS.fields)
    for body in (b"a,b\n1,2\n3,wide\n", b"a,b\n1,2\n3,1_000\n"):
        with pytest.raises(InvalidInput, match="row 1: 'b' must be a number"):
            Checker(signature)(read_csv(body, NUMBERS).table)
    with pytest.raises(InvalidInput, match="row 0: 'b' must be a finite number, got null"):
        Checker(signature)(read_csv(b"a,b\n1,\n", NUMBERS).table)
    with pytest.raises(InvalidInput, match="'b' must be a finite number"):
        Checker(signature)(read_csv(b"a,b\n1,inf\n", NUMBERS).table)


def test_columns_of_a_model_of_which_nothing_is_known_are_what_they_look_like() -> None:
    found = read_csv(b"a,b,c\n1,x,\n2,,4\n", Wanted())
    assert columns(found) == {"a": [1, 2], "b": ["x", None], "c": [None, 4]}
    assert columns(read_json(b'[{"a": 1, "b": "x"}]', Wanted())) == {"a": [1], "b": ["x"]}


def test_columns_without_a_name_are_called_by_their_place() -> None:
    found = read_csv(b",a,,b\n0,1,9,2\n", Wanted(NUMBERS.fields, keep=None))
    assert found.names == ("Unnamed: 0", "a", "Unnamed: 2", "b")
    assert found.values("Unnamed: 0") == [0]


@pytest.mark.parametrize(
    ("cells", "type_", "values"),
    [
        (["1", "2.5", "-3e2"], None, [1, 2.5, -300.0]),
        (["1", "", "2"], None, [1, None, 2]),
        (["007", "1"], None, ["007", "1"]),
        (["007", "1"], "number", [7.0, 1.0]),
        (["1", "2"], "string", ["1", "2"]),
        (["a", ""], None, ["a", None]),
        (["1,2"], None, ["1,2"]),
        (["", ""], None, [None, None]),
        (["true", "0", ""], "boolean", [True, False, None]),
        (["NA", "5"], "number", [None, 5.0]),
    ],
)
def test_kept_columns_are_shown_as_what_they_hold(cells: list[str], type_: str | None, values: list[Any]) -> None:
    dataset = Dataset(("c",), read_csv(b"a,b\n1,2\n", NUMBERS).table, {"c": cells}, of_text=True)
    found = dataset.values("c", type_)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert dataset.texts("c") == cells


# --- wide ---------------------------------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ROWS = st.lists(st.tuples(FINITE | st.none(), TEXTS), max_size=20)


@given(st.lists(st.tuples(FINITE | st.integers(-(2**70), 2**70), FINITE), min_size=1, max_size=30), st.sampled_from(["\n", "\r\n"]))
def test_every_number_comes_back_exactly(rows: list[tuple[float, float]], line_end: str) -> None:
    body = line_end.join(["a,b", *(f"{a!r},{b!r}" for a, b in rows)]).encode()
    found = read_csv(body, NUMBERS).table.to_numpy()
    assert np.array_equal(found, np.array([[float(a), float(b)] for a, b in rows]))


@given(st.binary(max_size=60))
def test_numbers_read_at_once_are_those_that_are_read_one_by_one(noise: bytes) -> None:
    """Whatever the fast way takes, the csv module reads the same; what it does not take is left to it."""
    lines = noise.translate(None, delete=bytes(set(range(256)) - set(b"0123456789+-.eE,\r\n ")))
    fast = _outcome(b"a,b\n" + lines)
    slow = _outcome(b'"a","b"\n' + lines)
    assert fast == slow


def _outcome(body: bytes) -> Any:
    try:
        found = read_csv(body, NUMBERS)
    except BadRequest as error:
        return type(error)
    return [[str(value) for value in found.table.column(i).astype(object).tolist()] for i in range(2)]


@given(
    ROWS,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["utf8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
    st.booleans(),
)
def test_what_a_writer_of_csv_writes_is_read(
    rows: list[tuple[float | None, str]], line_end: str, quoting: Any, charset: str, mark: bool
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # Python 3.11 does not quote a carriage return where lines do not end with one
        rows = [(x, word.replace("\r", " ")) for x, word in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=line_end, quoting=quoting)
    writer.writerow(["word", "x"])
    writer.writerows([word, "" if x is None else x] for x, word in rows)
    text = ("\ufeff" if mark and "le" in charset else "") + out.getvalue()
    found = read_csv(as_utf8(text.encode(charset), codec_of(charset)), MIXED)
    assert column(found, "x") == [x for x, _ in rows]
    assert column(found, "word") == [word or None for _, word in rows]
    assert found.texts("word") == [word for _, word in rows]


@given(ROWS)
def test_json_and_csv_of_the_same_rows_are_the_same_table(rows: list[tuple[float | None, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["x", "word"], *(["" if x is None else x, word] for x, word in rows)])
    of_csv = read_csv(out.getvalue().encode(), MIXED)
    of_json = read_json(json.dumps([{"x": x, "word": word or None} for x, word in rows]).encode(), MIXED)
    assert columns(of_csv) == columns(of_json)


@given(st.lists(st.lists(st.sampled_from(["1", "", "x", '"', '"a,b"', "\u2028", " "]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_rows_of_any_shape_are_a_table_or_a_refusal(rows: list[list[str]]) -> None:
    body = "\n".join([",".join("abcd"[: len(rows[0])]), *(",".join(row) for row in rows)]).encode()
    try:
        found = read_csv(body, Wanted((Field("a", "string", nullable=True),), keep=None))
    except BadRequest:
        return
    assert {len(found.texts(name)) for name in found.names} == {found.rows}


def test_bodies_of_many_blocks_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_rows, "_BLOCK_ROWS", 7)
    numbers = [(i, i / 8) for i in range(500)]
    plain = "a,b\n" + "\n".join(f"{a},{b}" for a, b in numbers)
    for body in (plain, plain.replace("\n3,", "\n3.0 ,"), plain.replace("\n7,", '\n"7",')):
        assert list(zip(*columns(read_csv(body.encode(), NUMBERS)).values(), strict=True)) == numbers
    with pytest.raises(BadRequest, match="row 499"):
        read_csv((plain + ",5").encode(), NUMBERS)


# --- JSON ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"x": 1, "word": "a"}, {"word": "b", "x": 2}]', {"x": [1, 2], "word": ["a", "b"]}),
        (b'{"x": 1, "word": "a"}', {"x": [1], "word": ["a"]}),
        (b'[{"x": "1.5", "word": 7}, {"x": "", "word": 2.5}]', {"x": [1.5, None], "word": ["7", "2.5"]}),
        (b'[{"x": 1, "x": 2, "word": "the last of two keys"}]', {"x": [2], "word": ["the last of two keys"]}),
        (b'[{"x": 1}, {"word": "b"}]', {"x": [1, None], "word": [None, "b"]}),
        (b'[{"x": null, "word": null}]', {"x": [None], "word": [None]}),
        (b'[{"x": 123456789012345678901234567890, "word": "a"}]', {"x": [1.2345678901234568e29], "word": ["a"]}),
        (b"[]", {"x": [], "word": []}),
    ],
)
def test_rows_of_json(body: bytes, expected: dict[str, list[Any]]) -> None:
    assert columns(read_json(body, MIXED)) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not valid JSON"),
        (b'[{"x": NaN}]', "the body is not valid JSON"),
        (b"5", "the body must be an array of objects, got a number"),
        (b'[{"x": 1}, [2]]', "row 1: must be an object of features, got a list"),
        (
            json.dumps([{"x": 1, "word": "a"}, *({str(i): i} for i in range(2000))]).encode(),
            "rows of 2001 objects with 2002 different keys",
        ),
    ],
)
def test_json_that_is_no_data_set_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_json(body, MIXED)


def test_nested_values_are_refused_where_the_model_takes_them_and_shown_where_it_does_not() -> None:
    found = read_json(b'[{"x": 1, "word": "a", "more": {"n": [1]}}]', MIXED)
    assert found.values("more") == [{"n": [1]}]
    assert found.texts("more") == ['{"n":[1]}']
    with pytest.raises(InvalidInput, match="row 0: 'x' must be a number, got a list"):
        Checker(Signature(MIXED.fields))(read_json(b'[{"x": [1], "word": "a"}]', MIXED).table)


def test_flat_numbers_are_only_numbers() -> None:
    assert flat_numbers(b"1,2.5,-3e2") == [1, 2.5, -300.0]
    for body in (b"1,true", b"1,[2]", b'1,"2"', b"1,,2", b"nan", b"0x1"):
        assert flat_numbers(body) is None
    assert math.isclose(flat_numbers(b"0.1")[0], 0.1, rel_tol=0)
