"""JSON in and out: strict UTF-8 JSON in, and out with numpy arrays; NaN and infinity, which JSON does not have, as null."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from dragoman.errors import BadRequest, ModelFailed
from dragoman.table import Array


def decode(body: bytes) -> Any:
    """The value that a request's body holds. `BadRequest` says what is wrong, and where."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body.strip():
            raise BadRequest("the body is empty, JSON was expected") from None
        raise BadRequest(f"the body is not valid JSON: {error}") from None


def encode(value: Any) -> bytes:
    """`value` as JSON; it may hold arrays anywhere (see `writable`). `ModelFailed` when something in it has no JSON form."""
    try:
        return orjson.dumps(value, _plain, orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        pass
    try:
        return orjson.dumps(_without_numpy(value), _plain, orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise ModelFailed(f"the model's answer cannot be written as JSON: {error.__cause__ or error}") from error


def writable(array: Array) -> Any:
    """An array as `encode` writes it fastest, and exactly.

    Floats are written as float64: a float32 in its own shortest form ("0.1") would read back as another float64 than the model's.
    """
    kind = array.dtype.kind
    if kind == "f":
        return np.ascontiguousarray(array, dtype=np.float64)
    if kind in "biu":
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return plain_array(array)


def plain_array(array: Array) -> Any:
    """An array as something that orjson writes: an array of its own kinds, or lists; dates as ISO 8601 text."""
    kind = array.dtype.kind
    if kind in "fbiu":
        return writable(array)
    if kind == "S":
        return np.char.decode(array, "utf-8", "replace").tolist()
    if kind in "Mm":
        texts = array.astype(str).astype(object)
        texts[np.isnat(array)] = None
        return texts.tolist()
    if kind == "V" and array.dtype.names is None and array.dtype.name != "void":  # bfloat16 and its like
        return array.astype(np.float64)
    return array.tolist()


def _without_numpy(value: Any) -> Any:
    """For what orjson refuses in the first place: arrays in foreign byte order, keys of numpy's types."""
    if isinstance(value, Mapping):
        return {key.item() if isinstance(key, np.generic) else key: _without_numpy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_numpy(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _plain(value: Any) -> Any:
    """What orjson does not write by itself, as something that it does."""
    if isinstance(value, np.ndarray):
        return plain_array(value) if value.ndim else value.item()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | range):
        return list(value)
    if isinstance(value, datetime.timedelta):
        return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' words for missing; pandas itself need not be there
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "to_numpy"):  # a column or a frame
        return value.to_numpy()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")
