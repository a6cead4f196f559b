"""Answers as columns, and as files that are there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from dragoman.errors import DiskFull, InvalidSpec, ModelFailed
from dragoman.rowfiles import answer_file, reader
from dragoman.rowfiles.answer_files import CsvAnswers, JsonAnswers, JsonLinesAnswers, ParquetAnswers
from dragoman.rowfiles.answers import columns, same_columns
from dragoman.rowfiles.output import refuse_overwriting, replacing


def objects(*values: Any) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


FIRST = {"prediction": objects("a,b", 'say "x"'), "probability_x": np.array([0.1, np.nan]), "sure": np.array([True, False])}
THEN = {"prediction": objects(None, "ü"), "probability_x": np.array([1.0, 2e-300]), "sure": np.array([False, False])}
ROWS: list[dict[str, Any]] = [
    {"prediction": "a,b", "probability_x": 0.1, "sure": True},
    {"prediction": 'say "x"', "probability_x": None, "sure": False},
    {"prediction": None, "probability_x": 1.0, "sure": False},
    {"prediction": "ü", "probability_x": 2e-300, "sure": False},
]


@pytest.mark.parametrize(
    ("outputs", "classes", "names"),
    [
        ({"predict": np.zeros(2)}, None, ["prediction"]),
        ({"predict": np.zeros((2, 3))}, ("a", "b", "c"), ["prediction_0", "prediction_1", "prediction_2"]),  # three targets
        ({"predict_proba": np.zeros((2, 2)), "predict": np.zeros(2)}, (0, 1), ["probability_0", "probability_1", "prediction"]),
        ({"predict_proba": np.zeros((2, 2))}, None, ["probability_0", "probability_1"]),
        ({"predict_proba": np.zeros((2, 2))}, ("a", "b", "c"), ["probability_0", "probability_1"]),
        ({"predict_proba": np.zeros((2, 2))}, (1, "1"), ["probability_0", "probability_1"]),  # two columns of one name would be one
        ({"decision_function": np.zeros((2, 2))}, ("a", "b"), ["decision_function_a", "decision_function_b"]),
        ({"decision_function": np.zeros(2)}, ("a", "b"), ["decision_function"]),
        ({"explain": np.zeros((2, 3, 4))}, None, ["explain"]),
    ],
)
def test_columns_are_named_by_output_and_class(outputs: dict[str, Any], classes: tuple[Any, ...] | None, names: list[str]) -> None:
    found = columns(outputs, classes)
    assert list(found) == names
    assert {len(column) for column in found.values()} == {2}


def test_later_rows_have_the_columns_of_the_first() -> None:
    same_columns(["a"], ["a"])
    with pytest.raises(ModelFailed, match="answered the first rows with 1 columns and these with 2"):
        same_columns(["a"], ["a", "b"])


def test_csv() -> None:
    out = io.BytesIO()
    answers = CsvAnswers(out)
    answers.write(FIRST)
    answers.write(THEN)
    answers.finish()
    assert list(csv.reader(io.StringIO(out.getvalue().decode(), newline=""))) == [
        ["prediction", "probability_x", "sure"],
        ["a,b", "0.1", "true"],
        ['say "x"', "", "false"],
        ["", "1.0", "false"],
        ["ü", "2e-300", "false"],
    ]


def test_csv_has_json_where_an_answer_is_more_than_a_value() -> None:
    out = io.BytesIO()
    CsvAnswers(out).write({"explain": objects({"a": 1.5}, [1, None], "text", True, float("nan"))})
    cells = [row[0] if row else "" for row in csv.reader(io.StringIO(out.getvalue().decode(), newline=""))]
    assert cells == ["explain", '{"a":1.5}', "[1,null]", "text", "true", ""]


def test_a_float32_is_written_as_the_number_that_it_is() -> None:
    out = io.BytesIO()
    CsvAnswers(out).write({"prediction": np.array([0.1], dtype=np.float32)})
    assert float(out.getvalue().split()[1]) == float(np.float32(0.1))


def test_json_and_json_lines() -> None:
    array, lines = io.BytesIO(), io.BytesIO()
    for answers in (JsonAnswers(array), JsonLinesAnswers(lines)):
        answers.write(FIRST)
        answers.write(THEN)
        answers.finish()
    assert json.loads(array.getvalue()) == ROWS
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == ROWS


def test_no_rows_are_an_empty_array() -> None:
    out = io.BytesIO()
    JsonAnswers(out).finish()
    assert json.loads(out.getvalue()) == []


def test_parquet(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = tmp_path / "answers.parquet"
    with path.open("wb") as file:
        answers = ParquetAnswers(file)
        answers.write(FIRST)
        answers.write(THEN)
        answers.finish()
    rows = parquet.read_table(path).to_pylist()
    rows[1]["probability_x"] = None  # NaN, as it was
    assert rows == ROWS


def test_what_parquet_cannot_hold_says_what_can() -> None:
    with pytest.raises(ModelFailed, match=r"has no Parquet type: .*; write it to a \.jsonl file instead"):
        ParquetAnswers(io.BytesIO()).write({"explain": objects(1, "a", [2])})


@pytest.mark.parametrize("name", ["rows.xls", "rows", "rows.csv.gz"])
def test_a_file_of_another_kind_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InvalidSpec, match=r"--input .*: its name must end in one of \.csv, \.tsv, \.json, \.jsonl, \.ndjson, \.parquet"):
        reader(Path(name))
    with pytest.raises(InvalidSpec, match=r"--output .*: its name must end in one of \.csv, \.json, \.jsonl, \.ndjson, \.parquet"):
        answer_file(Path(name))


def test_the_new_file_takes_the_old_ones_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("old")

    def half_written() -> None:
        with replacing(path) as file:
            file.write(b"new")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_written()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["answers.csv"]
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["answers.csv"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, device = tmp_path / "answers.csv", tmp_path / "null.csv"
    link.symlink_to("there/answers.csv")
    device.symlink_to("/dev/null")
    for path in (link, device):
        with replacing(path) as file:
            file.write(b"new")
        assert path.is_symlink()
    assert (tmp_path / "there/answers.csv").read_text() == "new"
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_is_said_to_be_full() -> None:
    def write(file: IO[bytes]) -> None:
        file.write(b"x" * 100_000)
        file.flush()

    with pytest.raises(DiskFull, match="no space left on the disk"), replacing(Path("/dev/full")) as file:
        write(file)


@pytest.mark.parametrize("output", ["rows.csv", "link.csv", "there/../rows.csv"])
def test_what_is_read_is_never_written(output: str, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to("rows.csv")
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidSpec, match=r"--output .*: is what is read \(.*rows\.csv\); give another name"):
        refuse_overwriting(tmp_path / output, [source])


def test_an_output_that_cannot_be_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="there is no folder"):
        refuse_overwriting(tmp_path / "nowhere/answers.csv", [])
    with pytest.raises(InvalidSpec, match="is a folder; give a file's name"):
        refuse_overwriting(tmp_path, [])
