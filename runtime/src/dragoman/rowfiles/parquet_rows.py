"""Reads rows from a Parquet file, some thousand at a time, only the columns that the model takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dragoman.errors import InvalidInput
from dragoman.formats.libraries import require
from dragoman.rowfiles.chunk import Chunk, Layout
from dragoman.rowfiles.columns import Arranged, Note, arranged
from dragoman.signature import Signature
from dragoman.table import Array, Table

CHUNK_CELLS = 500_000


def read_parquet(path: Path, signature: Signature, layout: Layout, note: Note) -> Iterator[Chunk]:
    """Raises `InvalidInput`, naming the column, and `MissingLibrary`, naming the extra; `OSError`."""
    require("pyarrow", "reading Parquet")
    import pyarrow
    from pyarrow import parquet

    size = path.stat().st_size
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            names = list(file.schema_arrow.names)
            found = arranged(names, signature, layout, len(names))
            if found.note:
                note(found.note)
            for column in found.columns:
                _refuse_type(names[column.index], file.schema_arrow.field(column.index).type)
            yield from _chunks(file, found, names, size)
    except pyarrow.ArrowInvalid as error:
        raise InvalidInput(f"not a readable Parquet file: {' '.join(str(error).split())}") from None


def _chunks(file: Any, found: Arranged, names: list[str], size: int) -> Iterator[Chunk]:
    wanted = [names[c.index] for c in found.columns]
    total = file.metadata.num_rows
    start = 0
    for batch in file.iter_batches(batch_size=max(1, CHUNK_CELLS // max(1, len(wanted))), columns=wanted, use_threads=False):
        columns = tuple(_column(batch.column(name)) for name in wanted)
        rows = batch.num_rows
        yield Chunk(Table(None, columns, found.names, rows), start, size * (start + rows) // max(1, total))
        start += rows


def _refuse_type(name: str, kind: Any) -> None:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    if not any(
        fits(plain)
        for fits in (
            types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_string, types.is_large_string,
            types.is_string_view, types.is_null,
        )
    ):  # fmt: skip
        raise InvalidInput(f"column {name!r} is {kind}: inputs are numbers, strings or booleans; convert it")


def _column(values: Any) -> Array:
    """Numbers as numpy has them, NaN where missing; strings and booleans as objects, None where missing."""
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_decimal(values.type):
        values = values.cast("float64")
    if types.is_integer(values.type) or types.is_floating(values.type):
        array: Array = values.to_numpy(zero_copy_only=False)
        return array
    found = np.empty(len(values), dtype=object)
    found[:] = values.to_pylist()
    return found
