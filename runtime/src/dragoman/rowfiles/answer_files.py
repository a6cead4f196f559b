"""Writes answers, chunk by chunk, as CSV, JSON, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import IO, Any

from dragoman import json
from dragoman.errors import ModelFailed
from dragoman.formats.libraries import require
from dragoman.rowfiles.answers import plain
from dragoman.table import Array

Columns = Mapping[str, Array]


class AnswerFile(ABC):
    """One file being written. `write` comes once a chunk, always with the same columns; `finish` once, at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @abstractmethod
    def write(self, columns: Columns) -> None:
        """Raises `ModelFailed` where an answer cannot be written in this form; `OSError`."""

    def finish(self) -> None:  # noqa: B027  most have nothing to add
        """Whatever a file of its kind ends with."""


class CsvAnswers(AnswerFile):
    """A header, then a line a row. Null and NaN are empty; lists and objects are JSON text; true and false as in JSON."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._begun = False

    def write(self, columns: Columns) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._begun:
            writer.writerow(columns)
            self._begun = True
        writer.writerows(zip(*(_cells(column) for column in columns.values()), strict=True))
        self._file.write(text.getvalue().encode())


class JsonLinesAnswers(AnswerFile):
    """An object a line."""

    def write(self, columns: Columns) -> None:
        self._file.write(b"".join(row + b"\n" for row in _objects(columns)))


class JsonAnswers(AnswerFile):
    """An array of objects, one a line."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._before = b"[\n"

    def write(self, columns: Columns) -> None:
        rows = b",\n".join(_objects(columns))
        if rows:
            self._file.write(self._before + rows)
            self._before = b",\n"

    def finish(self) -> None:
        self._file.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")


class ParquetAnswers(AnswerFile):
    """A row group a chunk; the types are those of the first."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        require("pyarrow", "writing Parquet")
        self._writer: Any = None

    def write(self, columns: Columns) -> None:
        import pyarrow
        from pyarrow import parquet

        schema = None if self._writer is None else self._writer.schema
        try:
            arrays = {
                name: pyarrow.array(
                    column if column.dtype.kind in "biuf" else plain(column), None if schema is None else schema.field(name).type
                )
                for name, column in columns.items()
            }
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
            raise ModelFailed(
                f"the model's answer has no Parquet type: {' '.join(str(error).split())}; write it to a .jsonl file instead"
            ) from error
        table = pyarrow.table(arrays)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _cells(column: Array) -> list[Any]:
    if column.dtype.kind in "iuf":
        return plain(column)
    return [_cell(value) for value in plain(column)]


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value else None
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    return json.encode(value).decode().removeprefix('"').removesuffix('"')


def _objects(columns: Columns) -> list[bytes]:
    names = list(columns)
    return [json.encode(dict(zip(names, row, strict=True))) for row in zip(*(plain(c) for c in columns.values()), strict=True)]
