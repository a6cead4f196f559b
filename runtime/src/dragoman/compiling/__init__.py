"""Compiling a model: the same answers from a graph or from an interpreter of trees, proven equal before they are used.

Everything here predicts, so it runs in a short-lived child or in `dragoman compile`, never in a server's own processes.
"""

from __future__ import annotations

import importlib.metadata
import time
import warnings
from pathlib import Path
from typing import Any

import msgspec

import dragoman
from dragoman.compiled import VERDICT, Compiled
from dragoman.compiling.errors import NotCompiled
from dragoman.compiling.parts import Parts, parts_of
from dragoman.compiling.proof import prove
from dragoman.compiling.rows import Rows
from dragoman.compiling.speed import compare
from dragoman.predictors import Predictor
from dragoman.predictors.compiled import load
from dragoman.predictors.explaining import ExplainingPredictor
from dragoman.predictors.program import Program, write

__all__ = ["compile_model", "versions"]

_PACKAGES = ("dragoman", "numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx", "treelite", "xgboost-cpu", "xgboost", "lightgbm")


def compile_model(predictor: Predictor, folder: Path) -> Compiled:
    """Compile a loaded model into an empty folder, prove it equal, and measure it; the verdict is also written there.

    Where it cannot be done, or is not proven, the verdict has the reason, and nothing in the folder is of use.
    """
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # converters warn of what the proof will tell
        try:
            verdict = _compiled(predictor, folder)
        except NotCompiled as why:
            verdict = Compiled(reason=str(why))
        except ModuleNotFoundError as missing:
            verdict = Compiled(reason=f"compiling needs {missing.name}, which is not installed: pip install 'dragoman[compile]'")
    verdict = msgspec.structs.replace(verdict, seconds=round(time.monotonic() - started, 3), versions=versions())
    (folder / VERDICT).write_bytes(msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n")
    return verdict


def versions() -> dict[str, str]:
    """Of the installed libraries that a result depends on; none of them is imported."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _compiled(predictor: Predictor, folder: Path) -> Compiled:
    original = _unexplained(predictor)
    parts = parts_of(original)
    rows = Rows(original, parts.thresholds)
    for file, content in parts.files.items():
        (folder / file).write_bytes(content)
    program = _program(original, parts, takes_nan=rows.any_missing_number)
    write(folder, program)
    try:
        candidate = load(folder)
    except Exception as error:  # whatever onnxruntime and treelite raise
        raise NotCompiled.because("what the converters wrote cannot be loaded", error) from error
    proof = prove(original, candidate, rows, parts.head)
    speed = compare(original, candidate, rows)
    return Compiled(
        engine=program.engine,
        outputs=tuple(output.name for output in program.signature.outputs),
        rows=proof.rows,
        largest_difference=proof.largest_difference,
        faster_up_to_rows=speed.faster_up_to_rows,
        original_seconds=speed.original_seconds,
        compiled_seconds=speed.compiled_seconds,
        bytes=sum(path.stat().st_size for path in folder.iterdir()),
    )


def _unexplained(predictor: Any) -> Any:
    """Explanations are the original's in any case. Other predictors around predictors, as an author's steps, are part of the model."""
    while isinstance(predictor, ExplainingPredictor):
        predictor = predictor.inner
    return predictor


def _program(original: Any, parts: Parts, *, takes_nan: bool) -> Program:
    signature = original.signature
    answered = tuple(output for output in signature.outputs if output.name in parts.outputs)
    return Program(
        dragoman=dragoman.__version__,
        signature=msgspec.structs.replace(signature, outputs=answered, parameters={}, unpacks=False),
        rows_independent=original.rows_independent,
        labels=parts.labels,
        label_dtype=parts.label_dtype,
        takes_nan=takes_nan,
        codes=parts.codes,
        unknown_is_missing=parts.unknown_is_missing,
        graph=parts.graph,
        trees=parts.trees,
    )
