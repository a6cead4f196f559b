"""Loading a pickle, of joblib or not: the one place where a model file's own code runs."""

from __future__ import annotations

import mmap
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dragoman.errors import DragomanError, ModelLoadFailed
from dragoman.formats.format import Candidate
from dragoman.formats.libraries import display_name, missing, require

_MAX_WARNINGS = 10


class Heard(msgspec.Struct):
    """What the libraries had to say while loading, in plain words, each once."""

    lines: list[str] = msgspec.field(default_factory=list)

    def add(self, line: str) -> None:
        if line not in self.lines and len(self.lines) < _MAX_WARNINGS:
            self.lines.append(line)


def unpickle(name: str, path: Path) -> tuple[Any, tuple[str, ...]]:
    """The object, and what the libraries warned of. Raises `MissingLibrary`, or `ModelLoadFailed` with one line."""
    candidate = Candidate(name, path)
    with guarded(name) as heard:
        if _is_joblib(candidate):
            model = require("joblib", name).load(path)
        else:
            with path.open("rb") as file:
                model = pickle.load(file)
    return model, tuple(heard.lines)


@contextmanager
def guarded(name: str) -> Iterator[Heard]:
    """Around a library's loading: warnings are heard, and whatever is raised becomes a `ServeError` of one line that names the file."""
    heard = Heard()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield heard
            finally:
                for warning in caught:
                    _hear(heard, warning.message)
    except DragomanError:
        raise
    except ModuleNotFoundError as error:
        raise missing(error, name) from error
    except EOFError as error:
        raise ModelLoadFailed(f"{name} could not be loaded: the file ends too soon ({one_line(error)}): copy or save it again") from error
    except Exception as error:  # the model's own code may raise anything
        raise ModelLoadFailed(f"{name} could not be loaded: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error's own words, in one line of at most 300 characters."""
    words = str(error).partition("Stack trace:")[0]  # xgboost's
    text = " ".join(words.split()) or type(error).__name__
    if not isinstance(error, DragomanError) and type(error).__name__ not in text:
        text = f"{type(error).__name__}: {text}" if text != type(error).__name__ else text
    return text if len(text) <= 300 else text[:299] + "…"


def version_warning(package: str, saved: str, now: str) -> str:
    """The line that tells of a package whose version is not the one that the model was saved with."""
    return f"saved with {package} {saved}, loaded with {now}: answers may differ; save it again with {now}, or install {saved}"


def _hear(heard: Heard, message: Warning | str) -> None:
    if type(message).__name__ == "InconsistentVersionWarning":  # scikit-learn's, imported or not
        saved, now = getattr(message, "original_sklearn_version", "?"), getattr(message, "current_sklearn_version", "?")
        heard.add(version_warning(display_name("sklearn"), saved, now))
    elif isinstance(message, UserWarning | RuntimeWarning):
        text = " ".join(str(message).split())
        heard.add(text if len(text) <= 300 else text[:299] + "…")


def _is_joblib(candidate: Candidate) -> bool:
    """Compressed, or with joblib's arrays between the opcodes (which plain pickle cannot read)."""
    if candidate.pickle is not None and candidate.pickle.compression is not None:
        return True
    if candidate.path.stat().st_size == 0:
        return False
    with candidate.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return whole.find(b"joblib.numpy_pickle") >= 0
