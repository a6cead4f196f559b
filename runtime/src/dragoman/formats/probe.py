"""Trying a loaded model on one row, to learn what only an answer tells: the types and widths of its outputs.

It predicts, so it runs in a short-lived child, never in the loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from dragoman.check import Checker
from dragoman.formats.inference import output_type
from dragoman.predictors import Predictor, checked_outputs
from dragoman.predictors.arguments import parameters_of
from dragoman.signature import Output, Signature
from dragoman.table import Array, Table

_ROWS = 2  # one more than one: a model that answers with a single value is then seen


class Probed(msgspec.Struct, frozen=True):
    """What was learned; it crosses a pipe as JSON."""

    signature: Signature
    warnings: tuple[str, ...] = ()


def probe(predictor: Predictor) -> Probed:
    """The signature with its outputs as the example row was answered. What raises is a warning: the example may be at fault."""
    parameters = {o.name: found for o in predictor.signature.outputs if (found := parameters_of(predictor, o.name))}
    signature = msgspec.structs.replace(predictor.signature, parameters=parameters)
    if not signature.inputs:
        rehearse = getattr(predictor, "rehearse", None)  # several models in one know their own examples
        return Probed(signature, tuple(rehearse()) if rehearse is not None else ())
    try:
        rows = Checker(signature)(Table.of_rows([signature.example_row()] * _ROWS))
    except Exception as error:  # noqa: BLE001 - told, not raised
        return Probed(signature, (f"the example row does not fit the signature: {_line(error)}",))
    outputs: list[Output] = []
    warnings: list[str] = []
    for output in signature.outputs:
        if output.how is not None:  # an explanation of ours, whose shape is known
            outputs.append(output)
            continue
        try:
            answer = checked_outputs(predictor.predict(rows, (output.name,), {}), (output.name,), _ROWS)[output.name]
        except Exception as error:  # noqa: BLE001 - the model's own code may raise anything
            outputs.append(output)
            warnings.append(f"the model's {output.name} failed on the example row: {_line(error)}")
        else:
            outputs.append(refined(output, answer))
    return Probed(msgspec.structs.replace(signature, outputs=tuple(outputs)), tuple(warnings))


def refined(output: Output, answer: Array) -> Output:
    """The output with type, dtype and width as an answer shows them."""
    width = None if answer.ndim == 1 else answer.shape[1] if answer.ndim == 2 else -1
    if answer.dtype == object:
        values: Sequence[Any] = list(answer.flat)
        if any(isinstance(value, list | tuple | np.ndarray) for value in values):
            return Output(name=output.name, type="object", width=-1)
        return Output(name=output.name, type=output_type(answer.dtype, values), width=width)
    dtype = answer.dtype.name if answer.dtype.kind in "biuf" else None
    return Output(name=output.name, type=output_type(answer.dtype), width=width, dtype=dtype)


def _line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:299] + "…"
