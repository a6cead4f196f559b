"""Compiled models, as `dragoman compile` writes them: data. They are served without the library that trained them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import msgspec

from dragoman.compiled import PROGRAM
from dragoman.errors import ModelLoadFailed
from dragoman.formats import sidecar
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.libraries import require, versions_of
from dragoman.formats.unpickle import guarded

_OURS = re.compile(rb'^\s*\{\s*"dragoman"\s*:')


class CompiledFormat:
    name: ClassVar[str] = "compiled"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if Path(candidate.name).name != PROGRAM or _OURS.match(candidate.head) is None:
            return None
        return Recognised("a compiled model")

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        from dragoman.predictors import compiled, program

        if files.single:
            raise ModelLoadFailed(f"{file} is one file of a compiled model: serve the folder that `dragoman compile` wrote")
        try:
            told = program.read(files.root)
        except msgspec.DecodeError as error:
            raise ModelLoadFailed(f"{file} could not be read: {error}") from None
        needed = [library for library, part in (("onnxruntime", told.graph), ("treelite", told.trees)) if part is not None]
        for library in needed:
            require(library, file)
        for part in (told.graph, told.trees):
            if part is not None and part.file not in files.top():
                raise ModelLoadFailed(f"{file} names {part.file}, which is not beside it: `dragoman compile` writes both")
        with guarded(file) as heard:
            predictor = compiled.load(files.root)
        versions = versions_of([*needed, "numpy"])
        return LoadedModel(predictor, versions, (*heard.lines, *sidecar.mismatches(_proven_with(files.root), versions)))


def _proven_with(folder: Path) -> dict[str, str]:
    """The versions with which it was proven equal to its original."""
    from dragoman.predictors.compiled import verdict_of

    try:
        return verdict_of(folder).versions
    except (OSError, msgspec.DecodeError):
        return {}
