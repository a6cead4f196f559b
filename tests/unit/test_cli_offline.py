"""Predicting a file: in which pieces, and which row is named when the model fails."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.errors import InvalidInput, InvalidSpec, ModelFailed
from dragoman.formats import LoadedModel
from dragoman.offline import EXPLAIN_PREDICTIONS, PREDICT_ROWS, Job, predict
from dragoman.rowfiles import CsvAnswers, Layout, reader
from dragoman.signature import Field, Output, Signature
from dragoman.table import Array, Table

A = Signature(inputs=(Field("a"),), outputs=(Output("predict"),))


@dataclass
class Author:
    """A model of one column, with whatever method it is given; remembers how many rows it got at a time."""

    method: Callable[[Array], Any]
    rows_independent: bool = True
    signature: Signature = A
    calls: list[int] = field(default_factory=list)

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls.append(table.rows)
        return dict.fromkeys(outputs, self.method(table.column(0) if table.width else np.zeros(table.rows)))


def run(model: Author, path: Path, **job: Any) -> tuple[list[str], list[str]]:
    """The lines of CSV that it writes, and what was noted."""
    out, notes = io.BytesIO(), list[str]()
    rows = predict(
        LoadedModel(model),
        Job(path, reader(path), job.pop("layout", Layout()), job.pop("outputs", ("predict",)), **job),
        CsvAnswers(out),
        lambda *_: None,
        notes.append,
    )
    lines = out.getvalue().decode().splitlines()
    assert rows == max(0, len(lines) - 1)
    return lines[1:], notes


def numbers(tmp_path: Path, count: int, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    texts = {
        "csv": lambda: "a\n" + "".join(f"{i}\n" for i in range(count)),
        "jsonl": lambda: "".join(f'{{"a": {i}}}\n' for i in range(count)),
        "json": lambda: json.dumps([[i] for i in range(count)]),
    }
    path.write_text(texts[path.suffix[1:]]())
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json"])
def test_independent_rows_go_in_pieces_and_come_back_in_order(name: str, tmp_path: Path) -> None:
    model = Author(lambda a: a * 2)
    count = PREDICT_ROWS + 10
    lines, notes = run(model, numbers(tmp_path, count, name))
    assert [float(line) for line in lines] == [2.0 * i for i in range(count)]
    assert max(model.calls) <= PREDICT_ROWS < count
    assert notes == []


def test_rows_to_be_explained_go_in_pieces_of_as_many_predictions(tmp_path: Path) -> None:
    inputs = (Field("a"), Field("b"), Field("c"), Field("d"))
    model = Author(lambda a: a, signature=Signature(inputs, (Output("predict"), Output("explain"))))
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c,d\n" + "1,2,3,4\n" * 5_000)
    run(model, path, outputs=("explain",))
    assert model.calls == [EXPLAIN_PREDICTIONS // 4, 5_000 - EXPLAIN_PREDICTIONS // 4]


def test_rows_that_may_depend_on_each_other_are_predicted_at_once(tmp_path: Path) -> None:
    model = Author(lambda a: a - a.mean(), rows_independent=False)
    count = PREDICT_ROWS + 1
    lines, notes = run(model, numbers(tmp_path, count))
    assert [float(line) for line in lines] == [i - (count - 1) / 2 for i in range(count)]
    assert model.calls == [count]
    assert "not known to be independent" in notes[0]
    assert "--chunk-rows" in notes[0]


def test_the_manifest_may_say_that_they_do_not(tmp_path: Path) -> None:
    model = Author(lambda a: a, rows_independent=False)
    _, notes = run(model, numbers(tmp_path, PREDICT_ROWS + 1), rows_independent=True)
    assert model.calls == [PREDICT_ROWS, 1]
    assert notes == []


@pytest.mark.parametrize("independent", [True, False])
def test_as_many_rows_at_once_as_were_asked_for(independent: bool, tmp_path: Path) -> None:
    model = Author(lambda a: a - a.mean(), rows_independent=independent)
    lines, _ = run(model, numbers(tmp_path, 7), chunk_rows=3)
    assert model.calls == [3, 3, 1]
    assert [float(line) for line in lines] == [-1, 0, 1, -1, 0, 1, 0]


def test_the_row_that_the_model_fails_on_is_named(tmp_path: Path) -> None:
    def fails(a: Array) -> Array:
        if 777 in a:
            raise ValueError("unlucky")
        return a

    with pytest.raises(ModelFailed, match=r"^row 778 \(line 779\): the model failed: ValueError: unlucky$"):
        run(Author(fails), numbers(tmp_path, 3000))
    with pytest.raises(ModelFailed, match=r"^row 1 to row 3000: the model failed: ValueError: unlucky$"):
        run(Author(fails, rows_independent=False), numbers(tmp_path, 3000))


def test_a_failure_that_no_row_alone_brings_about_names_them_all(tmp_path: Path) -> None:
    def fails(a: Array) -> Array:
        if len(a) > 1:
            raise ValueError("one at a time")
        return a

    with pytest.raises(ModelFailed, match=r"^row 1 \(line 2\) to row 5 \(line 6\): the model failed: ValueError: one at a time$"):
        run(Author(fails), numbers(tmp_path, 5))
    lines, _ = run(Author(fails), numbers(tmp_path, 5), chunk_rows=1)
    assert len(lines) == 5


def test_a_model_that_answers_too_little_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="answered 5 rows with 4 rows"):
        run(Author(lambda a: a[1:], rows_independent=False), numbers(tmp_path, 5))


def test_an_output_that_the_model_does_not_have_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    path = numbers(tmp_path, 1)
    job = Job(path, reader(path), Layout(), ("predict", "predict_probs"))
    with pytest.raises(InvalidSpec, match="--outputs predict_probs: the model has no such output; it has predict"):
        predict(LoadedModel(Author(lambda a: a)), job, CsvAnswers(io.BytesIO()), lambda *_: None, lambda said: None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "a\n1\nx\n", "row 2 (line 3): 'a' must be a number, got \"x\""),
        ("rows.jsonl", '{"a": 1}\n\n{"a": "x"}\n', "row 2 (line 3): 'a' must be a number, got \"x\""),
        ("rows.jsonl", '{"a": 1}\n{"a": 1\n', "line 2: not valid JSON: "),
        ("rows.jsonl", '{"a": 1}\n[1]\n', "row 2 (line 2): must be an object as row 1 is, got a list"),
        ("rows.jsonl", '{"a": 1}\n{"b": 1}\n', "column 'b' is not one of the model's inputs"),
        ("rows.json", '[{"a": 1}, {}]', "row 2: 'a' is missing"),
        ("rows.json", "[[1], [1, 2]]", "row 2: has 2 values, row 1 has 1"),
        ("rows.json", "[[1], {}]", "row 2: must be a list as row 1 is, got an object"),
        ("rows.json", "[1, [2]]", "row 2: must be a single value as row 1 is, got a list"),
        ("rows.json", '{"a": [1]}', "must be an array of rows, objects or arrays, got an object; for one row a line, call the file .jsonl"),
        ("rows.json", "[1,", "not valid JSON: "),
    ],
)
def test_a_wrong_row_is_named_with_its_file(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InvalidInput) as refused:
        run(Author(lambda a: a), path)
    assert refused.value.message.startswith(f"{path}: {message}")


def test_extra_keys_are_passed_over_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, "id": "x"}\n')
    assert run(Author(lambda a: a), path, layout=Layout(ignore_extra=True))[0] == ["1.0"]


def test_where_nothing_is_known_of_the_inputs_keys_may_come_in_any_order_but_must_be_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    filler = '{"a": 1, "b": 2}\n' * 70_000  # more than a chunk
    path.write_text(filler + '{"b": 5, "a": 3}\n')
    lines, _ = run(Author(lambda a: a, signature=Signature()), path)
    assert lines[-1] == "3"
    path.write_text(filler + '{"b": 5, "c": 3}\n')
    with pytest.raises(InvalidInput, match=r"'[ac]' is not in all rows: send the same keys in each"):
        run(Author(lambda a: a, signature=Signature()), path)


def test_a_parquet_column_of_dates_is_refused_by_name(tmp_path: Path) -> None:
    import datetime

    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"a": [datetime.date(2026, 1, 1)]}), path)
    with pytest.raises(InvalidInput, match=r"column 'a' is date32\[day\]: inputs are numbers, strings or booleans; convert it"):
        run(Author(lambda a: a), path)
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        run(Author(lambda a: a), path)


def test_parquet_values_come_as_they_are(tmp_path: Path) -> None:
    import decimal

    import pyarrow
    from pyarrow import parquet

    signature = Signature(
        inputs=(Field("n", nullable=True), Field("s", "string", nullable=True), Field("b", "boolean", nullable=True), Field("d")),
        outputs=(Output("predict"),),
    )
    rows: list[Any] = []

    class Remembers(Author):
        def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            rows.extend(zip(*(table.column(i).tolist() for i in range(4)), strict=True))
            return {"predict": [0] * table.rows}

    path = tmp_path / "rows.parquet"
    strings = pyarrow.array(["x", None, "x"]).dictionary_encode()
    table = {"s": strings, "d": [decimal.Decimal("1.50")] * 3, "n": pyarrow.array([1, None, 3], "int32"), "b": [True, False, None]}
    parquet.write_table(pyarrow.table(table), path, row_group_size=2)
    run(Remembers(lambda a: a, signature=signature), path)
    assert [row[1:] for row in rows] == [("x", True, 1.5), (None, False, 1.5), ("x", None, 1.5)]
    assert (rows[0][0], rows[1][0] != rows[1][0], rows[2][0]) == (1.0, True, 3.0)


snippets = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "a",
                "b",
                "a,b",
                "1",
                "2.5",
                ",",
                "\n",
                "\r",
                '"',
                '""',
                "[",
                "]",
                "{",
                "}",
                '{"a": 1}',
                "[1]",
                ":",
                " ",
                "\t",
                "\0",
                "nan",
                "\ufeff",
            ]
        ).map(str.encode),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.json", "rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("signature", [A, Signature(outputs=(Output("predict"),))], ids=["known", "unknown"])
@pytest.mark.parametrize("header", [True, False])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=snippets)
def test_whatever_the_bytes_are_there_are_answers_or_one_clear_refusal(
    name: str, signature: Signature, header: bool, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(InvalidInput):
        run(Author(lambda a: [0] * len(a), signature=signature), path, layout=Layout(header=header))
