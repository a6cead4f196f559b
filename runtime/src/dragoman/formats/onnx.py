"""ONNX graphs, run by onnxruntime: data.

A session holds threads, which no fork survives, so each worker loads for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, ClassVar

from dragoman.errors import ModelLoadFailed
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.graph import class_labels, is_graph, is_ort
from dragoman.formats.libraries import require, versions_of
from dragoman.formats.unpickle import guarded
from dragoman.signature import Field, FieldType, Output, Signature

_ELEMENTS: dict[str, tuple[FieldType, str | None]] = {
    "float": ("number", "float32"),
    "double": ("number", "float64"),
    "float16": ("number", "float16"),
    **{name: ("integer", name) for name in ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")},
    "bool": ("boolean", "bool"),
    "string": ("string", None),
}


class Onnx:
    name: ClassVar[str] = "onnx"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if is_ort(candidate.head) or is_graph(candidate):
            return Recognised("an ONNX graph", forks=False)
        if candidate.suffix in (".onnx", ".ort"):
            return Recognised(f"named {candidate.suffix}, though not readable as a whole ONNX graph", forks=False, sure=False)
        return None

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        from dragoman.predictors.onnx import OnnxPredictor

        path = files.path(file)
        onnxruntime = require("onnxruntime", file)
        with guarded(file) as heard:
            session = onnxruntime.InferenceSession(str(path), _options(onnxruntime, path, settings), providers=["CPUExecutionProvider"])
        if not session.get_outputs():
            raise ModelLoadFailed(f"{file} has no outputs")
        inputs, free = _inputs(session, file)
        names = _names(session)
        labels = class_labels(path) if "predict_proba" in names else None
        signature = Signature(
            inputs=inputs,
            outputs=tuple(_output(name, node) for name, node in zip(names, session.get_outputs(), strict=True)),
            classes=labels,
            named=len(session.get_inputs()) > 1,
        )
        predictor = OnnxPredictor(session, signature, rows_independent=bool(inputs), names=names, one_by_one=not free)
        return LoadedModel(predictor, versions_of(["onnxruntime", "numpy"]), tuple(heard.lines))


def _options(onnxruntime: Any, path: Path, settings: Settings) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads of one worker would take the others' CPU
    with path.open("rb") as file:
        if is_ort(file.read(8)):
            options.add_session_config_entry("session.load_model_format", "ORT")
            options.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
    return options


def _inputs(session: Any, file: str) -> tuple[tuple[Field, ...], bool]:
    """A field for each number of each input; none where their count is not fixed. And whether any number of rows goes in at once."""
    nodes = session.get_inputs()
    for node in nodes:
        if not node.type.startswith("tensor(") or _element(node) not in _ELEMENTS or not node.shape:
            raise ModelLoadFailed(
                f"{file} takes {node.name!r} of type {node.type} and shape {node.shape}: only tensors of rows can be served"
            )
    batch = {node.shape[0] for node in nodes if isinstance(node.shape[0], int)}
    if batch - {1}:
        raise ModelLoadFailed(f"{file} takes exactly {max(batch)} rows at a time: export it with a free first dimension")
    widths = [width_of(node.shape) for node in nodes]
    if None in widths:
        if len(nodes) > 1:
            raise ModelLoadFailed(
                f"{file} has several inputs, and not all have a fixed number of values a row: export it with fixed shapes"
            )
        return (), not batch
    inputs: list[Field] = []
    for node, width in zip(nodes, widths, strict=True):
        type_, dtype = _ELEMENTS[_element(node)]
        stem = "f" if len(nodes) == 1 else node.name
        names = (
            [node.name]
            if width == 1 and len(nodes) > 1
            else [f"{stem}{i}" if len(nodes) == 1 else f"{stem}_{i}" for i in range(width or 0)]
        )
        inputs += [Field(name=name, type=type_, dtype=dtype) for name in names]
    return tuple(inputs), not batch


def width_of(shape: Sequence[Any]) -> int | None:
    """How many values a row has; None where a dimension after the first is free."""
    return prod(shape[1:]) if all(isinstance(d, int) for d in shape[1:]) else None


def _element(node: Any) -> str:
    return str(node.type).removeprefix("tensor(").removesuffix(")")


def _names(session: Any) -> tuple[str, ...]:
    """The outputs by the names that they are asked for: the first is predict, one that says "prob" is predict_proba, others keep theirs."""
    names = [node.name for node in session.get_outputs()]
    likely = next((n for n in names[1:] if "prob" in n.lower()), None)
    return ("predict", *("predict_proba" if n == likely else n for n in names[1:]))


def _output(name: str, node: Any) -> Output:
    type_, dtype = _ELEMENTS.get(_element(node), ("number", None))
    shape = node.shape
    width = None if len(shape) == 1 else shape[1] if len(shape) == 2 and isinstance(shape[1], int) else -1
    return Output(name=name, type=type_, width=width, dtype=None if dtype == "bool" else dtype)
