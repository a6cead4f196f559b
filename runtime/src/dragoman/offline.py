"""Predicting a file of rows: read, check, predict and write, a chunk at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from dragoman.batcher import as_call_error
from dragoman.call import EXPLAIN
from dragoman.check import Checker
from dragoman.errors import CallError, InvalidInput, InvalidSpec, OutOfMemory
from dragoman.formats import LoadedModel
from dragoman.predictors import Predictor, checked_outputs
from dragoman.rowfiles import AnswerFile, Chunk, Layout, Reader
from dragoman.rowfiles.answers import columns, same_columns
from dragoman.signature import Signature
from dragoman.table import Array, Table, concat

PREDICT_ROWS = 16_384  # at once, where rows are independent: enough to be fast, few enough to be shown as progress
EXPLAIN_PREDICTIONS = 16_384  # the same, where each row may be predicted once for each of its inputs

logger = logging.getLogger("dragoman.offline")
OnProgress = Callable[[int, int], None]  # bytes read of the file, rows predicted
Note = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What is to be predicted. `chunk_rows`: as many rows at once, whatever the model; None: as many as is right for it."""

    source: Path
    read: Reader
    layout: Layout
    outputs: tuple[str, ...]
    rows_independent: bool | None = None  # as the manifest says
    chunk_rows: int | None = None


def predict(loaded: LoadedModel, job: Job, answers: AnswerFile, on_progress: OnProgress, note: Note) -> int:
    """Writes an answer for each row of the file, in its order; gives their number.

    Memory is bounded by a chunk where the model's rows are independent, or `chunk_rows` is given; else all rows are predicted at once, as
    they would be in one request. Raises `InvalidInput` and `ModelFailed`, naming the row; `InvalidSpec` for an output that there is not.
    """
    predictor = loaded.predictor
    signature = predictor.signature
    _refuse_unknown(job.outputs, signature)
    independent = predictor.rows_independent if job.rows_independent is None else job.rows_independent
    if not independent and job.chunk_rows is None:
        note(
            "this model's rows are not known to be independent of each other, so all of them are predicted at once, in memory; "
            "--chunk-rows predicts some at a time, and so does spec.serving.batching.rowsIndependent: true"
        )
    chunks = _checked(job, signature, note)
    pieces = _cut(chunks, job.chunk_rows or _rows_at_once(job.outputs, signature)) if independent else _gathered(chunks, job.chunk_rows)
    names: list[str] = []
    rows = 0
    for piece in pieces:
        found = columns(_predicted(predictor, piece, job.outputs, independent=independent), signature.classes)
        names = names or list(found)
        same_columns(names, list(found))
        answers.write(found)
        rows += piece.table.rows
        on_progress(piece.bytes_read, rows)
    answers.finish()
    return rows


def _rows_at_once(outputs: Sequence[str], signature: Signature) -> int:
    return max(1, EXPLAIN_PREDICTIONS // max(1, len(signature.inputs))) if EXPLAIN in outputs else PREDICT_ROWS


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows that are predicted at once. `place` words one of them, counted from 0, as a row of the file."""

    table: Table
    bytes_read: int
    place: Callable[[int], str]


def _refuse_unknown(wanted: Sequence[str], signature: Signature) -> None:
    known = [o.name for o in signature.outputs]
    for name in wanted:
        if known and name not in known:
            raise InvalidSpec(f"--outputs {name}: the model has no such output; it has {', '.join(known)}")


def _checked(job: Job, signature: Signature, note: Note) -> Iterator[Chunk]:
    """The file's chunks, their rows as the model takes them."""
    extra = "ignore" if job.layout.ignore_extra else signature.extra_columns
    check = Checker(msgspec.structs.replace(signature, extra_columns=extra))
    names: tuple[str, ...] | None = None
    try:
        for chunk in job.read(job.source, signature, job.layout, note):
            try:
                table = check(chunk.table)
            except InvalidInput as error:
                raise InvalidInput(chunk.located(error.message)) from error
            names = names or table.names
            yield replace(chunk, table=_aligned(table, names, chunk))
    except InvalidInput as error:
        raise InvalidInput(f"{job.source}: {error.message}") from error


def _aligned(table: Table, names: tuple[str, ...] | None, chunk: Chunk) -> Table:
    """With the columns of the first rows, in their order: where nothing is known of the inputs, nothing else sees to that."""
    if names is None or table.names is None or table.names == names:
        return table
    if set(names) != set(table.names):
        other = sorted(set(names) ^ set(table.names))
        raise InvalidInput(f"rows from {chunk.place(0)} on: {other[0]!r} is not in all rows: send the same keys in each")
    return Table(None, tuple(table.column(table.names.index(name)) for name in names), names, table.rows)


def _cut(chunks: Iterator[Chunk], size: int) -> Iterator[_Piece]:
    """At most `size` rows each, for rows that are independent: views of the chunks."""
    for chunk in chunks:
        for start in range(0, chunk.table.rows, size):
            table = chunk.table.slice(start, start + size)
            yield _Piece(table, chunk.bytes_read, partial(_place, chunk, start))


def _place(chunk: Chunk, start: int, index: int) -> str:
    return chunk.place(start + index)


def _gathered(chunks: Iterator[Chunk], size: int | None) -> Iterator[_Piece]:
    """Exactly `size` rows each, but for the last; all rows in one where it is None."""
    held: list[Table] = []
    count = done = 0
    bytes_read = 0
    for chunk in chunks:
        held.append(chunk.table)
        count += chunk.table.rows
        bytes_read = chunk.bytes_read
        while size is not None and count >= size:
            table = _concat(held)
            yield _Piece(table.slice(0, size), bytes_read, partial(_numbered, done))
            held, count, done = [table.slice(size, table.rows)], count - size, done + size
    if count:
        yield _Piece(_concat(held), bytes_read, partial(_numbered, done))


def _numbered(start: int, index: int) -> str:
    return f"row {start + index + 1}"


def _concat(tables: Sequence[Table]) -> Table:
    if len({t.array is None for t in tables}) == 1:
        return concat(tables)
    return concat([Table(None, tuple(t.column(i) for i in range(t.width)), t.names, t.rows) for t in tables])


def _predicted(predictor: Predictor, piece: _Piece, outputs: tuple[str, ...], *, independent: bool) -> dict[str, Array]:
    try:
        return _outputs(predictor, piece.table, outputs)
    except MemoryError as error:
        raise OutOfMemory(f"predicting {piece.table.rows} rows at once ran out of memory: try fewer with --chunk-rows") from error
    except Exception as error:  # noqa: BLE001  the model's code may raise anything; this is the edge of a predict
        failure = error
    at, cause = _culprit(predictor, piece.table, outputs, failure) if independent else (None, failure)
    last = piece.table.rows - 1
    where = piece.place(at) if at is not None else piece.place(0) if last == 0 else f"{piece.place(0)} to {piece.place(last)}"
    if not isinstance(cause, CallError):
        logger.error("%s: the model failed", where, exc_info=cause)
    told = as_call_error(cause)
    raise type(told)(f"{where}: {told.message}") from cause


def _outputs(predictor: Predictor, table: Table, outputs: tuple[str, ...]) -> dict[str, Array]:
    return checked_outputs(predictor.predict(table, outputs, {}), outputs, table.rows)


def _culprit(predictor: Predictor, table: Table, outputs: tuple[str, ...], error: Exception) -> tuple[int | None, Exception]:
    """The first row that fails alone, and how; None where none does. Halves what fails, so a few more predicts find it."""
    low, high = 0, table.rows
    while high - low > 1:
        middle = (low + high) // 2
        failed = _failure(predictor, table.slice(low, middle), outputs)
        low, high = (low, middle) if failed is not None else (middle, high)
    alone = _failure(predictor, table.slice(low, high), outputs)
    return (None, error) if alone is None else (low, alone)


def _failure(predictor: Predictor, table: Table, outputs: tuple[str, ...]) -> Exception | None:
    try:
        _outputs(predictor, table, outputs)
    except Exception as error:  # noqa: BLE001  as above
        return error
    return None
