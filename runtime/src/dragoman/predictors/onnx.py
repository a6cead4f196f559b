"""The predictor of an onnxruntime session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from dragoman.errors import InvalidInput
from dragoman.signature import Signature
from dragoman.table import Array, Table

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


@dataclass(frozen=True)
class OnnxPredictor:
    """Each output is one of the graph's; only those asked for are computed."""

    session: Any
    signature: Signature
    rows_independent: bool
    names: tuple[str, ...]  # the graph's outputs, in their order, by the names that they are asked for
    one_by_one: bool = False  # the graph takes one row at a time

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises `InvalidInput` where the graph refuses the rows' shape, or there are arguments, which graphs do not take."""
        if arguments:
            raise InvalidInput(f"an ONNX model takes no arguments, got {sorted(arguments)}")
        nodes = self.session.get_outputs()
        wanted = [nodes[self.names.index(name)].name for name in outputs]
        feeds = self._feeds(table)
        if not self.one_by_one or table.rows == 1:
            answers = self._run(wanted, feeds)
        else:
            each = [self._run(wanted, {name: rows[i : i + 1] for name, rows in feeds.items()}) for i in range(table.rows)]
            answers = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        return dict(zip(outputs, answers, strict=True))

    @cached_property
    def _types(self) -> dict[str, str]:
        return {node.name: node.type for node in self.session.get_outputs()}

    def _feeds(self, table: Table) -> dict[str, Array]:
        nodes = self.session.get_inputs()
        feeds, at = {}, 0
        for node in nodes:
            width = table.width if len(nodes) == 1 else prod(node.shape[1:])
            feeds[node.name] = _tensor(table, at, width, node)
            at += width
        return feeds

    def _run(self, wanted: list[str], feeds: dict[str, Array]) -> list[Any]:
        try:
            return [_of_maps(answer, self._types[name]) for name, answer in zip(wanted, self.session.run(wanted, feeds), strict=True)]
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":  # onnxruntime's: the shapes are not the graph's
                raise InvalidInput(" ".join(str(error).split())) from error
            raise


def _tensor(table: Table, at: int, width: int, node: Any) -> Array:
    dtype = _DTYPES.get(node.type) or np.dtype(node.type[len("tensor(") : -1])
    if table.array is not None:
        rows = table.array[:, at : at + width]
    else:
        rows = Table(None, table.columns[at : at + width], None, table.rows).to_numpy()
    try:
        cast = np.ascontiguousarray(rows, dtype=dtype)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{node.name!r} must be {node.type}") from None
    shape = [d if isinstance(d, int) else -1 for d in node.shape[1:]]
    if shape.count(-1) > 1 or (shape and -1 not in shape and prod(shape) != width):
        return cast  # the session says what it wants
    return cast.reshape(table.rows, *shape)


def _of_maps(answer: Any, type_: str) -> Any:
    """ZipMap's list of {class: probability} as an array (rows, classes), in the order of the graph's classes."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        classes = list(answer[0])
        return np.array([[row[c] for c in classes] for row in answer], dtype=np.float32 if "tensor(float)" in type_ else np.float64)
    return answer
