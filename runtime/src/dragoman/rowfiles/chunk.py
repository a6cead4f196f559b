"""Some rows of a file, and where in the file each of them is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dragoman.errors import InvalidInput
from dragoman.table import Table

_ROW = re.compile(r"row (\d+): (.*)", re.DOTALL)
_UNNUMBERED: Callable[[], Sequence[int]] = tuple


@dataclass(frozen=True)
class Layout:
    """How the rows stand in their file, where the file cannot say it itself."""

    header: bool = True  # CSV: the first line names the columns; False: they stand in the signature's order
    delimiter: str | None = None  # CSV: "," unless said
    missing: frozenset[str] = frozenset()  # CSV: texts that stand for no value, beside the empty one
    ignore_extra: bool = False  # columns that are none of the model's inputs are passed over


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows. `start` is the number of rows before them; `bytes_read` counts from the file's beginning."""

    table: Table
    start: int
    bytes_read: int
    lines: Callable[[], Sequence[int]] = _UNNUMBERED  # each row's line in the file, from 1; asked for only by an error

    def place(self, index: int) -> str:
        """A row of the chunk as people find it in the file, both counted from 1: `row 3 (line 4)`."""
        lines = self.lines()
        return f"row {self.start + index + 1}" + (f" (line {lines[index]})" if index < len(lines) else "")

    def located(self, message: str, offset: int = 0) -> str:
        """A message about this chunk's rows (`row 0: …`, as the checker words it), about the file's rows instead."""
        found = _ROW.fullmatch(message)
        return message if found is None else f"{self.place(offset + int(found[1]))}: {found[2]}"

    def refuse(self, index: int, message: str) -> InvalidInput:
        """The error of one row of the chunk."""
        return InvalidInput(f"{self.place(index)}: {message}")
