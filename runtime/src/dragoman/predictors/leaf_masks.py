"""Boosted trees without walking them: of each tree a mask of the leaves that a row may still reach, all trees' masks at once.

A node that sends a row to the right rules out the leaves below its left child. What all nodes on one feature rule out depends only on which
of their thresholds the value is above, so it is made beforehand: a table with a row for each place between the thresholds. A row's masks
are the `and` of one row of each feature's table; the first leaf that is left is the one that walking ends in. Values of leaves are added in
the order of the trees, so that sums are what scikit-learn's are, to the last bit.

Source: C. Lucchese et al., QuickScorer, SIGIR 2015; here numpy does it for many rows and all trees in each step.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dragoman.table import Array

MAX_BYTES = 16 * 1024 * 1024  # of the tables: beyond, they fall out of the caches, and weigh more than the trees
MAX_FEATURES = 64  # a row costs its features times the trees: with more of them walking is as fast
_FEW_ROWS = 128  # where there are more features than trees, finding places takes longer than walking from so many rows on
_BLOCK = 256  # rows at a time: their masks fit a core's cache
_AT_ONCE = 200_000  # masks that are gathered for all features before they are combined: few rows need few calls
_CELLS = 1024  # of the even grid that says about where a value lies among its feature's thresholds
_EDGES = 60  # rows
_KINDS: Mapping[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}  # of masks of so many leaves
_STEPS = 4  # the most thresholds in a cell; a feature with more is searched


class LeafMasks:
    """Called with rows, shape (rows, features), float64; NaN is missing. Gives the sums of a boosted ensemble, shape (rows, sums a row)."""

    def __init__(self, tables: _Tables, values: Array, sums: int) -> None:
        self._masks, self._features, self._thresholds, self._sums = tables.masks, tables.features, tables.thresholds, sums
        self._places = _Places(tables.thresholds)
        self._values = values.ravel()
        self.most_rows = sys.maxsize if len(values) >= len(tables.features) else _FEW_ROWS  # of more, walking is as fast
        # a mask's one bit as a double has the bit's number in its exponent, 1023 above; added to where the tree's values begin
        self._begins = np.arange(len(values), dtype=np.int64) * values.shape[1] - 1023

    @classmethod
    def of(cls, iterations: Sequence[Sequence[Any]], baseline: Array) -> LeafMasks | None:
        """Of scikit-learn's trees (`PREDICTOR_RECORD_DTYPE`), for each iteration one for each sum. None: these are better walked."""
        sums = len(baseline)
        trees = [iteration[k] for k in range(sums) for iteration in iterations]
        if not all(map(_left_to_right, trees)) or any(tree["is_categorical"].any() for tree in trees):
            return None
        leaves = max(int(np.count_nonzero(tree["is_leaf"])) for tree in trees)
        kind = next((kind for bits, kind in _KINDS.items() if leaves <= bits), None)
        tables = None if kind is None else _Tables.of(trees, kind)
        if tables is None:
            return None
        values = np.zeros((len(trees), leaves))
        for number, tree in enumerate(trees):
            found = tree["value"][tree["is_leaf"] != 0]
            values[number, : len(found)] = found
        values[:: len(iterations)] += baseline[:, None]  # each sum begins with it
        return cls(tables, values, sums)

    def __call__(self, rows: Array) -> Array:
        answer = np.empty((len(rows), self._sums), order="F")  # as scikit-learn's: what is made of it may add along its rows
        for start in range(0, len(rows), _BLOCK):
            self._add(rows[start : start + _BLOCK], answer[start : start + _BLOCK])
        return answer

    def edges(self, width: int) -> Array:
        """Some rows of so many features, at thresholds and just above them, with missing values: where a mistake would show."""
        rows = np.zeros((_EDGES, width))
        for feature, known in zip(self._features, self._thresholds, strict=True):
            rows[:, feature] = np.resize(known, _EDGES)
        rows[1::3] = np.nextafter(rows[1::3], np.inf)
        rows[2::6, ::2] = rows[5::6, 1::2] = np.nan
        return rows

    def _add(self, rows: Array, answer: Array) -> None:
        masks = self._remaining(self._places(np.take(rows.T, self._features, axis=0)))
        masks &= np.negative(masks)  # the first leaf's bit alone
        at = masks.astype(np.float64).view(np.int64)
        at >>= 52
        at += self._begins
        values = np.take(self._values, at, mode="clip")
        each = values.shape[1] // self._sums
        for k in range(self._sums):
            own = values[:, k * each : (k + 1) * each]
            if len(rows) == 1:  # which numpy would add in another order
                answer[0, k] = np.add.accumulate(own[0])[-1]
            else:  # one tree after another, for all rows
                np.add.reduce(np.ascontiguousarray(own.T), axis=0, out=answer[:, k])

    def _remaining(self, places: Array) -> Array:
        """Shape (rows, trees), from places, shape (features, rows)."""
        if places.size * self._masks.shape[1] <= _AT_ONCE:
            together: Array = np.bitwise_and.reduce(np.take(self._masks, places, axis=0, mode="clip"), axis=0)
            return together
        masks: Array = np.take(self._masks, places[0], axis=0, mode="clip")
        others = np.empty_like(masks)
        for place in places[1:]:
            np.take(self._masks, place, axis=0, out=others, mode="clip")
            masks &= others
        return masks


class _Tables:
    """`masks`, shape (places, trees): of each feature in turn one row for each place among its thresholds, and one for a missing value."""

    def __init__(self, masks: Array, features: Array, thresholds: list[Array]) -> None:
        self.masks, self.features, self.thresholds = masks, features, thresholds

    @classmethod
    def of(cls, trees: Sequence[Any], kind: Any) -> _Tables | None:
        nodes, number = np.concatenate(trees), np.repeat(np.arange(len(trees)), [len(tree) for tree in trees])
        begins = np.cumsum([0, *map(len, trees[:-1])])[number]
        before = np.cumsum(nodes["is_leaf"], dtype=np.int64) - nodes["is_leaf"]  # leaves that stand before a node
        splits = nodes["is_leaf"] == 0
        node, tree = nodes[splits], number[splits]
        first = before[splits].astype(np.uint64)
        below_left = before[(begins[splits] + node["right"])].astype(np.uint64) - first
        first -= before[begins[splits]].astype(np.uint64)
        one = np.uint64(1)
        ruled_out = (~(((one << below_left) - one) << first)).astype(kind)
        features = np.unique(node["feature_idx"])
        thresholds = [np.unique(np.append(node["num_threshold"][node["feature_idx"] == f], np.inf)) for f in features]
        places = sum(len(t) + 1 for t in thresholds)
        if not 0 < len(features) <= MAX_FEATURES or places * len(trees) * np.dtype(kind).itemsize > MAX_BYTES:
            return None
        masks = np.full((places, len(trees)), ~kind(0), dtype=kind)
        start = 0
        for f, known in zip(features, thresholds, strict=True):
            own = node["feature_idx"] == f
            at, end = start + np.searchsorted(known, node["num_threshold"][own]), start + len(known)
            above = at + 1 < end  # nothing is above infinity
            np.bitwise_and.at(masks, (at[above] + 1, tree[own][above]), ruled_out[own][above])
            np.bitwise_and.accumulate(masks[start:end], axis=0, out=masks[start:end])
            right = own & (node["missing_go_to_left"] == 0)
            np.bitwise_and.at(masks, (np.full(np.count_nonzero(right), end), tree[right]), ruled_out[right])
            start = end + 1
        return cls(masks, features, thresholds)


class _Places:
    """Where values lie among their feature's thresholds: which row of the table is theirs.

    A grid says from where on; a comparison or a few then decide. The grid's cells are computed for values as for thresholds, and greater
    numbers never come to an earlier cell: so what it says is exact, however it is rounded.
    """

    def __init__(self, thresholds: Sequence[Array]) -> None:
        """`thresholds` are sorted, and end with infinity."""
        starts = np.cumsum([0, *(len(t) + 1 for t in thresholds)])
        self._missing = (starts[1:] - 1)[:, None]
        self._thresholds = np.concatenate([np.append(t, np.inf) for t in thresholds])
        finite = [t[np.isfinite(t)] for t in thresholds]
        self._least = np.array([t[0] if len(t) else 0.0 for t in finite])[:, None]
        spans = np.array([t[-1] - t[0] if len(t) > 1 else 0.0 for t in finite])[:, None]
        with np.errstate(all="ignore"):
            scale = (_CELLS - 2) / spans
        self._scale = np.where(np.isfinite(scale), scale, 0.0)
        self._rows = (np.arange(len(thresholds)) * _CELLS)[:, None]
        self._searched: list[tuple[int, Array, int]] = []
        self._steps = 0
        begins = np.empty((len(thresholds), _CELLS), dtype=np.intp)
        for i, known in enumerate(thresholds):
            values = np.zeros((len(thresholds), len(known)))
            values[i] = known
            held = np.bincount(self._cells(values)[i], minlength=_CELLS)
            begins[i] = starts[i] + np.cumsum(held) - held
            if held.max() > _STEPS:
                self._searched.append((i, known, int(starts[i])))
            else:
                self._steps = max(self._steps, int(held.max()))
        self._begins = begins.ravel()

    def __call__(self, values: Array) -> Array:
        """Shape (features, rows), as `values` has it."""
        cells = self._cells(values)
        cells += self._rows
        places: Array = np.take(self._begins, cells, mode="clip")
        for _ in range(self._steps):
            places += np.take(self._thresholds, places, mode="clip") < values
        for i, known, start in self._searched:
            places[i] = start + np.searchsorted(known, values[i])
        missing = np.isnan(values)
        if missing.any():
            np.copyto(places, self._missing, where=missing)
        return places

    def _cells(self, values: Array) -> Array:
        with np.errstate(all="ignore"):
            cells = values - self._least
            cells *= self._scale
        np.fmax(cells, 0.0, out=cells)  # NaN, too, to the first
        np.fmin(cells, _CELLS - 1.0, out=cells)
        whole: Array = cells.astype(np.intp)
        return whole


def _left_to_right(tree: Any) -> bool:
    """Whether leaves stand in the order in which they hang: a node, then all that is below its left child, then what is below its right."""
    sizes = [1] * len(tree)
    nodes = list(zip(tree["is_leaf"].tolist(), tree["left"].tolist(), tree["right"].tolist(), strict=True))
    for i in range(len(nodes) - 1, -1, -1):
        leaf, left, right = nodes[i]
        if leaf:
            continue
        if left != i + 1 or right >= len(nodes) or right != left + sizes[left]:
            return False
        sizes[i] = 1 + sizes[left] + sizes[right]
    return sizes[0] == len(tree)
