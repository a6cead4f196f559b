"""The proof: over generated rows the compiled model answers as the original does, or it is not used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dragoman.call import PREDICT
from dragoman.compiling.errors import NotCompiled
from dragoman.compiling.rows import BATCH, Rows
from dragoman.predictors.compiled import CompiledPredictor
from dragoman.predictors.predictor import checked_outputs
from dragoman.table import Array, Table

TOLERANCE = 1e-12  # relative
SECONDS = 20.0  # that the original may take for all rows
_FEWEST = 256


@dataclass(frozen=True)
class Proof:
    rows: int
    largest_difference: float  # of any number, relative; 0.0 where all are the same to the last bit


def prove(original: Any, compiled: CompiledPredictor, rows: Rows, head: Any) -> Proof:
    """`NotCompiled` where any output differs, or where fewer rows than make a proof can be compared in the time."""
    wanted = tuple(output.name for output in compiled.signature.outputs)
    if PREDICT not in wanted:
        raise NotCompiled("its predict cannot be compiled")
    largest, compared, started = 0.0, 0, time.monotonic()
    for table in rows.tables(rows.most):
        given = compiled.rows(table)
        if given is None:
            raise NotCompiled("it does not take rows that the original takes")
        if head is not None:
            _same_features(original, compiled, head, table, given)
        expected, answered = _expected(original, table, wanted), _answered(compiled, given, wanted)
        for name in wanted:
            difference = _difference(expected[name], answered[name])
            if difference > TOLERANCE:  # also where labels agree: what they are told by does not
                raise NotCompiled(f"its {name} differs from the original's: {_described(expected[name], answered[name], difference)}")
            largest = max(largest, difference)
        compared += table.rows
        if time.monotonic() - started > SECONDS:
            break
    if compared < min(_FEWEST, rows.most):
        raise NotCompiled(f"the original is so slow that only {compared} rows could be compared within {SECONDS:g} s")
    _alone(compiled, rows)
    return Proof(compared, largest)


def _expected(original: Any, table: Table, outputs: tuple[str, ...]) -> Mapping[str, Array]:
    try:
        return checked_outputs(original.predict(table, outputs, {}), outputs, table.rows)
    except Exception as error:  # whatever the model raises
        raise NotCompiled.because("the original refuses some rows that its inputs allow", error) from error


def _answered(compiled: CompiledPredictor, rows: Any, outputs: tuple[str, ...]) -> Mapping[str, Array]:
    try:
        return compiled.answers(rows, outputs)
    except Exception as error:  # whatever onnxruntime and treelite raise
        raise NotCompiled.because("it fails where the original answers", error) from error


def _same_features(original: Any, compiled: CompiledPredictor, head: Any, table: Table, given: Any) -> None:
    """Trees compare: what is fed to them must be the same to the last bit, or a row may fall on the other side."""
    graph, trees = compiled.program.graph, compiled.program.trees
    assert graph is not None
    assert trees is not None
    expected = head.transform(original.feed(table))
    expected = expected.toarray() if hasattr(expected, "toarray") else np.asarray(expected)
    try:
        made = compiled.session.run([graph.outputs["features"]], given if graph.columns else {graph.matrix: given})[0]
    except Exception as error:  # whatever onnxruntime raises
        raise NotCompiled.because("it fails where the original answers", error) from error
    if made.shape != expected.shape or not np.array_equal(made.astype(trees.dtype), expected.astype(trees.dtype), equal_nan=True):
        raise NotCompiled("what its steps make of the rows is not the same to the last bit, and its trees compare that")


def _alone(compiled: CompiledPredictor, rows: Rows) -> None:
    """A row by itself is answered as it is among others."""
    table = rows.table(min(BATCH, 8))
    together = compiled.rows(table)
    outputs = tuple(output.name for output in compiled.signature.outputs)
    all_answers = _answered(compiled, together, outputs)
    for i in range(table.rows):
        answers = _answered(compiled, compiled.rows(_row(table, i)), outputs)
        for name in outputs:
            if _difference(all_answers[name][i : i + 1], answers[name], all_answers[name]) > TOLERANCE:
                raise NotCompiled(f"its {name} of a row depends on the rows beside it")


def _row(table: Table, index: int) -> Table:
    if table.array is not None:
        return Table.of_array(table.array[index : index + 1], table.names)
    return Table(None, tuple(column[index : index + 1] for column in table.columns), table.names, 1)


def _difference(expected: Array, answered: Array, of: Array | None = None) -> float:
    """The largest of any number's, relative to the number, or to what is usual in that output (`of`) where it is smaller.

    Where a sum cancels, its rounding is of the size of what was summed, in the original as well. Infinite where anything but a number
    differs, or the form.
    """
    if expected.shape != answered.shape:
        return np.inf
    if expected.dtype.kind not in "f" or answered.dtype.kind not in "f":
        return 0.0 if expected.dtype.kind in answered.dtype.kind + "OU" and bool(np.all(expected == answered)) else np.inf
    if expected.dtype != answered.dtype:
        return np.inf
    if np.array_equal(expected, answered, equal_nan=True):
        return 0.0
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(answered)) or not np.array_equal(expected[~finite], answered[~finite], equal_nan=True):
        return np.inf
    size = np.abs(np.where(finite, expected, 0.0)).astype(np.float64)
    reference = np.abs(of if of is not None else size)
    usual = size.max(axis=1, keepdims=True) if size.ndim == 2 else float(np.median(reference[np.isfinite(reference)]))
    scale = np.maximum(np.maximum(size, usual), np.finfo(np.float64).tiny)
    apart = np.abs(np.where(finite, expected.astype(np.float64) - answered, 0.0))
    return float((apart / scale).max())


def _described(expected: Array, answered: Array, difference: float) -> str:
    if expected.shape != answered.shape:
        return f"shape {answered.shape} for {expected.shape}"
    if np.isfinite(difference):
        return f"by {difference:.1e} of it"
    where = np.flatnonzero(np.atleast_1d((expected != answered).reshape(len(expected), -1).any(axis=1)))
    if len(where) == 0:
        return f"it is {answered.dtype} for {expected.dtype}"
    return f"{answered[where[0]]!r} for {expected[where[0]]!r}, in {len(where)} of {len(expected)} rows"
