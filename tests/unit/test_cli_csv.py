"""Rows read from CSV: what is taken, what is refused and in which words, and that how a file is cut changes nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.check import Checker
from dragoman.errors import InvalidInput
from dragoman.rowfiles.blocks import blocks
from dragoman.rowfiles.chunk import Chunk, Layout
from dragoman.rowfiles.csv_rows import read_csv, read_tsv
from dragoman.signature import Field, Signature

NUMBERS = Signature(inputs=(Field("a"), Field("b"), Field("c")))
MIXED = Signature(
    inputs=(
        Field("island", "string", enum=("Biscoe", "Dream")),
        Field("mass", nullable=True, minimum=0),
        Field("year", "integer"),
        Field("tagged", "boolean", nullable=True),
    )
)
NOTHING_KNOWN = Signature()
PLAIN = Layout()
BY_POSITION = Signature(inputs=(Field("f0"), Field("f1")), named=False)


def chunks_of(
    content: str | bytes, signature: Signature, tmp_path: Path, layout: Layout = PLAIN, block_bytes: int = 1 << 20
) -> list[Chunk]:
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_csv(path, signature, layout, lambda said: None, block_bytes))


def rows_of(chunks: Sequence[Chunk], signature: Signature) -> list[list[Any]]:
    """As the model gets them; an error names the row and the line."""
    check = Checker(signature)
    found = []
    for chunk in chunks:
        try:
            table = check(chunk.table)
        except InvalidInput as error:
            raise InvalidInput(chunk.located(error.message)) from None
        found += [[table.column(j)[i] for j in range(table.width)] for i in range(table.rows)]
    return found


def read(content: str | bytes, signature: Signature, tmp_path: Path, layout: Layout = PLAIN) -> list[list[Any]]:
    return rows_of(chunks_of(content, signature, tmp_path, layout), signature)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b,c\n1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        ("c,a,b\n3,1,2\n", [[1, 2, 3]]),  # columns in any order
        ("a,b,c\n1,2,3", [[1, 2, 3]]),  # no newline at the end
        ("a,b,c\r\n1,2,3\r\n", [[1, 2, 3]]),
        ("\ufeffa,b,c\n1,2,3\n", [[1, 2, 3]]),  # as spreadsheets write
        ('"a", b ,c\n"1", 2 ,3e0\n', [[1, 2, 3]]),
        ("a,b,c\n\n1,2,3\n\n", [[1, 2, 3]]),  # blank lines are no rows
        ("\n\na,b,c\n1,2,3\n", [[1, 2, 3]]),
        ("a,b,c\n", []),
    ],
)
def test_numbers_are_read(content: str, rows: list[list[float]], tmp_path: Path) -> None:
    assert read(content, NUMBERS, tmp_path) == rows


def test_each_column_is_what_the_signature_says(tmp_path: Path) -> None:
    content = "year,island,tagged,mass\n2007,Dream,TRUE,\n2008,Biscoe,,NA\n2009,,0,181.5\n"
    signature = Signature(inputs=(Field("island", "string", nullable=True), *MIXED.inputs[1:]))
    first, second, third = read(content, signature, tmp_path)
    assert first[0] == "Dream"
    assert np.isnan(first[1])
    assert first[2:] == [2007, True]
    assert np.isnan(second[1])
    assert second[3] is None
    assert third == [None, 181.5, 2009, False]


def test_a_text_column_keeps_what_looks_like_something_else(tmp_path: Path) -> None:
    signature = Signature(inputs=(Field("name", "string", nullable=True), Field("a")))
    content = 'name,a\nNA,1\n007,2\n"two\nlines, ""quoted""",3\nnull,4\n'
    assert [row[0] for row in read(content, signature, tmp_path)] == ["NA", "007", 'two\nlines, "quoted"', "null"]
    named = Layout(missing=frozenset({"NA", "null"}))
    assert [row[0] for row in read(content, signature, tmp_path, named)] == [None, "007", 'two\nlines, "quoted"', None]


@pytest.mark.parametrize(
    ("content", "signature", "message"),
    [
        ("", NUMBERS, "the file is empty: its first line must name the columns"),
        ("a,b\n1,2\n", NUMBERS, "column 'c' is missing: the model takes 'a', 'b', 'c'"),
        ("a,b,C\n1,2,3\n", NUMBERS, "column 'c' is missing: the model takes 'a', 'b', 'c'"),
        ("x,b,petal\n1,2,3\n", Signature(inputs=(Field("petals"),)), "column 'petals' is missing: is it the one called 'petal'?"),
        ("q\n1\n", NUMBERS, "3 columns are missing, 'a' the first of them: the model takes 'a', 'b', 'c'"),
        ("1.5,2,3e4\n1,2,3\n", NUMBERS, "this one holds numbers; --no-header takes them in the model's order"),
        ("a;b;c\n1;2;3\n", NUMBERS, "the columns seem to be separated by ';'; say so with --delimiter"),
        ("a,b,c,d\n1,2,3,4\n", NUMBERS, "column 'd' is not one of the model's inputs: 'a', 'b', 'c'; --ignore-extra passes over it"),
        ("a,b,a,c\n", NUMBERS, "two columns are called 'a': give each a name of its own"),
        ("a,b,c\n1,2,3\n4,5\n", NUMBERS, "row 2 (line 3): has 2 columns, the header has 3"),
        ("a,b,c\n1,2,3,\n", NUMBERS, "row 1 (line 2): has 4 columns, the header has 3"),
        ("a,b,c\n1,2,3\n\n4,wide,6\n", NUMBERS, "row 2 (line 4): 'b' must be a number, got \"wide\""),
        ("a,b,c\n1,2,3\n4,,6\n", NUMBERS, "row 2 (line 3): 'b' must be a finite number, got null"),
        ("a,b,c\n1,2,1e999\n", NUMBERS, "row 1 (line 2): 'c' must be a finite number"),
        ("a,b,c\n1,1_000,3\n", NUMBERS, "row 1 (line 2): 'b' must be a number, got \"1_000\""),
        ("a,b,c\n1,0x10,3\n", NUMBERS, "row 1 (line 2): 'b' must be a number, got \"0x10\""),
        ("a,b,c\n1,true,3\n", NUMBERS, "row 1 (line 2): 'b' must be a number, got \"true\""),
        ('a,b,c\n1,2,3\n4,"5"6,7\n', NUMBERS, "line 3: not CSV: "),
        (b"a,b,c\n1,2,3\n4,\xe9,6\n", NUMBERS, "line 3: is not UTF-8 (byte 0xe9): save the file as UTF-8"),
        (
            'island,mass,year,tagged\n"Dream",1,2007,true\n"Elba",1,2007,true\n',
            MIXED,
            "row 2 (line 3): 'island' must be one of 'Biscoe', 'Dream', got \"Elba\"",
        ),
        ("island,mass,year,tagged\nDream,-1,2007,true\n", MIXED, "row 1 (line 2): 'mass' must be at least 0, got -1"),
        ("island,mass,year,tagged\nDream,1,2007.5,true\n", MIXED, "row 1 (line 2): 'year' must be an integer, got 2007.5"),
        ("island,mass,year,tagged\nDream,1,2007,maybe\n", MIXED, "row 1 (line 2): 'tagged' must be a boolean, got \"maybe\""),
        ("island,mass,year,tagged\n,1,2007,true\n", MIXED, "row 1 (line 2): 'island' must be a string, got null"),
    ],
)
def test_what_is_wrong_is_named_with_its_row_and_its_line(content: str | bytes, signature: Signature, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(content, signature, tmp_path)
    assert message in refused.value.message


def test_a_line_is_where_an_editor_shows_it_though_fields_have_several_lines(tmp_path: Path) -> None:
    signature = Signature(inputs=(Field("name", "string"), Field("a")))
    good = '"one\ntwo\nthree",1\n'
    content = "name,a\n" + good * 40 + '"x\ny",bad\n'
    for block_bytes in (24, 100, 1 << 20):
        with pytest.raises(InvalidInput, match=r"^row 41 \(line 122\): 'a' must be a number"):
            rows_of(chunks_of(content, signature, tmp_path, block_bytes=block_bytes), signature)


def test_other_columns_are_passed_over_when_asked(tmp_path: Path) -> None:
    content = "id,a,b,note,c\nx1,1,2,hi,3\n"
    assert read(content, NUMBERS, tmp_path, Layout(ignore_extra=True)) == [[1, 2, 3]]


def test_a_column_that_may_be_left_out_is_null(tmp_path: Path) -> None:
    signature = Signature(inputs=(Field("a"), Field("b", nullable=True, required=False)))
    ((a, b),) = read("a\n1\n", signature, tmp_path)
    assert a == 1
    assert np.isnan(b)


def test_without_a_header_columns_stand_in_the_models_order(tmp_path: Path) -> None:
    assert read("1,2,3\n4,5,6\n", NUMBERS, tmp_path, Layout(header=False)) == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(InvalidInput, match="the first row has 2 columns, the model takes 3: 'a', 'b', 'c'"):
        read("1,2\n", NUMBERS, tmp_path, Layout(header=False))


def test_a_model_that_knows_positions_only_takes_columns_in_the_files_order_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("width,height\n1,2\n")
    said: list[str] = []
    (chunk,) = read_csv(path, BY_POSITION, Layout(), said.append)
    assert rows_of([chunk], BY_POSITION) == [[1, 2]]
    assert said == ["the model knows its inputs by position only; columns are taken in the file's order"]
    path.write_text("f1,f0\n1,2\n")
    assert rows_of(list(read_csv(path, BY_POSITION, Layout(), said.append)), BY_POSITION) == [[2, 1]]


def test_tabs(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\tc\n1\t2\t3\n")
    assert rows_of(list(read_tsv(path, NUMBERS, Layout(), lambda said: None)), NUMBERS) == [[1, 2, 3]]


def test_where_nothing_is_known_of_the_inputs_a_column_stays_what_its_first_rows_were(tmp_path: Path) -> None:
    content = "n,s\n" + "1,x\n" * 10
    found = chunks_of(content + "2,7\n", NOTHING_KNOWN, tmp_path, block_bytes=16)
    assert {tuple(c.dtype.kind for c in chunk.table.columns) for chunk in found} == {("f", "O")}
    assert found[-1].table.columns[1].tolist()[-1] == "7"
    with pytest.raises(InvalidInput, match=r"row 11 \(line 12\): 'n' must be a number as in the rows before, got \"x\"; spec.model.inputs"):
        chunks_of(content + "x,7\n", NOTHING_KNOWN, tmp_path, block_bytes=16)


cells = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**18), 10**18).map(str),
    st.sampled_from(["", " 1", "-0", "+2.", ".5", "1e-400", "nan", "NA", "1e5"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8), st.integers(8, 200))
def test_both_ways_of_reading_numbers_give_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], size: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("rows")
    signature = Signature(inputs=tuple(Field(name, nullable=True) for name in "abc"))
    plain = "a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)
    quoted = "a,b,c\n" + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)
    fast = np.array(rows_of(chunks_of(plain, signature, tmp_path, block_bytes=size), signature))
    slow = np.array(rows_of(chunks_of(quoted, signature, tmp_path), signature))
    none = {"", "NA"}
    exact = np.array([[np.nan if cell in none else float(cell) for cell in row] for row in rows])
    assert fast.tobytes() == slow.tobytes() == exact.tobytes()


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(texts, st.sampled_from(['"', "\n", ",", "x", '""\n'])), max_size=20), st.integers(1, 40))
def test_blocks_end_where_rows_end_however_large_they_are(rows: list[tuple[str, str]], size: int) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode()
    found = list(blocks(io.BytesIO(content), size))
    assert b"".join(block.content for block in found) == content
    parsed: list[tuple[int, list[str]]] = []
    for block in found:
        reader = csv.reader(io.StringIO(block.content.decode(), newline=""), strict=True)
        line = block.line
        for row in reader:
            parsed.append((line, row))
            line = block.line + reader.line_num
    whole = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    expected, line = [], 1
    for row in whole:
        expected.append((line, row))
        line = 1 + whole.line_num
    assert parsed == expected
    assert [block.end for block in found][-1:] == ([len(content)] if content else [])


def test_a_quote_that_is_never_closed_does_not_fill_the_memory() -> None:
    class Endless(io.RawIOBase):
        """A quote, then zeros for ever; says how much of it was read."""

        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 200 << 20
            return b'1\n2\n"' + b"0" * (size - 5) if self.given == size else b"0" * size

    found = blocks(Endless(), 1 << 20)  # type: ignore[arg-type]
    assert next(found).content == b"1\n2\n"
    with pytest.raises(InvalidInput, match=r'line 3: a row of more than 64 MiB begins here: is a quote \("\) not closed\?'):
        next(found)
