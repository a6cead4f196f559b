"""How tensors are read as rows: one tensor of all features, or one tensor a feature (Open Inference Protocol; MLServer's `np` and `pd`).

And the other way: how a model's inputs and outputs are described as tensors, so that what is described works when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dragoman.errors import BadRequest
from dragoman.signature import Field, Output, Signature
from dragoman.table import Array, Table
from dragoman.tensors import Tensor, tensor_of_values

WHOLE = "input"  # the name under which the tensor of all features is described


def table_of(tensors: Sequence[Tensor], signature: Signature, content_type: str | None = None) -> Table:
    """The rows in the tensors. `content_type` `np` or `pd` says which reading; else names and shapes tell.

    Raises `BadRequest` that names the tensor that does not fit.
    """
    if not tensors:
        raise BadRequest(f"'inputs' is empty: the model takes {_wanted(signature)}")
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise BadRequest(f"tensor {tensor.name!r} is there twice")
        seen.add(tensor.name)
    read = _READINGS.get(content_type or "") or _told_apart(tensors, signature)
    return read(tensors, signature)


def _told_apart(tensors: Sequence[Tensor], signature: Signature) -> Callable[[Sequence[Tensor], Signature], Table]:
    if len(tensors) > 1:
        return _features
    tensor, fields = tensors[0], signature.inputs
    if _is_column(tensor) and (any(field.name == tensor.name for field in fields) or not fields):
        return _features
    return _whole


def _is_column(tensor: Tensor) -> bool:
    return tensor.array.ndim == 1 or (tensor.array.ndim == 2 and tensor.array.shape[1] == 1)


def _whole(tensors: Sequence[Tensor], signature: Signature) -> Table:
    """One tensor of shape (rows, features), in the order of the model's inputs."""
    tensor, width = tensors[0], len(signature.inputs)
    if len(tensors) > 1:
        raise BadRequest(f"tensor {tensors[1].name!r} is one too many: content type np is one tensor of shape (rows, features)")
    array = tensor.array.reshape(-1, 1) if tensor.array.ndim == 1 and width <= 1 else tensor.array
    if array.ndim != 2 or (width and array.shape[1] != width):
        raise BadRequest(f"tensor {tensor.name!r} has shape {tensor.shape}: the model takes {_wanted(signature)}")
    return Table.of_array(array)


def _features(tensors: Sequence[Tensor], signature: Signature) -> Table:
    """One tensor a feature, each of shape (rows) or (rows, 1), in any order."""
    columns: dict[str, Array] = {}
    known = {field.name for field in signature.inputs}
    first: Tensor | None = None
    for tensor in tensors:
        if known and tensor.name not in known:
            if signature.extra_columns == "ignore":
                continue
            raise BadRequest(f"tensor {tensor.name!r} is not one of the model's inputs: it takes {_wanted(signature)}")
        if not _is_column(tensor):
            raise BadRequest(f"tensor {tensor.name!r} has shape {tensor.shape}: a feature's tensor has shape (rows) or (rows, 1)")
        first = first or tensor
        if tensor.array.shape[0] != first.array.shape[0]:
            raise BadRequest(f"tensor {tensor.name!r} has {tensor.array.shape[0]} rows, {first.name!r} has {first.array.shape[0]}")
        columns[tensor.name] = tensor.array.reshape(-1)
    for field in signature.inputs:
        if field.required and field.name not in columns:
            raise BadRequest(f"tensor {field.name!r} is missing: the model takes {_wanted(signature)}")
    return Table.of_columns(columns)


_READINGS: Mapping[str, Callable[[Sequence[Tensor], Signature], Table]] = {"np": _whole, "pd": _features}


def _wanted(signature: Signature) -> str:
    width, names = len(signature.inputs), [repr(field.name) for field in signature.inputs]
    if not width:
        return "one tensor of shape (rows, features), or one tensor a feature"
    listed = ", ".join(names[:20]) + (f" and {width - 20} more" if width > 20 else "")
    return f"one tensor of shape (rows, {width}), or one tensor a feature: {listed}"


# --- descriptions ------------------------------------------------------------------------------------------------


def described_inputs(signature: Signature) -> list[dict[str, Any]]:
    """`{"name", "datatype", "shape"}` of each input; -1 is any number.

    Models of numbers only are described as one tensor of all features (what v2 clients send to such models, at any width);
    others as one tensor a feature, each with its own datatype.
    """
    fields = signature.inputs
    if not fields:
        return [{"name": WHOLE, "datatype": "FP64", "shape": [-1, -1]}]
    if all(field.type in ("number", "integer") for field in fields):
        datatypes = {_datatype_of(field) for field in fields}
        return [{"name": WHOLE, "datatype": datatypes.pop() if len(datatypes) == 1 else "FP64", "shape": [-1, len(fields)]}]
    return [{"name": field.name, "datatype": _datatype_of(field), "shape": [-1]} for field in fields]


def described_outputs(signature: Signature) -> list[dict[str, Any]]:
    """`{"name", "datatype", "shape"}` of each output that can be asked for."""
    return [
        {"name": o.name, "datatype": _output_datatype(o), "shape": [-1] if o.width is None else [-1, o.width]} for o in signature.outputs
    ]


def example_tensors(signature: Signature) -> list[Tensor]:
    """The signature's example row as the tensors that `described_inputs` describes; a zero where nothing is known."""
    row = signature.example_row() or {WHOLE: 0.0}
    described = described_inputs(signature)
    if described[0]["name"] == WHOLE and len(described[0]["shape"]) == 2:
        return [tensor_of_values(WHOLE, described[0]["datatype"], [1, len(row)], list(row.values()))]
    return [tensor_of_values(d["name"], d["datatype"], [1], [row[d["name"]]]) for d in described]


def _datatype_of(field: Field) -> str:
    if field.type == "number":
        return "FP32" if field.dtype == "float32" else "FP64"
    if field.type == "integer":
        return "FP64" if field.nullable else "INT64"  # a missing value is NaN
    return {"string": "BYTES", "boolean": "BOOL"}[field.type]


def _output_datatype(output: Output) -> str:
    if output.type in ("string", "object"):
        return "BYTES"
    if output.type == "boolean":
        return "BOOL"
    dtype = np.dtype(output.dtype or ("int64" if output.type == "integer" else "float64"))
    return {"f": "FP", "i": "INT", "u": "UINT"}.get(dtype.kind, "FP") + str(8 * min(dtype.itemsize, 8))
