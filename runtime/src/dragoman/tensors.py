"""Tensors of the Open Inference Protocol: named arrays on the wire, as JSON values or as bytes, and from a model's answer.

Sizes are compared before anything of that size is made. Every error is a `BadRequest` that names the tensor.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from dragoman import json
from dragoman.check import shown
from dragoman.errors import BadRequest, ModelFailed
from dragoman.table import Array

MAX_RANK = 8
_MAX_DIMENSION = 2**31 - 1
_NUMBERS = frozenset({int, float})


class Tensor(msgspec.Struct, frozen=True, eq=False):
    """A named array. `datatype` is the wire's word for its elements: BYTES are str or None here, BF16 are float32."""

    name: str
    datatype: str
    array: Array

    @property
    def shape(self) -> list[int]:
        return list(self.array.shape)


class Datatype(msgspec.Struct, frozen=True):
    """One of the protocol's element types: how it is told in JSON, and how it lies in bytes."""

    wire: Any  # numpy dtype of the bytes, little-endian; None where an element has no fixed size
    array: Any  # numpy dtype in memory
    of_values: Callable[[str, str, list[Any]], Array]  # name, datatype, flat JSON values


def _booleans(name: str, datatype: str, values: list[Any]) -> Array:
    _refuse_types(name, datatype, values, {bool}, "true or false")
    return np.asarray(values, dtype=bool)


def _integers(name: str, datatype: str, values: list[Any]) -> Array:
    _refuse_types(name, datatype, values, {int}, "an integer")
    bounds = np.iinfo(DATATYPES[datatype].array)
    array = np.asarray(values)
    if values and (array.dtype.kind not in "iu" or int(array.min()) < bounds.min or int(array.max()) > bounds.max):
        # What numpy makes of integers on both sides of 2**63 is floats: then each value is looked at.
        for at, value in enumerate(values):
            if not bounds.min <= value <= bounds.max:
                raise BadRequest(f"tensor {name!r}: element {at} does not fit {datatype}, got {shown(value)}")
        return np.asarray(values, dtype=bounds.dtype)
    return array.astype(bounds.dtype)


def _floats(name: str, datatype: str, values: list[Any]) -> Array:
    if not _NUMBERS.issuperset(map(type, values)):
        _refuse_types(name, datatype, values, {int, float, type(None)}, "a number")
        values = [math.nan if value is None else value for value in values]
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(DATATYPES[datatype].array, copy=False)


def _strings(name: str, datatype: str, values: list[Any]) -> Array:
    _refuse_types(name, datatype, values, {str, type(None)}, "a string")
    return _objects(values)


def _refuse_types(name: str, datatype: str, values: list[Any], accepted: set[type], what: str) -> None:
    if not accepted.issuperset(map(type, values)):
        at, value = next((i, v) for i, v in enumerate(values) if type(v) not in accepted)
        raise BadRequest(f"tensor {name!r}: element {at} must be {what} for {datatype}, got {shown(value)}")


DATATYPES: Mapping[str, Datatype] = {
    "BOOL": Datatype(np.dtype("u1"), np.dtype(bool), _booleans),
    **{
        f"{'U' * u}INT{8 * n}": Datatype(np.dtype(f"<{'iu'[u]}{n}"), np.dtype(f"{'iu'[u]}{n}"), _integers)
        for u in (0, 1)
        for n in (1, 2, 4, 8)
    },
    **{f"FP{8 * n}": Datatype(np.dtype(f"<f{n}"), np.dtype(f"f{n}"), _floats) for n in (2, 4, 8)},
    "BF16": Datatype(np.dtype("<u2"), np.dtype("f4"), _floats),
    "BYTES": Datatype(None, np.dtype(object), _strings),
}


# --- from the wire -----------------------------------------------------------------------------------------------


def tensor_of_values(name: str, datatype: str, shape: Sequence[int], values: Any) -> Tensor:
    """From JSON: a flat list in row-major order, or lists nested as the shape says. `null` is NaN in FP tensors, missing in BYTES."""
    kind, count = _datatype(name, datatype), _count(name, shape)
    if type(values) is not list:
        raise BadRequest(f"tensor {name!r}: 'data' must be a list, got {shown(values)}")
    if values and type(values[0]) is list:
        values = _flattened(name, shape, values)
    if len(values) != count:
        raise BadRequest(f"tensor {name!r}: shape {list(shape)} is {count} elements, 'data' has {len(values)}")
    return Tensor(name, datatype, kind.of_values(name, datatype, values).reshape(shape))


def tensor_of_bytes(name: str, datatype: str, shape: Sequence[int], content: bytes | memoryview) -> Tensor:
    """From bytes: little-endian, row-major, unpadded; each BYTES element after its length in 4 bytes, BOOL in one byte."""
    kind, count = _datatype(name, datatype), _count(name, shape)
    if kind.wire is None:
        return Tensor(name, datatype, _objects(_elements(name, count, bytes(content))).reshape(shape))
    if len(content) != count * kind.wire.itemsize:
        raise BadRequest(f"tensor {name!r}: shape {list(shape)} of {datatype} is {count * kind.wire.itemsize} bytes, got {len(content)}")
    raw = np.frombuffer(content, dtype=kind.wire).reshape(shape)
    if datatype == "BF16":  # the upper half of a float32
        return Tensor(name, datatype, (raw.astype(np.uint32) << 16).view(np.float32))
    if datatype == "BOOL" and count and raw.max() > 1:
        raise BadRequest(f"tensor {name!r}: a BOOL is one byte, 0 or 1, got {int(raw.max())}")
    return Tensor(name, datatype, raw.astype(kind.array))  # a copy: aligned, native, and the model may write to it


def tensor_of_array(name: str, datatype: str, shape: Sequence[int], elements: Array) -> Tensor:
    """From a flat array of elements, row-major, their values still to be held against the datatype's range."""
    kind, count = _datatype(name, datatype), _count(name, shape)
    if len(elements) != count:
        raise BadRequest(f"tensor {name!r}: shape {list(shape)} is {count} elements, got {len(elements)}")
    if kind.array.kind in "iu" and count:
        bounds = np.iinfo(kind.array)
        wrong = (elements < bounds.min) | (elements > bounds.max)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise BadRequest(f"tensor {name!r}: element {at} does not fit {datatype}, got {elements[at]}")
    return Tensor(name, datatype, elements.astype(kind.array, copy=False).reshape(shape))


def _datatype(name: str, datatype: str) -> Datatype:
    kind = DATATYPES.get(datatype)
    if kind is None:
        raise BadRequest(f"tensor {name!r}: datatype {shown(datatype)} is not one of {', '.join(DATATYPES)}")
    return kind


def _count(name: str, shape: Sequence[int]) -> int:
    """How many elements a shape has; a Python integer, so that nothing overflows."""
    if not 1 <= len(shape) <= MAX_RANK:
        raise BadRequest(f"tensor {name!r}: shape must have 1 to {MAX_RANK} dimensions, got {len(shape)}")
    for dimension in shape:
        if not 0 <= dimension <= _MAX_DIMENSION:
            raise BadRequest(f"tensor {name!r}: a dimension must be between 0 and {_MAX_DIMENSION}, got {shown(dimension)}")
    if shape[0] and 0 in shape:
        raise BadRequest(f"tensor {name!r}: shape {list(shape)} has rows without elements")
    return math.prod(shape)


def _flattened(name: str, shape: Sequence[int], values: list[Any]) -> list[Any]:
    for depth, length in enumerate(shape):
        if depth:
            for item in values:
                if type(item) is not list:
                    raise BadRequest(f"tensor {name!r}: 'data' is nested unevenly: a list of {length} was expected, got {shown(item)}")
            if any(len(item) != length for item in values):
                found = next(len(item) for item in values if len(item) != length)
                raise BadRequest(f"tensor {name!r}: shape {list(shape)} has lists of {length}, 'data' has one of {found}")
            values = list(chain.from_iterable(values))
        elif len(values) != length:
            raise BadRequest(f"tensor {name!r}: shape {list(shape)} has {length} rows, 'data' has {len(values)}")
    return values


def _elements(name: str, count: int, content: bytes) -> list[Any]:
    if count * 4 > len(content):
        raise BadRequest(f"tensor {name!r}: {count} BYTES elements need at least {count * 4} bytes, got {len(content)}")
    elements, at = [], 0
    for i in range(count):
        start = at + 4
        at = start + int.from_bytes(content[at:start], "little")
        if start > len(content) or at > len(content):
            raise BadRequest(f"tensor {name!r}: element {i} reaches beyond the tensor's {len(content)} bytes")
        elements.append(text_of(name, i, content[start:at]))
    if at != len(content):
        raise BadRequest(f"tensor {name!r}: {len(content) - at} bytes are left after its {count} elements")
    return elements


def text_of(name: str, at: int, element: bytes) -> str:
    """A BYTES element as the string that it must be."""
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"tensor {name!r}: element {at} is not UTF-8 text: {error.reason} at byte {error.start}") from None


# --- from a model, to the wire -----------------------------------------------------------------------------------


def tensor_of_output(name: str, array: Array) -> Tensor:
    """A model's answer, in the datatype nearest to its dtype. Structured values become BYTES of JSON. `ModelFailed` where there is none."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return Tensor(name, "BOOL", array)
    if kind in "iu":
        return Tensor(name, f"{'U' if kind == 'u' else ''}INT{8 * size}", array)
    if kind == "f":
        return Tensor(name, f"FP{8 * min(size, 8)}", array if size <= 8 else array.astype(np.float64))
    if kind == "O":
        return _tensor_of_objects(name, array)
    if kind in "USMm":
        return Tensor(name, "BYTES", _objects(json.plain_array(array.reshape(-1))).reshape(array.shape))
    if kind == "V" and array.dtype.names is None and array.dtype.name != "void":  # bfloat16 and its like
        return Tensor(name, "FP32", array.astype(np.float32))
    raise ModelFailed(f"the model's {name} answered with {array.dtype}, which is not one of {', '.join(DATATYPES)}")


def values_of(tensor: Tensor) -> Any:
    """The elements for `json.encode`: flat, row-major."""
    return json.writable(tensor.array.reshape(-1))


def elements_of(tensor: Tensor) -> list[Any]:
    """The elements as Python's own values: flat, row-major. Of BYTES their UTF-8; a missing string is an empty one."""
    elements: list[Any] = tensor.array.reshape(-1).tolist()
    return [(element or "").encode("utf-8", "replace") for element in elements] if tensor.datatype == "BYTES" else elements


def bytes_of(tensor: Tensor) -> bytes:
    """The elements as bytes, as `tensor_of_bytes` takes them. A missing string is an empty one."""
    kind = DATATYPES[tensor.datatype]
    if kind.wire is None:
        return b"".join(chain.from_iterable((struct.pack("<I", len(e)), e) for e in elements_of(tensor)))
    return tensor.array.astype(kind.wire, copy=False).tobytes()


def _tensor_of_objects(name: str, array: Array) -> Tensor:
    """Python objects: one plain type throughout is that type's datatype."""
    values = [_unwrapped(v) for v in array.reshape(-1).tolist()]
    kinds = set(map(type, values))
    if kinds <= {str, type(None)}:
        return Tensor(name, "BYTES", _objects(values).reshape(array.shape))
    if kinds == {bool}:
        return Tensor(name, "BOOL", np.asarray(values, dtype=bool).reshape(array.shape))
    if kinds == {int} and all(-(2**63) <= v < 2**63 for v in values):
        return Tensor(name, "INT64", np.asarray(values, dtype=np.int64).reshape(array.shape))
    if float in kinds and kinds <= {int, float, type(None)}:
        numbers = [math.nan if v is None else v for v in values]
        return Tensor(name, "FP64", np.asarray(numbers, dtype=np.float64).reshape(array.shape))
    texts = [v if isinstance(v, str) else json.encode(v).decode() for v in values]
    return Tensor(name, "BYTES", _objects(texts).reshape(array.shape))


def _unwrapped(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _objects(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
