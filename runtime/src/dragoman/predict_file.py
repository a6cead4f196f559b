"""`dragoman predict`: one file of rows in, one file of answers out."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dragoman import rowfiles, terminal
from dragoman.errors import AccessDenied, InvalidSpec
from dragoman.local_model import fetched_model, loaded_model
from dragoman.manifest import ModelDeployment
from dragoman.offline import Job, predict
from dragoman.rowfiles import AnswerFile, Layout
from dragoman.rowfiles.output import refuse_overwriting, replacing
from dragoman.settings import Settings

_STDIN = Path("/dev/stdin")


@dataclass(frozen=True)
class Files:
    """What is read and written: "-" is CSV on standard input, None is standard output.

    `outputs` are the model's, as asked for: "predict,predict_proba".
    """

    source: Path
    output: Path | None
    outputs: str
    layout: Layout
    chunk_rows: int | None = None


def predict_file(manifest: ModelDeployment, files: Files, settings: Settings, stdout: IO[bytes]) -> None:
    """Raises a `ServeError` for the model or an argument, a `CallError` for a row or an answer; arguments are looked at first."""
    source = _STDIN if str(files.source) == "-" else files.source
    read = rowfiles.reader(Path("-.csv") if source is _STDIN else source)
    kind = rowfiles.answer_file(files.output) if files.output is not None else rowfiles.CsvAnswers
    wanted = tuple(dict.fromkeys(name.strip() for name in files.outputs.split(",") if name.strip()))
    if not wanted:
        raise InvalidSpec("--outputs: name at least one, such as predict")
    if len(files.layout.delimiter or ",") != 1:
        raise InvalidSpec(f"--delimiter {files.layout.delimiter!r}: must be one character")
    size = None if source is _STDIN else _readable(source)
    if files.output is not None:
        refuse_overwriting(files.output, [source, Path(manifest.spec.model.uri.removeprefix("file://"))])

    fetched = fetched_model(manifest, settings)
    loaded = loaded_model(manifest, fetched, settings)
    for warning in loaded.warnings:
        terminal.warn(warning)
    job = Job(source, read, files.layout, wanted, manifest.spec.serving.batching.rows_independent, files.chunk_rows)
    began = time.monotonic()
    with _answers(files.output, kind, stdout) as answers, terminal.predicting(size, shown=files.output is not None or _piped()) as progress:
        rows = predict(loaded, job, answers, progress, terminal.note)
    if files.output is not None:
        terminal.done(f"{files.output}: {rows:,} row{'s' if rows != 1 else ''} predicted in {time.monotonic() - began:.1f} s")


def _readable(source: Path) -> int:
    """Its size in bytes. Raises `InvalidSpec` where it is no file, `AccessDenied` where it may not be read."""
    try:
        found = source.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InvalidSpec(f"--input {source}: is not a file")
        with source.open("rb"):
            return found.st_size
    except FileNotFoundError:
        raise InvalidSpec(f"--input {source}: no such file") from None
    except PermissionError as error:
        raise AccessDenied(f"--input {source}: may not be read: {error.strerror}") from None


@contextlib.contextmanager
def _answers(output: Path | None, kind: type[AnswerFile], stdout: IO[bytes]) -> Iterator[AnswerFile]:
    if output is None:
        yield kind(stdout)
        stdout.flush()
        return
    with replacing(output) as file:
        yield kind(file)


def _piped() -> bool:
    """Whether answers on standard output go elsewhere than to the terminal that would show the bar."""
    return not os.isatty(sys.__stdout__.fileno()) if sys.__stdout__ is not None else True
