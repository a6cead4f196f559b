"""What an author's own object says of itself: its methods, and for a `dragoman.Model` its class attributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dragoman.authoring import Model
from dragoman.errors import ModelLoadFailed
from dragoman.formats.format import LoadedModel, Settings
from dragoman.formats.libraries import versions_of
from dragoman.formats.unpickle import guarded
from dragoman.signature import Field, Output, Signature, inputs_of

METHODS: tuple[str, ...] = ("predict", "predict_proba", "decision_function", "confidence", "explain", "recommend")
_KINDS = {"explain": "object", "recommend": "object"}


def of_model(model: Model, folder: Path, file: str, settings: Settings, warnings: tuple[str, ...] = ()) -> LoadedModel:
    """A predictor of a `dragoman.Model`, its `load` called. `ModelLoadFailed` where that raises, or the class attributes are wrong."""
    from dragoman.predictors.authored import AuthoredPredictor
    from dragoman.predictors.feed import as_table

    kind = type(model)
    with guarded(file) as heard:
        model.load(folder)
        own = model.as_loaded(file, settings)
    if own is not None:
        return dataclasses.replace(own, warnings=(*warnings, *heard.lines, *own.warnings))
    if kind.predict is Model.predict:
        raise ModelLoadFailed(f"{file}: {kind.__name__} has no predict method of its own")
    signature = declared_signature(model, f"{file}: {kind.__name__}")
    predictor = AuthoredPredictor(model, signature, bool(kind.rows_independent), as_table)
    return LoadedModel(predictor, versions_of(["numpy"]), (*warnings, *heard.lines))


def signature_of(model: Any) -> Signature:
    """The methods that an object has, and nothing of its inputs."""
    methods = [name for name in METHODS if callable(getattr(model, name, None)) and getattr(type(model), name, None) is not Model.predict]
    return Signature(outputs=tuple(Output(name=name, type=_KINDS.get(name, "number"), width=-1) for name in methods))  # type: ignore[arg-type]


def declared_signature(model: Model, where: str) -> Signature:
    """What the class attributes say, and the methods that it has. `ModelLoadFailed`, led by `where`, if they do not fit."""
    said = {output.name: output for output in model.outputs}
    has = signature_of(model)
    unknown = sorted(set(said) - {o.name for o in has.outputs})
    if unknown:
        raise ModelLoadFailed(f"{where}.outputs names {unknown[0]!r}, which is none of its methods")
    return Signature(
        inputs=_inputs(model.inputs, where),
        outputs=tuple(said.get(o.name, o) for o in has.outputs),
        classes=None if model.classes is None else tuple(model.classes),
        target=model.target,
    )


def _inputs(said: Any, where: str) -> tuple[Field, ...]:
    fields = inputs_of(said) if isinstance(said, Mapping) else tuple(said)
    for field in fields:
        try:
            msgspec.convert(msgspec.to_builtins(field), Field)
        except (msgspec.ValidationError, TypeError) as error:
            name = getattr(field, "name", field)
            raise ModelLoadFailed(
                f"{where}.inputs: {name!r} is no field with a type of number, integer, string or boolean: {error}"
            ) from error
    return fields
