"""lightgbm's own text files: data. They are Boosters, whose predict gives what the objective gives: a probability for `binary`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dragoman.errors import ModelLoadFailed
from dragoman.formats.categories import category_codes, category_type
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.libraries import require, versions_of
from dragoman.formats.unpickle import guarded
from dragoman.signature import Field, Output, Signature

if TYPE_CHECKING:
    from dragoman.predictors.feed import Feed

_RANGE = re.compile(r"\[(?P<low>[^:]+):(?P<high>[^:]+)\]")
_UNNAMED = re.compile(r"Column_\d+")
_LABELS = frozenset(["multiclass", "multiclassova"])


class Lightgbm:
    name: ClassVar[str] = "lightgbm"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if re.match(rb"tree\s*\nversion=v\d", candidate.head):
            return Recognised("a lightgbm model as text")
        if candidate.suffix == ".lgb" or (declared and candidate.suffix in (".txt", ".model")):
            return Recognised(f"named {candidate.suffix}, though not readable as a lightgbm model", sure=False)
        return None

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        path = files.path(file)
        if not _header(path):  # lightgbm itself writes its complaints to standard error
            raise ModelLoadFailed(f"{file} could not be loaded: it is not a lightgbm model")
        lightgbm = require("lightgbm", file)
        with guarded(file) as heard:
            return of_booster(lightgbm.Booster(model_file=str(path)), settings, tuple(heard.lines))


def of_booster(booster: Any, settings: Settings, warnings: tuple[str, ...] = ()) -> LoadedModel:
    """A predictor of a bare Booster."""
    from dragoman.predictors.booster import BoosterPredictor, Matrix

    header = _header_of(booster.model_to_string(num_iteration=1).splitlines())
    categories = _categories(booster, header)
    matrix = Matrix(codes=category_codes(categories), unknown_is_missing=True)
    predictor = BoosterPredictor(booster, _signature(booster, header, categories), matrix, _runner(booster, settings.threads))
    return LoadedModel(predictor, versions_of(["lightgbm", "numpy"]), warnings)


def signature_of(booster: Any) -> Signature:
    """Names, types and an example of each input from the range that training saw; missing values welcome."""
    header = _header_of(booster.model_to_string(num_iteration=1).splitlines())
    return _signature(booster, header, _categories(booster, header))


def _runner(booster: Any, threads: int) -> Callable[[Any, Any, Mapping[str, Any]], Any]:
    from dragoman.predictors.single_row import of_lightgbm

    plain = of_lightgbm(booster, threads)
    return lambda booster, rows, arguments: booster.predict(rows, num_threads=threads, **arguments) if arguments else plain(rows)


def of_wrapper(model: Any) -> tuple[Signature, Feed]:
    """What the booster inside a fitted scikit-learn wrapper says of its inputs, and how the wrapper is fed.

    Where it has names that is with frames, whose categorical columns have the categories of training.
    """
    from dragoman.predictors.feed import as_array, framed

    booster = model.booster_
    header = _header_of(booster.model_to_string(num_iteration=1).splitlines())
    categories = _categories(booster, header)
    signature = _signature(booster, header, categories)
    if not hasattr(model, "feature_names_in_"):
        return signature, as_array
    return signature, framed({signature.inputs[i].name: values for i, values in categories.items()})


def short_ways(model: Any) -> dict[str, Callable[[Any], Any]]:
    """What a fitted scikit-learn wrapper's methods do around its booster, without checking the rows once more: 10 us a row, not 550.

    Only of lightgbm's own classes, and without parameters of the author's that its booster would be given with each predict.
    """
    kind = type(model).__name__
    if type(model).__module__ != "lightgbm.sklearn" or callable(model._objective) or model.n_jobs is None:
        return {}
    classes = model.classes_ if kind == "LGBMClassifier" else None
    if model._other_params.keys() - {"verbose", "verbosity"} or (classes is not None and len(classes) < 2):
        return {}
    from dragoman.predictors.feed import FLOAT64, is_plain
    from dragoman.predictors.single_row import of_lightgbm

    width, plain_rows = model.n_features_in_, of_lightgbm(model.booster_, model._process_n_jobs(model.n_jobs))

    def values(rows: Any) -> Any:
        return plain_rows(rows) if is_plain(rows, FLOAT64, width) else None

    if classes is None:
        return {"predict": values} if kind in ("LGBMRegressor", "LGBMRanker", "LGBMModel") else {}
    first, second, several = classes[:1], classes[1:], len(classes) > 2

    def probabilities(rows: Any) -> Any:
        import numpy as np

        found = values(rows)
        return found if found is None or several else np.vstack((1.0 - found, found)).T

    def labels(rows: Any) -> Any:
        found = values(rows)
        if found is None:
            return None
        if several:
            return classes[found.argmax(axis=1)]
        # of two the second where it is the more probable, as the first largest of (1 - p, p) says
        if len(found) == 1:
            return (second if (probability := found.item()) > 1.0 - probability else first).copy()
        return classes[(found > 1.0 - found).astype(int)]

    return {"predict": labels, "predict_proba": probabilities}


def _header(path: Path) -> dict[str, str]:
    """The lines before the first tree: names, ranges or categories, and the objective. Empty where the file is none of lightgbm's."""
    with path.open("r", encoding="utf-8", errors="replace") as lines:
        return _header_of(lines)


def _header_of(lines: Iterable[str]) -> dict[str, str]:
    header: dict[str, str] = {}
    for number, line in enumerate(lines):
        key, _, value = line.rstrip("\n").partition("=")
        if number == 0 and key.strip() != "tree":
            return {}
        if key in ("tree_sizes", "Tree"):
            break
        header[key] = value
    return header


def _infos(header: Mapping[str, str], count: int) -> list[str]:
    infos = header.get("feature_infos", "").split(" ")
    return infos if len(infos) == count else [""] * count


def _is_categorical(info: str) -> bool:
    return ":" in info and not info.startswith("[")


def _categories(booster: Any, header: Mapping[str, str]) -> dict[int, list[Any]]:
    """The categories of pandas columns, which the file keeps in the order of the columns."""
    where = [i for i, info in enumerate(_infos(header, booster.num_feature())) if _is_categorical(info)]
    kept = booster.pandas_categorical or []
    return dict(zip(where, kept, strict=True)) if len(where) == len(kept) else {}


def _signature(booster: Any, header: Mapping[str, str], categories: Mapping[int, list[Any]]) -> Signature:
    names = booster.feature_name()
    named = not all(_UNNAMED.fullmatch(name) for name in names)
    if booster.pandas_categorical and not categories:  # which columns they belong to cannot be told
        return Signature(outputs=_outputs(booster, header), named=named)
    infos = _infos(header, len(names))
    inputs = tuple(_field(name if named else f"f{i}", infos[i], categories.get(i)) for i, name in enumerate(names))
    return Signature(inputs=inputs, outputs=_outputs(booster, header), named=named)


def _outputs(booster: Any, header: Mapping[str, str]) -> tuple[Output, ...]:
    width = booster.num_model_per_iteration()
    several = width > 1 and header.get("objective", "").split(" ")[0] in _LABELS
    return (Output(name="predict", width=width if several else None, dtype="float64"),)


def _field(name: str, info: str, categories: list[Any] | None) -> Field:
    if categories is not None:
        return Field(name=name, type=category_type(categories) or "number", nullable=True, example=categories[0] if categories else None)
    if _is_categorical(info):
        return Field(name=name, type="integer", nullable=True)
    seen = _RANGE.fullmatch(info)
    return Field(name=name, nullable=True, example=None if seen is None else float(f"{(float(seen['low']) + float(seen['high'])) / 2:.4g}"))
