"""The protocol of a model format: how its files are told, and how a predictor is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from dragoman.predictors import Predictor


@dataclass(frozen=True)
class ModelFiles:
    """What was fetched and checked: a file, or a folder, on local disk; read-only.

    `listing` has every file's path relative to `root` ('' for a single file, whose own name is `name`).
    """

    root: Path
    name: str  # the last part of the URI, for telling formats by suffix: "model.joblib"
    digest: str

    @property
    def single(self) -> bool:
        return self.root.is_file()

    def listing(self) -> dict[str, Path]:
        """Each file by its name relative to the model: `{"model.joblib": /cache/…/model.joblib}`."""
        if self.single:
            return {self.name: self.root}
        return {p.relative_to(self.root).as_posix(): p for p in sorted(self.root.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class LoadedModel:
    """A predictor and what is worth telling about where it came from."""

    predictor: Predictor
    versions: Mapping[str, str] = field(default_factory=dict)  # packages in use: {"scikit-learn": "1.9.1"}
    warnings: tuple[str, ...] = ()  # "saved with scikit-learn 1.5.0, loaded with 1.9.1: …"


class Format(Protocol):
    name: ClassVar[str]
    runs_code: ClassVar[bool]  # loading it runs code that its bytes carry: joblib, pickle, cloudpickle, python
    forks: ClassVar[bool]  # may be loaded once and shared by forked workers; False: each worker loads for itself

    def matches(self, files: ModelFiles) -> str | None:
        """The file (relative name) that is the model, told by names and content without importing any library; None when it is not ours."""

    def load(self, files: ModelFiles, options: Mapping[str, Any]) -> LoadedModel:
        """Raises `MissingLibrary` (naming the extra), `ModelLoadFailed`, `UnsupportedFormat`, `PolicyViolation`."""
