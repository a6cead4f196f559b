"""predict, inspect, digest and validate as people and scripts run them: real processes, real models, a real terminal."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.servers.objects import ObjectServer
from tests.support.serving import command, environment, manifest, run

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")

DOUBLES = """
import dragoman

class Doubles(dragoman.Model):
    inputs = {"a": "number", "b": "number"}
    rows_independent = True

    def predict(self, table):
        return table.column(0) * 2
"""

SLOW = """
import time
import dragoman

class Slow(dragoman.Model):
    inputs = {"a": "number"}
    rows_independent = True

    def predict(self, table):
        print("a model that talks")
        time.sleep(0.3)
        return table.column(0) * 2
"""

TELLTALE = """
from pathlib import Path
import dragoman

Path(__file__).with_name("ran").touch()
Path(%r).touch()

class Telltale(dragoman.Model):
    inputs = {"a": "number"}

    def predict(self, table):
        return table.column(0)
"""


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A model's file, the model, and the frame it was trained on."""
    rows, species = load_iris(return_X_y=True, as_frame=True)
    rows.columns = list(NAMES)
    model = LogisticRegression(max_iter=1000).fit(rows, np.array(["setosa", "versicolor", "virginica"])[species])
    file = tmp_path_factory.mktemp("iris") / "model.joblib"
    joblib.dump(model, file)
    return file, model, rows


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""  # asked by a small process: a child's count begins with the size of what it was forked from


def python_model(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "model.py").write_text(text)
    return folder


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- predict ---------------------------------------------------------------------------------------------------------


def test_answers_are_the_models_own_to_the_last_bit(iris: tuple[Path, Any, Any], tmp_path: Path) -> None:
    file, model, rows = iris
    source = tmp_path / "rows.csv"
    rows[list(reversed(NAMES))].to_csv(source, index=False)  # in another order than the model's
    found = run(tmp_path, "predict", file, "--input", source, "--outputs", "predict,predict_proba")
    assert (found.returncode, found.stderr) == (0, "")
    answers = table(found.stdout)
    assert [a["prediction"] for a in answers] == model.predict(rows).tolist()
    given = np.array([[float(a[f"probability_{c}"]) for c in model.classes_] for a in answers])
    assert given.tobytes() == model.predict_proba(rows).tobytes()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_the_same_answers(
    suffix: str, iris: tuple[Path, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dragoman.manifest import from_uri
    from dragoman.predict_file import Files, predict_file
    from dragoman.rowfiles import Layout
    from dragoman.settings import Settings

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "DRAGOMAN_THREADS"):
        monkeypatch.setenv(name, "1")  # what is set while predicting is not to stay
    file, model, rows = iris
    source = tmp_path / f"rows{suffix}"
    {
        ".csv": lambda: rows.to_csv(source, index=False),
        ".tsv": lambda: rows.to_csv(source, index=False, sep="\t"),
        ".json": lambda: rows.to_json(source, orient="records", double_precision=15),
        ".jsonl": lambda: rows.to_json(source, orient="records", lines=True, double_precision=15),
        ".parquet": lambda: rows.to_parquet(source),
    }[suffix]()
    output = tmp_path / ("answers" + (".csv" if suffix == ".tsv" else suffix))
    files = Files(source, output, "predict,predict_proba", Layout())
    predict_file(from_uri(str(file), "iris"), files, Settings(cache_dir=str(tmp_path / "cache")), io.BytesIO())
    answers = _read(output)
    assert [a["prediction"] for a in answers] == model.predict(rows).tolist()
    given = np.array([[float(a[f"probability_{c}"]) for c in model.classes_] for a in answers])
    assert given.tobytes() == model.predict_proba(rows).tobytes()


def _read(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    readers: Mapping[str, Any] = {
        ".csv": lambda: table(path.read_text()),
        ".json": lambda: json.loads(path.read_text()),
        ".jsonl": lambda: [json.loads(line) for line in path.read_text().splitlines()],
        ".parquet": lambda: parquet.read_table(path).to_pylist(),
    }
    rows: list[dict[str, Any]] = readers[path.suffix]()
    return rows


def test_a_wrong_row_ends_it_with_one_and_leaves_what_was_there(tmp_path: Path) -> None:
    source, output = tmp_path / "rows.csv", tmp_path / "answers.csv"
    source.write_text("a,b\n" + "5.1,3.5\n" * 40_000 + "5.1,wide\n")
    output.write_text("yesterday's")
    found = run(tmp_path, "predict", python_model(tmp_path / "doubles", DOUBLES), "-i", source, "-o", output)
    assert found.returncode == 1
    assert found.stderr == f"InvalidInput: {source}: row 40001 (line 40002): 'b' must be a number, got \"wide\"\n"
    assert output.read_text() == "yesterday's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.csv", "cache", "doubles", "rows.csv"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-i", "nowhere.csv"], 10, "InvalidSpec: --input nowhere.csv: no such file"),
        (["-i", "."], 10, "InvalidSpec: --input .: its name must end in one of .csv"),
        (["-i", "rows.xls"], 10, "InvalidSpec: --input rows.xls: its name must end in one of .csv"),
        (["-i", "rows.csv", "-o", "answers.txt"], 10, "InvalidSpec: --output answers.txt: its name must end in one of .csv"),
        (["-i", "rows.csv", "-o", "./rows.csv"], 10, "InvalidSpec: --output rows.csv: is what is read (rows.csv); give another name"),
        (["-i", "rows.csv", "-o", "no/answers.csv"], 10, "InvalidSpec: --output no/answers.csv: there is no folder no"),
        (["-i", "rows.csv", "--outputs", ","], 10, "InvalidSpec: --outputs: name at least one, such as predict"),
        (["-i", "rows.csv", "--delimiter", ";;"], 10, "InvalidSpec: --delimiter ';;': must be one character"),
        (["-i", "rows.csv", "--model", "wine"], 10, "InvalidSpec: --model wine: there is no such model; there are: model"),
        (["-i", "rows.csv", "--code-formats", "Deny"], 16, "PolicyViolation: model.joblib is a pickle of "),
        ([], 2, "Missing option '--input' / '-i'."),
        (["-i", "rows.csv", "--chunk-rows", "0"], 2, "Invalid value for '--chunk-rows': Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_its_code(
    arguments: list[str], code: int, message: str, iris: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(",".join(NAMES) + "\n5.1,3.5,1.4,0.2\n")
    (tmp_path / "rows.xls").write_text("")
    found = subprocess.run(
        command("predict", iris[0], *arguments), cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (code, "")
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_rows_may_come_through_a_pipe(tmp_path: Path) -> None:
    model = python_model(tmp_path / "doubles", DOUBLES)
    found = subprocess.run(
        command("predict", model, "-i", "-"),
        input="b,a\n0,1\n0,2\n",
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "prediction\n2.0\n4.0\n", "")


def test_one_of_several_models_is_named(tmp_path: Path) -> None:
    models, source = tmp_path / "models", tmp_path / "rows.csv"
    models.mkdir()
    manifest(models, "first", "nowhere.onnx")
    manifest(models, "second", python_model(tmp_path / "doubles", DOUBLES))
    source.write_text("a,b\n1,0\n")
    found = run(tmp_path, "predict", models, "-i", source)
    assert (found.returncode, found.stderr) == (10, "InvalidSpec: there are 2 models: first, second: say which with --model\n")
    assert run(tmp_path, "predict", models, "-i", source, "--model", "second").stdout == "prediction\n2.0\n"


def test_what_a_model_prints_is_not_among_its_answers(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("a\n1\n")
    found = run(tmp_path, "predict", python_model(tmp_path / "slow", SLOW), "-i", source)
    assert (found.returncode, found.stdout) == (0, "prediction\n2.0\n")
    assert found.stderr == "a model that talks\n"


def test_rows_that_may_depend_on_each_other_are_predicted_together(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("b,a\n" + "".join(f"0,{i}\n" for i in range(5)))
    model = Path(__file__).parents[1] / "models/centred.py"
    found = run(tmp_path, "predict", model, "-i", source)
    assert found.stdout.split() == ["prediction", "-2.0", "-1.0", "0.0", "1.0", "2.0"]
    assert found.stderr.startswith("note: this model's rows are not known to be independent")
    found = run(tmp_path, "predict", model, "-i", source, "--chunk-rows", "2")
    assert (found.stdout.split()[1:], found.stderr) == (["-0.5", "0.5", "-0.5", "0.5", "0.0"], "")


def test_the_models_own_failure_is_told_with_its_row_and_its_traceback(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("order,value\n" + "no,1\n" * 500 + "raise,1\n" + "no,1\n" * 500)
    found = run(tmp_path, "predict", Path(__file__).parents[1] / "models/on_order.py", "-i", source)
    assert found.returncode == 1
    assert found.stderr.endswith("ModelFailed: row 501 (line 502): the model failed: RuntimeError: told to raise\n")
    assert found.stderr.count("Traceback (most recent call last):") == 1
    assert 'raise RuntimeError("told to raise")' in found.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    source, model = tmp_path / "rows.csv", python_model(tmp_path / "doubles", DOUBLES)
    source.write_text("a,b\n" + "5.1,3.5\n" * 200_000)
    with subprocess.Popen(
        command("predict", model, "-i", source), env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "prediction\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nothing_half_written(number: signal.Signals, tmp_path: Path) -> None:
    source, output = tmp_path / "rows.csv", tmp_path / "answers.csv"
    source.write_text("a\n" + "1\n" * 1000)
    arguments = ("predict", python_model(tmp_path / "slow", SLOW), "-i", source, "-o", output, "--chunk-rows", "1")
    with subprocess.Popen(command(*arguments), env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "a model that talks\n"
        (part,) = tmp_path.glob(".answers.csv.*")
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == 128 + number
    assert "Traceback" not in said
    assert not part.exists()
    assert not output.exists()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    model = python_model(tmp_path / "doubles", DOUBLES)
    for times in (1, 6):
        source = tmp_path / f"rows-{times}.csv"
        with source.open("w") as file:
            file.write("a,b\n")
            for _ in range(times):
                file.write("4.91234567890,3.12345678901\n" * 140_000)  # 3.7 MiB
        arguments = command("predict", model, "-i", source, "-o", tmp_path / "answers.csv")
        peak = subprocess.run(
            [sys.executable, "-c", PEAK, *arguments], env=environment(tmp_path), stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        peaks.append(int(peak) // (1024 if sys.platform == "linux" else 1024**2))  # MiB
    assert (tmp_path / "answers.csv").read_bytes().count(b"\n") == 6 * 140_000 + 1
    assert peaks[1] - peaks[0] < 10, peaks  # the rows alone are 19 MiB of text more, and 11 MiB of numbers


# --- a terminal ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def terminal(columns: int = 80) -> Iterator[tuple[int, Any]]:
    """The two ends of a terminal: what a child is given, and a function that reads all that was written to it."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def written() -> str:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # Linux: EIO at the end
            while some := os.read(ours, 65536):
                said += some
        return said.decode()

    try:
        yield theirs, written
    finally:
        os.close(ours)


def on_terminal(tmp_path: Path, *arguments: str | Path, stdout: bool = False) -> str:
    """What a person sees of standard error, and of standard output with `stdout`."""
    env = environment(tmp_path, {"TERM": "xterm-256color"})
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        env.pop(name, None)
    with terminal() as (end, written):
        out = end if stdout else subprocess.DEVNULL
        process = subprocess.Popen(command(*arguments), env=env, stderr=end, stdout=out, stdin=subprocess.DEVNULL)
        seen: str = written()
        process.wait(60)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)


def test_a_bar_is_drawn_on_a_terminal_and_ends_in_a_summary(tmp_path: Path) -> None:
    source, output = tmp_path / "rows.csv", tmp_path / "answers.csv"
    source.write_text("a\n" + "1\n" * 1000)
    model = python_model(tmp_path / "slow", SLOW)
    seen = on_terminal(tmp_path, "predict", model, "-i", source, "-o", output, "--chunk-rows", "200")
    assert re.search(r"predicting .*\d+% [\d,]+ rows [\d.]+/2\.0 KiB", seen)
    assert re.search(rf"{re.escape(str(output))}: 1,000 rows predicted in \d+\.\d s", seen.replace("\r\n", ""))
    bars = [line for line in re.split(r"[\r\n]+", seen) if line.startswith("predicting")]
    assert max(map(len, bars)) <= 80


def test_no_bar_is_drawn_among_answers_on_the_same_terminal(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("a\n" + "1\n" * 5)
    seen = on_terminal(tmp_path, "predict", python_model(tmp_path / "slow", SLOW), "-i", source, "--chunk-rows", "1", stdout=True)
    assert "predicting" not in seen
    assert seen.count("2.0") == 5


# --- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_tells_what_a_model_is(iris: tuple[Path, Any, Any], tmp_path: Path) -> None:
    file = iris[0]
    found = run(tmp_path, "inspect", file, "--json")
    assert (found.returncode, found.stderr) == (0, "")
    told = json.loads(found.stdout)
    assert found.stdout.count("\n") == 1
    import sklearn

    assert told["digest"] == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert (told["format"], told["kind"], told["file"]) == ("sklearn", "code", "model.joblib")
    assert (told["bytes"], told["files"]) == (file.stat().st_size, 1)
    assert told["rowsIndependent"] is True
    assert told["versions"]["scikit-learn"] == sklearn.__version__
    assert [(f["name"], f["type"]) for f in told["signature"]["inputs"]] == [(name, "number") for name in NAMES]
    assert told["signature"]["classes"] == ["setosa", "versicolor", "virginica"]
    assert [o["name"] for o in told["signature"]["outputs"]][:2] == ["predict", "predict_proba"]


def test_inspect_is_a_page_for_people_in_the_width_of_their_terminal(iris: tuple[Path, Any, Any], tmp_path: Path) -> None:
    seen = on_terminal(tmp_path, "inspect", iris[0], stdout=True)
    lines = [line.rstrip() for line in seen.splitlines()]
    assert max(map(len, lines)) <= 80
    digest = hashlib.sha256(iris[0].read_bytes()).hexdigest()
    assert f"digest   sha256:{digest}" in lines  # in one piece, to be copied
    assert any(re.fullmatch(r"kind +code: loading it runs code that its bytes carry", line) for line in lines)
    assert any(re.fullmatch(r"  predict_proba +number +3: setosa, versicolor, virginica", line) for line in lines)


def test_deny_runs_nothing_of_the_model(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    model = python_model(tmp_path / "telltale", TELLTALE % str(ran))
    found = run(tmp_path, "inspect", model, "--json", "--code-formats", "Deny")
    assert found.returncode == 0
    told = json.loads(found.stdout)
    assert (told["format"], told["kind"], told["digest"][:7], told["signature"]) == ("python", "code", "sha256:", None)
    assert "runs code when it is loaded, and the policy codeFormats is Deny" in told["notLoaded"]
    assert not ran.exists()
    assert "not loaded: " in run(tmp_path, "inspect", model, "--code-formats", "RequireDigest").stdout
    assert not ran.exists()
    assert json.loads(run(tmp_path, "inspect", model, "--json").stdout)["notLoaded"] is None
    assert ran.exists()


def test_a_model_that_does_not_load_is_told_as_far_as_its_bytes_go(tmp_path: Path) -> None:
    found = run(tmp_path, "inspect", Path(__file__).parents[1] / "models/raises_loading.py", "--json")
    assert found.returncode == 17
    told = json.loads(found.stdout)
    assert (told["format"], told["failure"], told["signature"]) == ("python", "ModelLoadFailed", None)
    assert found.stderr.rstrip().endswith(told["notLoaded"])


def test_several_models_are_told_one_a_line_and_one_that_fails_hides_no_other(iris: tuple[Path, Any, Any], tmp_path: Path) -> None:
    manifest(tmp_path, "a", tmp_path / "nowhere.joblib")
    manifest(tmp_path, "b", iris[0])
    found = run(tmp_path, "inspect", tmp_path, "--json")
    assert found.returncode == 11
    assert [json.loads(line)["name"] for line in found.stdout.splitlines()] == ["b"]
    assert found.stderr.startswith("ModelNotFound: ")


# --- digest ----------------------------------------------------------------------------------------------------------


def test_digest_prints_the_digest_and_nothing_else(iris: tuple[Path, Any, Any], tmp_path: Path, s3_server: ObjectServer) -> None:
    file = iris[0]
    digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    uri = s3_server.put("cli/model.joblib", file)
    for target in (file, file.as_uri(), uri, manifest(tmp_path, "iris", file, model={"digest": "sha256:" + "0" * 64})):
        found = run(tmp_path, "digest", str(target), env=s3_server.env)
        assert (found.returncode, found.stdout, found.stderr) == (0, f"{digest}\n", "")


def test_a_folders_digest_is_what_a_shell_says(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for name in ("b", "a", "sub/c"):
        (folder / name).write_text(name)
    line = "find . -type f | sed 's,^./,,' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-64"
    shell = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=True)
    assert run(tmp_path, "digest", folder).stdout == f"sha256:{shell.stdout}"


def test_a_digest_that_cannot_be_is_no_digest(tmp_path: Path) -> None:
    found = run(tmp_path, "digest", "file:///nowhere/model.joblib")
    assert (found.returncode, found.stdout) == (11, "")
    assert found.stderr.startswith("ModelNotFound: /nowhere/model.joblib: no such file or folder")


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["digest", "{file}"], ["validate", "{manifest}"]])
def test_what_needs_no_model_imports_none(arguments: list[str], iris: tuple[Path, Any, Any], tmp_path: Path) -> None:
    places = {"file": iris[0], "manifest": manifest(tmp_path, "iris", iris[0])}
    told = subprocess.run(
        [sys.executable, "-X", "importtime", *command(*(a.format(**places) for a in arguments))[1:]],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert {"dragoman", "typer"} <= imported
    assert not imported & {"numpy", "pandas", "sklearn", "pyarrow", "obstore", "grpc", "uvicorn", "rich"}


@pytest.mark.parametrize("name", ["serve", "predict", "inspect", "digest", "validate"])
def test_help_teaches_by_example_in_eighty_columns(name: str, tmp_path: Path) -> None:
    found = run(tmp_path, name, "--help", env={"COLUMNS": "80"})
    assert found.returncode == 0
    assert f"\n    dragoman {name} " in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 80


def test_the_exit_codes_are_in_the_help(tmp_path: Path) -> None:
    from dragoman.errors import ServeError

    listed = " ".join(run(tmp_path, "--help").stdout.split())
    for kind in ServeError.__subclasses__():
        assert f"{kind.exit_code} {kind.reason}" in listed


def test_an_unforeseen_error_is_a_plain_traceback_without_variables(tmp_path: Path) -> None:
    code = """
from dragoman.cli import app

@app.command()
def broken() -> None:
    password = "hun" + "ter2"
    raise ZeroDivisionError("unforeseen")

app(["broken"])
"""
    found = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("Traceback (most recent call last):")
    assert found.stderr.endswith("ZeroDivisionError: unforeseen\n")
    assert "hunter2" not in found.stderr
