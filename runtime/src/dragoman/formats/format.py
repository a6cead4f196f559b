"""The protocol of a model format: how its files are told, and how a predictor is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import msgspec

from dragoman.formats.pickles import Pickle, read_pickle

if TYPE_CHECKING:  # telling a format imports neither numpy nor a model library
    from dragoman.predictors import Predictor

CodePolicy = Literal["Allow", "RequireDigest", "Deny"]


class ModelFiles(msgspec.Struct, frozen=True):
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

    def path(self, file: str) -> Path:
        """Where one of the listed files is."""
        return self.root if self.single else self.root / file

    def top(self) -> list[str]:
        """Names of the files that are not in a folder of the model's folder, sorted: the model is one of them."""
        return [self.name] if self.single else sorted(p.name for p in self.root.iterdir() if p.is_file())

    @property
    def folder(self) -> Path:
        """Where the model's other files are."""
        return self.root.parent if self.single else self.root


class Candidate:
    """One file that may be a model, as far as its name and its first bytes tell."""

    HEAD_BYTES = 256 * 1024

    def __init__(self, name: str, path: Path) -> None:
        self.name = name  # relative to the model, as in `ModelFiles.listing`
        self.path = path

    @property
    def suffix(self) -> str:
        """Lower case, with the dot."""
        return Path(self.name).suffix.lower()

    @cached_property
    def head(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(self.HEAD_BYTES)

    @cached_property
    def pickle(self) -> Pickle | None:
        """What its opcodes say, where it is a pickle (of joblib or not, compressed or not); it is not run."""
        return read_pickle(self.head)


class Recognised(msgspec.Struct, frozen=True):
    """What a format says of one file that is its own."""

    what: str  # for messages: "a pickle of sklearn.pipeline.Pipeline"
    runs_code: bool = False  # loading it runs code that its bytes carry
    forks: bool = True  # it may be loaded once and shared by forked workers; False: each worker loads for itself
    sure: bool = True  # told by the bytes; False: only its name says so, and loading will tell


class Found(msgspec.Struct, frozen=True):
    """A model, told from names and bytes before anything of it, or any library, was imported."""

    format: Format
    file: str  # relative name of the model's file: "model.joblib", "MLmodel"
    told: Recognised

    @property
    def runs_code(self) -> bool:
        return self.told.runs_code

    @property
    def forks(self) -> bool:
        return self.told.forks


class Settings(msgspec.Struct, frozen=True):
    """How a model is loaded."""

    threads: int = 1  # that one predict may use
    timeout_seconds: float = 60.0  # of a request: an explanation is given up before that
    rows_independent: bool | None = None  # as the manifest says; None: as the format and model.json say


@dataclass(frozen=True)
class LoadedModel:
    """A predictor and what is worth telling about where it came from."""

    predictor: Predictor
    versions: Mapping[str, str] = field(default_factory=dict)  # packages in use: {"scikit-learn": "1.9.1"}
    warnings: tuple[str, ...] = ()  # "saved with scikit-learn 1.5.0, loaded with 1.9.1: …"
    authored: Mapping[str, Any] = field(default_factory=dict)  # what the model's code declares for a dialect, by its option's name: JSON


class Format(Protocol):
    """One module each; stateless."""

    name: ClassVar[str]

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        """None when the file is not ours. Imports no library and runs nothing.

        `declared`: the user says that it is of this format, which decides where the bytes fit two (a pickle may be sklearn or cloudpickle).
        """

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        """The predictor, with the signature that the model itself knows. It does not predict.

        Raises `MissingLibrary` (naming the extra), `ModelLoadFailed`, `UnsupportedFormat`.
        """
