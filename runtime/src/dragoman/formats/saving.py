"""Writing a model to a folder, with its model.json."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import dragoman
from dragoman.authoring import Model
from dragoman.formats import sidecar
from dragoman.formats.authored import METHODS, declared_signature
from dragoman.formats.estimators import package_of, walk
from dragoman.formats.format import Candidate
from dragoman.formats.inference import METHODS as ESTIMATOR_METHODS
from dragoman.formats.libraries import versions_of
from dragoman.formats.probe import refined
from dragoman.formats.rowwise import own_functions
from dragoman.formats.samples import fields_of, rows_of, spread
from dragoman.formats.sklearn import Sklearn, signature_and_feed, signature_of_booster
from dragoman.predictors import checked_outputs
from dragoman.predictors.estimator import by_rows
from dragoman.signature import Field, Output, Signature

_INSTALLED = frozenset(["sklearn", "xgboost", "lightgbm", "imblearn"])  # on a server that serves such models
_FILES = ("model.joblib", "model.pkl", "model.ubj", "model.txt")


def save_model(
    model: Any,
    folder: Path,
    *,
    signature: Signature | None,
    example: Any,
    background: Any,
    name: str | None,
    rows_independent: bool | None,
) -> str:
    """See `dragoman.save`."""
    from dragoman.storage.digest import digest_of

    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"a model has a predict method, and a {type(model).__name__} has none")
    folder.mkdir(parents=True, exist_ok=True)
    for old in _FILES:
        (folder / old).unlink(missing_ok=True)
    parts = list(walk(model))
    file = _write(model, parts, folder)
    settled = signature if signature is not None else _signature(model, example)
    if background is not None and len(background) and signature is None and not settled.inputs:
        settled = _signature(model, background)
    sidecar.write(
        folder,
        sidecar.Sidecar(
            dragoman=dragoman.__version__,
            format=_format(folder / file),
            file=file,
            name=name,
            signature=settled,
            rows_independent=rows_independent,
            versions={**versions_of({package_of(part) for part in parts} | {"numpy", "cloudpickle"}), "python": sidecar.python_version()},
            sample=() if example is None else rows_of(spread(example, sidecar.SAMPLE_ROWS), settled.inputs),
            background=_background(background, settled.inputs),
        ),
    )
    for cache in folder.glob("__pycache__"):
        shutil.rmtree(cache)
    return digest_of(folder)


def _background(rows: Any, inputs: Sequence[Field]) -> tuple[tuple[Any, ...], ...]:
    """`ValueError` where the rows are not of the model's inputs: without them there would be explanations of another meaning."""
    if rows is None:
        return ()
    kept = rows_of(spread(rows, sidecar.SAMPLE_ROWS), inputs)
    if not kept:
        names = ", ".join(field.name for field in inputs[:20]) or "none are known"
        raise ValueError(f"background must have rows, and the model's inputs as columns: {names}")
    return kept


def _format(path: Path) -> str:
    if path.suffix in (".ubj", ".txt"):
        return "xgboost" if path.suffix == ".ubj" else "lightgbm"
    return "sklearn" if Sklearn().recognises(Candidate(path.name, path)) is not None else "cloudpickle"


def _write(model: Any, parts: Sequence[Any], folder: Path) -> str:
    """The file's name. Native boosters go into their own formats, what a server has installed into joblib, the rest into cloudpickle."""
    if type(model).__name__ == "Booster" and package_of(model) in ("xgboost", "lightgbm"):
        file = "model.ubj" if package_of(model) == "xgboost" else "model.txt"
        model.save_model(folder / file)
        return file
    if all(package_of(part) in _INSTALLED for part in parts) and not any(own_functions(part) for part in parts):
        import joblib

        joblib.dump(model, folder / "model.joblib")
        return "model.joblib"
    import cloudpickle

    with _by_value(parts), (folder / "model.pkl").open("wb") as target:
        cloudpickle.dump(model, target)
    return "model.pkl"


@contextmanager
def _by_value(parts: Sequence[Any]) -> Iterator[None]:
    """Classes of the author's own modules go into the file: a server does not have those modules. Installed packages are named only."""
    import cloudpickle

    names = {type(part).__module__ for part in parts}
    own = [sys.modules[name] for name in sorted(names) if name != "__main__" and _is_source(sys.modules.get(name))]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_source(module: Any) -> bool:
    origin = getattr(module, "__file__", None)
    if origin is None or module.__name__.partition(".")[0] == "dragoman":
        return False
    path = Path(origin).resolve()
    return not {"site-packages", "dist-packages"} & set(path.parts) and not path.is_relative_to(Path(sys.base_prefix) / "lib")


def _signature(model: Any, example: Any) -> Signature:
    """What the model knows, what the example shows, and what the model answers to the example."""
    if isinstance(model, Model):
        return _shown(declared_signature(model, type(model).__name__), example)
    if type(model).__name__ == "Booster" and package_of(model) in ("xgboost", "lightgbm"):
        return _shown(signature_of_booster(model), example)
    known, methods = Signature(), METHODS
    if hasattr(model, "n_features_in_") or package_of(model) in _INSTALLED:
        known, methods = signature_and_feed(model)[0], ESTIMATOR_METHODS
    if example is None:
        return known
    return msgspec.structs.replace(_shown(known, example), outputs=_answers(model, methods, example))


def _shown(known: Signature, example: Any) -> Signature:
    """With examples from the author's; and with inputs as it shows them, where the model knows none."""
    if example is None:
        return known
    shown, named = fields_of(example)
    if not known.inputs:
        return msgspec.structs.replace(known, inputs=shown, named=named)
    if len(known.inputs) != len(shown):
        return known
    inputs = tuple(_with_example(field, seen) for field, seen in zip(known.inputs, shown, strict=True))
    return msgspec.structs.replace(known, inputs=inputs)


def _with_example(field: Field, seen: Field) -> Field:
    """The field with the author's example, where that is one of its values. A column of booleans is one, if to the model it is numbers."""
    if seen.type == "boolean" and field.type == "number":
        return msgspec.structs.replace(field, type="boolean", example=seen.example, dtype=None)
    alike = seen.type == field.type or (seen.type, field.type) == ("integer", "number")
    if seen.example is None or not alike or (field.enum is not None and seen.example not in field.enum):
        return field
    value = float(seen.example) if field.type == "number" else seen.example
    return msgspec.structs.replace(field, example=value)


def _answers(model: Any, methods: Sequence[str], example: Any) -> tuple[Output, ...]:
    """The outputs as the model answers the first rows of the example, in the form in which the author gave it."""
    outputs = []
    rows = example.iloc[:2] if hasattr(example, "iloc") else np.asarray(example)[:2]
    for method in methods:
        if hasattr(model, method):
            answer = checked_outputs({method: by_rows(getattr(model, method)(rows))}, (method,), len(rows))[method]
            outputs.append(refined(Output(name=method), answer))
    return tuple(outputs)
