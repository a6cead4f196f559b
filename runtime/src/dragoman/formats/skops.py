"""skops files: estimators as data. What is in them is built from a named list of types, and nothing else is."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from dragoman.errors import PolicyViolation
from dragoman.formats.format import Candidate
from dragoman.formats.libraries import require
from dragoman.formats.unpickle import guarded

# Types that skops does not trust by itself, looked through and found to build themselves from numbers only.
_NAMES = """
sklearn._loss.link.IdentityLink sklearn._loss.link.Interval sklearn._loss.link.LogLink sklearn._loss.link.LogitLink
"""
TRUSTED = frozenset(_NAMES.split())


def is_skops(candidate: Candidate) -> bool:
    """A zip archive with skops' schema.json."""
    if not candidate.head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(candidate.path) as archive:
            return "schema.json" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def load(name: str, path: Path) -> tuple[Any, tuple[str, ...]]:
    """The estimator, and what was warned of. `PolicyViolation` names the types that are not on the list."""
    io = require("skops.io", name)
    with guarded(name) as heard:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - TRUSTED)
        if unknown:
            raise PolicyViolation(
                f"{name} holds types that are not trusted as data: {', '.join(unknown[:5])}: save it with joblib, and pin its digest"
            )
        model = io.load(path, trusted=sorted(TRUSTED))
    return model, tuple(heard.lines)
