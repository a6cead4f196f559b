"""Which format a model is, told from names and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from dragoman.errors import UnsupportedFormat
from dragoman.formats import sidecar
from dragoman.formats.foreign import foreign, modelless_python, stand_in
from dragoman.formats.format import Candidate, Format, Found, ModelFiles

_HOW = "say which it is in spec.model.format, or name the file in spec.model.uri"


def find(formats: Sequence[Format], files: ModelFiles, declared: str | None) -> Found:
    """The model among the files. `UnsupportedFormat` says what was found, what is known, and how to say what it is."""
    candidates = [Candidate(name, files.path(name)) for name in files.top()]
    saved = next((c for c in candidates if sidecar.is_sidecar(c)), None)
    if saved is not None and not files.single:
        beside = sidecar.read(files)
        if beside is not None and beside.file in files.top():
            candidates = [Candidate(beside.file, files.path(beside.file))]
            declared = declared or beside.format
    chosen = [f for f in formats if declared in (None, f.name)]
    found = [
        Found(format_, candidate.name, told)
        for candidate in candidates
        for format_ in chosen
        if (told := format_.recognises(candidate, declared=declared is not None)) is not None
        if told.sure or stand_in(candidate.head) is None
    ]
    best = _best(_once_a_file(found))
    if len(best) == 1:
        return best[0]
    if best:
        names = ", ".join(f"{f.file} ({f.told.what})" for f in best[:5])
        raise UnsupportedFormat(f"{files.name} has {len(best)} models: {names}: {_HOW}")
    raise UnsupportedFormat(_nothing(formats, files, candidates, declared))


def _once_a_file(found: Sequence[Found]) -> list[Found]:
    """Where two formats recognise one file, the sure one before the other, else the first."""
    by_file: dict[str, Found] = {}
    for one in found:
        held = by_file.get(one.file)
        if held is None or (one.told.sure and not held.told.sure):
            by_file[one.file] = one
    return list(by_file.values())


def _best(found: Sequence[Found]) -> list[Found]:
    """One model where a rule decides: what stands for the whole folder, then what the bytes tell, then the name `model`."""
    for leading in ("compiled", "mlflow", "python"):  # these name the rest; a model's own code reads the files beside it
        lead = [f for f in found if f.format.name == leading]
        if lead:
            return lead if len(lead) == 1 else [f for f in lead if PurePosixPath(f.file).stem == "model"] or lead
    sure = [f for f in found if f.told.sure] or list(found)
    named = [f for f in sure if PurePosixPath(f.file).stem == "model"]
    return named if len(named) == 1 else sure


def _nothing(formats: Sequence[Format], files: ModelFiles, candidates: Sequence[Candidate], declared: str | None) -> str:
    known = ", ".join(f.name for f in formats)
    if not candidates:
        return f"{files.name} has no files at its top level: {_HOW}"
    what = [f"{c.name} ({_described(formats, c)})" for c in candidates[:5]]
    listed = ", ".join(what) + (f" and {len(candidates) - 5} more" if len(candidates) > 5 else "")
    if declared is not None:
        return f"spec.model.format says {declared}, but there is no {declared} model in {listed}"
    return f"no model found in {listed}: known formats are {known}: {_HOW}"


def _described(formats: Sequence[Format], candidate: Candidate) -> str:
    instead = stand_in(candidate.head)
    if instead is not None:
        return instead
    told = next((t for f in formats if (t := f.recognises(candidate)) is not None), None)
    if told is not None:
        return told.what
    if candidate.suffix == ".py":
        return modelless_python(candidate.path)
    return foreign(candidate.name, candidate.head) or (f"{len(candidate.head)} bytes of no known kind" if candidate.head else "empty")
