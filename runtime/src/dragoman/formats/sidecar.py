"""model.json, which `dragoman.save` writes beside a model: what the model itself cannot say."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dragoman.errors import ModelLoadFailed
from dragoman.formats.format import Candidate, ModelFiles
from dragoman.formats.unpickle import version_warning
from dragoman.signature import Signature

NAME = "model.json"
SAMPLE_ROWS = 100
_OURS = re.compile(rb'^\s*\{\s*"dragoman"\s*:')  # an xgboost model may have the same file name


class Sidecar(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Written with `dragoman` first: that is what tells it from other files of its name."""

    dragoman: str  # the version that wrote it
    format: str
    file: str  # of the model, beside this one
    name: str | None = None
    signature: Signature = Signature()
    rows_independent: bool | None = None  # None: as the format finds
    versions: dict[str, str] = {}  # packages at the time: {"scikit-learn": "1.9.1", "python": "3.11"}
    sample: tuple[tuple[Any, ...], ...] = ()  # up to 100 rows of the training data in the order of the inputs, null where missing
    background: tuple[tuple[Any, ...], ...] = ()  # as `sample`: what explanations compare with, where that is not the sample itself


def is_sidecar(candidate: Candidate) -> bool:
    return Path(candidate.name).name == NAME and _OURS.match(candidate.head) is not None


def read(files: ModelFiles) -> Sidecar | None:
    """The folder's model.json, if it has one of ours. `ModelLoadFailed` where it cannot be read."""
    path = files.root / NAME
    if files.single or not path.is_file() or not is_sidecar(Candidate(NAME, path)):
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Sidecar)
    except msgspec.DecodeError as error:
        raise ModelLoadFailed(f"{NAME} could not be read: {error}") from None


def write(folder: Path, sidecar: Sidecar) -> None:
    (folder / NAME).write_bytes(msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n")


def python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def mismatches(saved: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each package whose version is not the one that the model was saved with."""
    here = {**now, "python": python_version()}
    return tuple(version_warning(p, version, here[p]) for p, version in sorted(saved.items()) if p in here and here[p] != version)
