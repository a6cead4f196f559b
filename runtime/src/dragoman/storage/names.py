"""Names of a model's files: which are taken, and how one stands on disk."""

from __future__ import annotations

import re

from dragoman.errors import UnsupportedFormat

PART_BYTES = 255  # the longest name that common file systems take
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\]")


def relative_name(name: str, within: str) -> str:
    """A file's name inside a model, as `folder/model.joblib`; `./` parts go. Raises `UnsupportedFormat` naming `within`.

    Refused: absolute names, `..`, backslashes and control characters (they mean different things on different systems), parts
    longer than 255 bytes, and names that are not valid Unicode.
    """
    problem = _problem(name)
    if problem:
        raise UnsupportedFormat(f"{within}: the file name {name!r} {problem}; rename it and upload again")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def disk_name(name: str) -> str:
    """The name under which a model that is a single file stands on disk: its own where that can be, else `model` and its suffix."""
    if not _problem(name) and "/" not in name and name not in ("", "."):
        return name
    suffix = re.search(r"\.[A-Za-z0-9]{1,10}$", name)
    return f"model{suffix[0] if suffix else ''}"


def _problem(name: str) -> str | None:
    try:
        parts = [part.encode() for part in name.split("/")]
    except UnicodeEncodeError:
        return "is not valid Unicode"
    problems = {
        "is absolute": name.startswith("/") or re.match(r"[A-Za-z]:[\\/]", name) is not None,
        "leads out of the model with '..'": b".." in parts,
        "has a backslash or a control character": _UNPRINTABLE.search(name) is not None,
        f"has a part longer than {PART_BYTES} bytes": any(len(part) > PART_BYTES for part in parts),
        "is empty": not any(part not in (b"", b".") for part in parts),
    }
    return next((problem for problem, found in problems.items() if found), None)
