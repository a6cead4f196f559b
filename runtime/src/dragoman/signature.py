"""Signature: what a model takes and gives, declared in the manifest, saved with the model, or inferred from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from dragoman.errors import SignatureMismatch

FieldType = Literal["number", "integer", "string", "boolean"]


class Field(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """One input of a model: a feature."""

    name: str
    type: FieldType = "number"
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Any, ...] | None = None
    nullable: bool = False  # null, NaN and, for strings, None are accepted: the model deals with missing values
    required: bool = True  # False: the column may be absent, and is then null
    dtype: str | None = None  # the model's own, as numpy names it, where it is not the type's usual one: "float32"
    example: Any = None


class Output(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """One output of a model: a method of it."""

    name: str  # predict, predict_proba, explain, …
    type: Literal["number", "integer", "string", "boolean", "object"] = "number"
    width: int | None = None  # values a row: None for one value, n for a list of n, -1 where it is not known
    dtype: str | None = None  # as numpy names it
    how: str | None = None  # of explanations that are not the model's own method: "exact (linear) against …", "ablation against …"


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """A parameter of a model's method."""

    name: str
    required: bool = True
    type: Literal["int", "float", "bool", "str"] | None = None  # where its annotation, or its default value, is one of these


class Signature(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Inputs in the model's order, and outputs.

    `inputs` is empty where nothing is known of them: then every table passes as it is.
    `named` is False where the model knows its features by position only; their names are then `f0`, `f1`, ….
    """

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Output, ...] = ()
    classes: tuple[Any, ...] | None = None  # the labels, in the order of predict_proba's columns
    target: str | None = None  # what is predicted: "species"
    named: bool = True
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    parameters: dict[str, tuple[Parameter, ...]] = {}  # of each output's method, the rows' own first; not there where they cannot be read
    unpacks: bool = False  # rows may come as messages that the model's own data handler unpacks: one column, and the argument `unpack`

    def example_row(self) -> dict[str, Any]:
        """A row that passes the check: each field's example, first enum value, or a plain value inside its bounds."""
        return {field.name: example_of(field) for field in self.inputs}


def example_of(field: Field) -> Any:
    """A value that the field accepts."""
    if field.example is not None:
        return field.example
    if field.enum:
        return field.enum[0]
    if field.type == "string":
        return "text"
    if field.type == "boolean":
        return True
    low = field.minimum if field.minimum is not None else min(0.0, field.maximum if field.maximum is not None else 0.0)
    return math.ceil(low) if field.type == "integer" else float(low)


def declare(inferred: Signature, inputs: Sequence[Field], outputs: tuple[str | None, Sequence[Any] | None]) -> Signature:
    """The model's own signature with what the manifest declares laid over it; `SignatureMismatch` where the two cannot both be true.

    `outputs` is (target, classes) of `spec.model.outputs`. Declared inputs take the model's names, in any order; a declared field
    keeps what it does not say itself (dtype, enum, …) from the inferred one only where both have the same name.
    """
    target, classes = outputs
    changes: dict[str, Any] = {}
    if target is not None:
        changes["target"] = target
    if classes is not None:
        if inferred.classes is not None and len(classes) != len(inferred.classes):
            raise SignatureMismatch(
                f"spec.model.outputs.classes names {len(classes)} classes, the model has {len(inferred.classes)}: {list(inferred.classes)}"
            )
        changes["classes"] = tuple(classes)
    if inputs:
        changes["inputs"] = _merge_inputs(inferred, tuple(inputs))
        changes["named"] = True
    return msgspec.structs.replace(inferred, **changes)


def _merge_inputs(inferred: Signature, declared: tuple[Field, ...]) -> tuple[Field, ...]:
    known = {f.name: f for f in inferred.inputs}
    if inferred.inputs and len(inferred.inputs) != len(declared):
        raise SignatureMismatch(f"spec.model.inputs declares {len(declared)} inputs, the model takes {len(inferred.inputs)}")
    if not known or not inferred.named:
        order = declared
    else:
        unknown = [f.name for f in declared if f.name not in known]
        if unknown:
            raise SignatureMismatch(f"spec.model.inputs declares {unknown[0]!r}, the model takes {list(known)}")
        by_name = {f.name: f for f in declared}
        order = tuple(by_name[name] for name in known)
    merged = []
    for position, field in enumerate(order):
        base = known.get(field.name) or (inferred.inputs[position] if inferred.inputs else None)
        merged.append(field if base is None else msgspec.structs.replace(field, dtype=field.dtype or base.dtype))
    return tuple(merged)


def inputs_of(mapping: Mapping[str, FieldType]) -> tuple[Field, ...]:
    """Fields from names and types, for authors: `inputs_of({"age": "integer"})`."""
    return tuple(Field(name=name, type=type_) for name, type_ in mapping.items())
