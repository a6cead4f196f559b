"""What an ONNX file says before onnxruntime reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from dragoman.formats.format import Candidate
from dragoman.formats.protobuf import BYTES, VARINT, WireField, fields, signed, varints

# onnx.proto3: ModelProto's fields are ir_version … opset_import, metadata_props, training_info, functions, configuration
_MODEL_FIELDS = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26])
_IR_VERSION, _GRAPH, _OPSET = 1, 7, 8
_NODE, _ATTRIBUTE, _ATTRIBUTE_NAME, _INTS, _STRINGS = 1, 5, 1, 8, 9
_INITIALIZER, _TENSOR_NAME, _INT32_DATA, _STRING_DATA, _INT64_DATA = 5, 8, 5, 6, 7
_CLASSES = frozenset([b"classes"])
_CLASS_LABELS = frozenset([b"classlabels_int64s", b"classlabels_ints", b"classlabels_strings"])
_FIRST_BYTES = (b"\x08", b"\x12", b"\x3a", b"\x42")  # ir_version, producer_name, graph or opset_import comes first


def is_ort(head: bytes) -> bool:
    """onnxruntime's own format, a flat buffer."""
    return head[4:8] == b"ORTM"


def is_graph(candidate: Candidate) -> bool:
    """A ModelProto to its last byte: it says a version of the format, and has a graph and operator sets."""
    if candidate.head[:1] not in _FIRST_BYTES:
        return False
    seen = set()
    with _mapped(candidate.path) as whole:
        try:
            for field in fields(whole):
                if field.number not in _MODEL_FIELDS:
                    return False
                seen.add(field.number)
        except ValueError:
            return False
    return {_IR_VERSION, _GRAPH, _OPSET} <= seen


def class_labels(path: Path) -> tuple[Any, ...] | None:
    """The labels that a classifier's node carries, or skl2onnx's constant of that name; None where there are none to be found."""
    with _mapped(path) as whole:
        if is_ort(whole[:8]):
            return None
        graphs = list(_within(whole, [(0, len(whole))], _GRAPH))
        for attribute in _within(whole, _within(whole, graphs, _NODE), _ATTRIBUTE):
            labels = _named(whole, attribute, _ATTRIBUTE_NAME, _CLASS_LABELS, _INTS, _STRINGS)
            if labels:
                return labels
        for tensor in _within(whole, graphs, _INITIALIZER):
            for integers in (_INT64_DATA, _INT32_DATA):
                labels = _named(whole, tensor, _TENSOR_NAME, _CLASSES, integers, _STRING_DATA)
                if labels:
                    return labels
    return None


def _named(whole: mmap, place: tuple[int, int], name: int, names: frozenset[bytes], integers: int, strings: int) -> tuple[Any, ...]:
    """The values in a message, where its name is one of these."""
    parts = [p for p in fields(whole, *place) if p.number in (name, integers, strings)]
    if any(p.number == name and whole[p.start : p.end] in names for p in parts):
        return tuple(_values(whole, parts, integers, strings))
    return ()


@contextmanager
def _mapped(path: Path) -> Iterator[mmap]:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
        yield whole


def _within(whole: mmap, messages: Iterable[tuple[int, int]], number: int) -> Iterator[tuple[int, int]]:
    for start, end in messages:
        for field in fields(whole, start, end):
            if field.number == number and field.wire == BYTES:
                yield field.start, field.end


def _values(whole: mmap, parts: Iterable[WireField], integers: int, strings: int) -> Iterator[Any]:
    for part in parts:
        if part.number == strings:
            yield whole[part.start : part.end].decode("utf-8", "replace")
        elif part.number == integers and part.wire == VARINT:
            yield signed(part.value)
        elif part.number == integers:
            yield from (signed(v) for v in varints(whole, part.start, part.end))
