"""Folders that MLflow wrote, without its package: an MLmodel file whose flavour is one of the other formats, with its signature."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import msgspec

from dragoman.errors import ModelLoadFailed, UnsupportedFormat
from dragoman.formats.format import Candidate, Format, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.lightgbm import Lightgbm
from dragoman.formats.loaded import with_signature
from dragoman.formats.onnx import Onnx
from dragoman.formats.sklearn import Sklearn
from dragoman.formats.unpickle import version_warning
from dragoman.formats.xgboost import Xgboost
from dragoman.signature import Field, FieldType, Signature

# Each flavour: where it names its file, and what may have written it. In the order in which they are tried.
_FLAVOURS: dict[str, tuple[tuple[str, ...], tuple[Format, ...]]] = {
    "sklearn": (("pickled_model",), (Sklearn(),)),
    "xgboost": (("data",), (Xgboost(), Sklearn())),
    "lightgbm": (("data",), (Lightgbm(), Sklearn())),
    "onnx": (("data",), (Onnx(),)),
}
_TYPES: dict[str, FieldType] = {
    **dict.fromkeys(["double", "float", "float64", "float32"], "number"),
    **dict.fromkeys(["integer", "long", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"], "integer"),
    **dict.fromkeys(["string", "str", "object"], "string"),
    **dict.fromkeys(["boolean", "bool"], "boolean"),
}
_VERSIONS = {"sklearn_version": "scikit-learn", "xgb_version": "xgboost", "lgb_version": "lightgbm"}


class Mlflow:
    name: ClassVar[str] = "mlflow"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if PurePosixPath(candidate.name).name != "MLmodel":
            return None
        try:
            _, _, told = _inner(candidate.path)
        except (UnsupportedFormat, ModelLoadFailed):  # loading says why
            return Recognised("an MLflow model", sure=False)
        return Recognised(f"an MLflow model with {told.what}", runs_code=told.runs_code, forks=told.forks)

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        path = files.path(file)
        format_, inner, _ = _inner(path)
        loaded = format_.load(ModelFiles(path.parent, files.name, files.digest), inner, settings)
        document = _document(path)
        signature = _signed(loaded.predictor.signature, document)
        lines = dict.fromkeys((*loaded.warnings, *_mismatches(document, loaded.versions)))
        return with_signature(dataclasses.replace(loaded, warnings=tuple(lines)), signature)


def _inner(path: Path) -> tuple[Format, str, Recognised]:
    """The format that the flavour stands for, and its file. `UnsupportedFormat` where none is one of ours."""
    flavours = _document(path).get("flavors") or {}
    for flavour, (keys, formats) in _FLAVOURS.items():
        said = flavours.get(flavour)
        if not isinstance(said, Mapping):
            continue
        inner = next((str(said[k]) for k in keys if said.get(k)), "")
        target = (path.parent / inner).resolve()
        if not inner or not target.is_relative_to(path.parent.resolve()) or not target.is_file():
            raise ModelLoadFailed(f"MLmodel: its {flavour} flavour names the file {inner!r}, which is not in the folder")
        candidate = Candidate(inner, target)
        for format_ in formats:
            told = format_.recognises(candidate, declared=True)
            if told is not None:
                return format_, inner, told
        raise ModelLoadFailed(f"MLmodel: {inner} is not a model of its {flavour} flavour")
    if set(flavours) == {"python_function"}:
        raise UnsupportedFormat(
            "MLmodel: it has only the python_function flavour, which needs MLflow's own package to load; "
            "write it as a dragoman.Model, or save it with dragoman.save"
        )
    known = ", ".join(_FLAVOURS)
    raise UnsupportedFormat(f"MLmodel: its flavours are {', '.join(sorted(flavours)) or 'none'}; known are {known}")


def _document(path: Path) -> dict[str, Any]:
    import yaml  # here: every server has this module

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelLoadFailed(f"MLmodel is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not isinstance(document.get("flavors") or {}, Mapping):
        raise ModelLoadFailed("MLmodel has no flavors")
    return document


def _signed(known: Signature, document: Mapping[str, Any]) -> Signature:
    """With the inputs that MLflow's signature tells, where it tells columns: their types are the training data's."""
    said = document.get("signature") or {}
    try:
        columns = json.loads(said.get("inputs") or "[]") if isinstance(said, Mapping) else []
        inputs = tuple(_field(column) for column in columns)
    except (ValueError, KeyError, TypeError, AttributeError):
        return known  # tensors without names, dates, lists and maps: what the model knows is better
    if not inputs or (known.inputs and len(known.inputs) != len(inputs)):
        return known
    own = {field.name: field for field in known.inputs}
    merged = tuple(_merged(field, own.get(field.name)) for field in inputs)
    return msgspec.structs.replace(known, inputs=merged, named=True)


def _field(column: Mapping[str, Any]) -> Field:
    required = bool(column.get("required", True))
    return Field(name=column["name"], type=_TYPES[column["type"]], required=required, nullable=not required)


def _merged(said: Field, own: Field | None) -> Field:
    if own is None:
        return said
    same = own.type == said.type
    return msgspec.structs.replace(
        said,
        nullable=said.nullable or own.nullable,
        enum=own.enum if same else None,
        example=own.example if same else None,
        dtype=own.dtype if same else None,
    )


def _mismatches(document: Mapping[str, Any], now: Mapping[str, str]) -> tuple[str, ...]:
    flavours = [f for f in document.get("flavors", {}).values() if isinstance(f, Mapping)]
    saved = {package: str(f[key]) for f in flavours for key, package in _VERSIONS.items() if key in f}
    return tuple(version_warning(p, version, now[p]) for p, version in saved.items() if p in now and now[p] != version)
