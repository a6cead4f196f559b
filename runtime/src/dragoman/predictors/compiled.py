"""The predictor of a compiled model, alone or beside the original, which then answers what the compiled one does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dragoman.check import Checker, looks_finite
from dragoman.compiled import VERDICT, Compiled
from dragoman.errors import InvalidInput
from dragoman.predictors.arguments import refuse_arguments
from dragoman.predictors.booster import Matrix
from dragoman.predictors.explaining import unbounded
from dragoman.predictors.predictor import Predictor
from dragoman.predictors.program import Graph, Program, read
from dragoman.predictors.scores import SCORES
from dragoman.signature import Signature
from dragoman.table import Array, Table


@dataclass(frozen=True)
class CompiledPredictor:
    """Answers by a graph, by trees, or by a graph that feeds trees, in one thread unless told otherwise."""

    program: Program
    signature: Signature
    rows_independent: bool
    session: Any  # of onnxruntime; None where there is no graph
    interpreter: Any  # of trees; None where there are none

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises `InvalidInput` for rows that it does not take."""
        for name in outputs:
            refuse_arguments(name, arguments)
        if table.names != self._names:
            table = self._arranged(table)
        rows = self.rows(table)
        if rows is None:
            raise InvalidInput("rows must be of finite numbers, as large as the model can compare, and of the strings that it takes")
        return self.answers(rows, outputs)

    def rows(self, table: Table) -> Any:
        """What the graph or the trees take of a table that is in the signature's order; None where they are not known to take it."""
        graph = self.program.graph
        if graph is not None and graph.columns:
            return self._columns(table, graph)
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is not taken
                matrix = self._matrix(table)
        except InvalidInput:
            return None
        return matrix if self._takes(matrix) else None

    def answers(self, rows: Any, outputs: Sequence[str]) -> Mapping[str, Array]:
        """Of each output one item a row; `rows` as `rows` gives them."""
        graph, trees = self.program.graph, self.program.trees
        if graph is not None:
            fed = rows if graph.columns else {graph.matrix: rows}
            if trees is None:
                given = self.session.run([graph.outputs[name] for name in outputs], fed)
                return {name: self._shaped(name, values) for name, values in zip(outputs, given, strict=True)}
            rows = self.session.run([graph.outputs["features"]], fed)[0]
        assert trees is not None
        if rows.dtype != trees.dtype:  # what a graph made
            rows = rows.astype(trees.dtype)
        if rows.dtype != self.interpreter.dtype:
            rows = rows.astype(self.interpreter.dtype)
        scores = self.interpreter(rows)
        made = SCORES[trees.scores]
        return {name: made[name](scores, self._labels) for name in outputs}

    @cached_property
    def _labels(self) -> Array:
        labels = np.empty(len(self.program.labels or ()), dtype=np.dtype(self.program.label_dtype))
        labels[:] = self.program.labels or ()
        return labels

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.signature.inputs)

    @cached_property
    def _arranged(self) -> Checker:
        """Rows that a dialect has checked by rules of its own may come in another order and of other types."""
        return Checker(unbounded(self.signature))

    @cached_property
    def _matrix(self) -> Matrix:
        trees = self.program.trees
        dtype = trees.dtype if trees is not None and self.program.graph is None else "float64"
        codes = {index: dict(known) for index, known in self.program.codes.items()}
        return Matrix(dtype, codes, self.program.unknown_is_missing)

    def _takes(self, matrix: Array) -> bool:
        """Whether it has no number that the original refuses, or that it was not proven with."""
        if looks_finite(matrix):
            return True
        return not np.isinf(matrix).any() if self.program.takes_nan else bool(np.isfinite(matrix).all())

    def _columns(self, table: Table, graph: Graph) -> dict[str, Array] | None:
        fed: dict[str, Array] = {}
        for column in graph.columns:
            values = table.column(column.index)
            if column.text:
                texts = _texts(values, column.missing)
                if texts is None:
                    return None
                fed[column.node] = texts.reshape(-1, 1)
                continue
            if values.dtype.kind not in "iufb":
                return None
            numbers = values.astype(np.float64)
            if not self._takes(numbers):
                return None
            fed[column.node] = numbers.reshape(-1, 1)
        return fed

    def _shaped(self, name: str, values: Array) -> Array:
        """A graph gives a value a row as a matrix of one column, and labels as 64-bit integers or as strings."""
        if values.ndim == 2 and values.shape[1] == 1 and (name == "predict" or self._single(name)):
            values = values[:, 0]
        if name == "predict" and self.program.labels is not None:
            return values.astype(self._labels.dtype)
        return values

    def _single(self, name: str) -> bool:
        return any(output.name == name and output.width is None for output in self.signature.outputs)


@dataclass(frozen=True)
class SmallBatches:
    """The compiled model for batches of at most `up_to_rows`, where it is known to answer as the original does; else the original."""

    inner: Predictor
    compiled: CompiledPredictor
    up_to_rows: int

    @property
    def signature(self) -> Signature:
        return self.inner.signature

    @property
    def rows_independent(self) -> bool:
        return self.inner.rows_independent

    @property
    def authored(self) -> Mapping[str, Any]:
        """What the inner one tells dialects as it changes; `AttributeError` where it tells nothing."""
        inner: Any = self.inner
        told: Mapping[str, Any] = inner.authored
        return told

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the inner one predicts."""
        if table.rows <= self.up_to_rows and not arguments and self._names == table.names and self._answered.issuperset(outputs):
            rows = self.compiled.rows(table)
            if rows is not None:
                return self.compiled.answers(rows, outputs)
        return self.inner.predict(table, outputs, arguments)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.inner.signature.inputs)

    @cached_property
    def _answered(self) -> frozenset[str]:
        return frozenset(output.name for output in self.compiled.signature.outputs)


def load(folder: Path, threads: int = 1) -> CompiledPredictor:
    """The compiled model in a folder. Raises what reading its files raises."""
    program = read(folder)
    session = None if program.graph is None else _session(folder / program.graph.file, threads)
    interpreter = None if program.trees is None else _interpreter(folder / program.trees.file, threads, program.trees.margin)
    return CompiledPredictor(program, program.signature, program.rows_independent, session, interpreter)


def beside(inner: Predictor, folder: Path, threads: int) -> Predictor:
    """The same predictor, which answers small batches by the compiled model in the folder. Raises what reading its files raises."""
    return SmallBatches(inner, load(folder, threads), verdict_of(folder).faster_up_to_rows)


def verdict_of(folder: Path) -> Compiled:
    """What compiling came to. Raises `OSError`, `msgspec.DecodeError`."""
    return msgspec.json.decode((folder / VERDICT).read_bytes(), type=Compiled)


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _interpreter(path: Path, threads: int, margin: bool) -> Any:
    import treelite

    from dragoman.predictors.interpreter import Interpreter

    return Interpreter(treelite.Model.deserialize(str(path)), threads=threads, margin=margin)


def _texts(values: Array, missing: str | None) -> Array | None:
    """A column of strings alone; None where there is another value in it, or a missing one that nothing stands for."""
    if values.dtype != object:
        return values.astype(object) if values.dtype.kind == "U" else None
    kinds = set(map(type, values.tolist()))
    if kinds <= {str}:
        return values
    if missing is None or not kinds <= {str, type(None)}:
        return None
    filled = values.copy()
    filled[np.equal(values, None)] = missing  # type: ignore[call-overload]  # elementwise on objects
    return filled
