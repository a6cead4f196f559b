"""How a model takes its rows: what a Table is turned into before the model's method is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.table import Array, Table

Feed = Callable[[Table], Any]
FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


def as_array(table: Table) -> Array:
    """Shape (rows, features): floats where all are numbers, else objects in which a missing value is NaN."""
    return _nan_for_none(table.to_numpy())


def as_frame(table: Table) -> Any:
    """A pandas DataFrame with the features' names; a missing value is NaN."""
    if table.array is not None:
        return table.to_frame()
    columns = tuple(_nan_for_none(c) for c in table.columns)
    return Table(None, columns, table.names, table.rows).to_frame()


def as_array_with_none(table: Table) -> Array:
    """As `as_array`, with None for a missing value: for a model that was trained on it."""
    return table.to_numpy()


def as_frame_with_none(table: Table) -> Any:
    """As `as_frame`, with None for a missing value: for a model that was trained on it, and not on NaN."""
    import pandas as pd

    if table.array is not None:
        return table.to_frame()
    names = table.names or tuple(str(i) for i in range(table.width))
    columns = {n: pd.Series(c, dtype=object) if c.dtype == object else c for n, c in zip(names, table.columns, strict=True)}
    return pd.DataFrame(columns, index=range(table.rows))


def framed(categories: Mapping[str, Sequence[Any]]) -> Feed:
    """As `as_frame`, with these columns categorical: a value that is none of their categories is missing."""
    return Framed(categories) if categories else as_frame


@dataclass(frozen=True)
class Framed:
    """See `framed`."""

    categories: Mapping[str, Sequence[Any]]

    def __call__(self, table: Table) -> Any:
        import pandas as pd

        frame = as_frame(table)
        for name, values in self.categories.items():
            known = pd.Index(list(values))
            frame[name] = pd.Categorical.from_codes(known.get_indexer(frame[name]), categories=known)  # -1, missing, where it is none
        return frame


def as_sent(table: Table) -> Any:
    """An array where all are numbers, else a frame: for an object of which nothing is known."""
    return as_array(table) if table.array is not None or table.names is None else as_frame(table)


def is_plain(rows: Any, dtype: np.dtype[Any], width: int) -> bool:
    """Whether what a model is fed is an array (rows, width) of that dtype and nothing else, with a row at least: no look is needed."""
    return type(rows) is np.ndarray and rows.dtype == dtype and rows.ndim == 2 and rows.shape[1] == width and rows.shape[0] > 0


def as_table(table: Table) -> Table:
    """As it is."""
    return table


def as_texts(table: Table) -> list[Any]:
    """The one column of a model of texts: a list of strings."""
    return list(table.column(0).tolist())


def _nan_for_none(array: Array) -> Array:
    if array.dtype != object:
        return array
    absent = np.equal(array, None)  # type: ignore[call-overload]  # elementwise on objects
    if not absent.any():
        return array
    filled = array.copy()
    filled[absent] = np.nan
    return filled
