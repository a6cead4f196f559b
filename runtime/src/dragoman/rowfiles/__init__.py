"""Files of rows: what `dragoman predict` reads, and what it writes its answers to. CSV, JSON, JSON Lines, Parquet; told by suffix.

Every reader yields `Chunk`s in the file's order and keeps no more than a chunk in memory, but for JSON arrays, which are one value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from dragoman.errors import InvalidSpec
from dragoman.rowfiles.answer_files import AnswerFile, CsvAnswers, JsonAnswers, JsonLinesAnswers, ParquetAnswers
from dragoman.rowfiles.chunk import Chunk, Layout
from dragoman.rowfiles.columns import Note
from dragoman.rowfiles.csv_rows import read_csv, read_tsv
from dragoman.rowfiles.json_rows import read_json, read_json_lines
from dragoman.rowfiles.parquet_rows import read_parquet
from dragoman.signature import Signature

__all__ = ["AnswerFile", "Chunk", "CsvAnswers", "Layout", "Reader", "answer_file", "reader"]

Known = TypeVar("Known")
Reader = Callable[[Path, Signature, Layout, Note], Iterator[Chunk]]

READERS: Mapping[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}
ANSWERS: Mapping[str, type[AnswerFile]] = {
    ".csv": CsvAnswers,
    ".json": JsonAnswers,
    ".jsonl": JsonLinesAnswers,
    ".ndjson": JsonLinesAnswers,
    ".parquet": ParquetAnswers,
}


def reader(path: Path) -> Reader:
    """What reads a file of that name. `InvalidSpec` where its suffix is none that is known."""
    return _by_suffix(READERS, path, "--input")


def answer_file(path: Path) -> type[AnswerFile]:
    """What writes a file of that name. `InvalidSpec` where its suffix is none that is known."""
    return _by_suffix(ANSWERS, path, "--output")


def _by_suffix(known: Mapping[str, Known], path: Path, option: str) -> Known:
    found = known.get(path.suffix.lower())
    if found is None:
        raise InvalidSpec(f"{option} {path}: its name must end in one of {', '.join(known)}")
    return found
