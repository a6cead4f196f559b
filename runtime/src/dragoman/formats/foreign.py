"""Files that are no model of ours, by what people know them as: for messages only."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF", "an HDF5 file, as Keras writes: export it to ONNX"),
    (0, b"GGUF", "a GGUF language model"),
    (0, b"PAR1", "a Parquet table"),
    (4, b"TFL3", "a TensorFlow Lite model: export it to ONNX"),
    (0, b"binf", "xgboost's old binary format: save it again as JSON or UBJ"),
    (0, b"PK\x03\x04", "a zip archive, as PyTorch and Keras write: export the model to ONNX"),
    (0, b"CBM1", "a CatBoost model: export it to ONNX, or save it with dragoman.save"),
    (0, b"\x04\x22\x4d\x18", "compressed with LZ4: save it again with zlib, gzip, bz2 or xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd: save it again with zlib, gzip, bz2 or xz"),
)
_STAND_INS: tuple[tuple[bytes, str], ...] = (  # what is found in a model's place, under its name; in lower case
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer and not the file: run `git lfs pull`, and take what is there then"),
    (b"<!doctype html", "an HTML page: the URI is that of a page, or of a login, and not of the file"),
    (b"<html", "an HTML page: the URI is that of a page, or of a login, and not of the file"),
    (b"<?xml", "XML, such as PMML, or an error of a store's that was saved as the file"),
)
_SUFFIXES = {
    ".pmml": "PMML",
    ".pt": "a PyTorch file: export it to ONNX",
    ".pth": "a PyTorch file: export it to ONNX",
    ".safetensors": "weights without a model",
    ".csv": "a table",
    ".md": "text",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".json": "JSON, but no xgboost model",
}
_MAX_SOURCE_BYTES = 1024 * 1024
_MODELLESS = "Python without a dragoman.Model, and without a ModelApp of dragoman.porter"
_ELSEWHERE = {"porter": "dragoman.porter", "seldon": "dragoman.seldon"}  # packages whose code runs here, by another name


def foreign(name: str, head: bytes) -> str | None:
    """What a file is, where it is something well known."""
    for offset, magic, what in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return what
    return _SUFFIXES.get(PurePosixPath(name).suffix.lower())


def stand_in(head: bytes) -> str | None:
    """What a file is that only bears a model's name; None where it is nothing that is known to happen."""
    start = head[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what for mark, what in _STAND_INS if start.startswith(mark)), None)


def modelless_python(path: Path) -> str:
    """What keeps a .py file from being a model. Nothing of it is run."""
    if path.stat().st_size > _MAX_SOURCE_BYTES:
        return "more than 1 MiB of Python"
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        return f"no valid Python: line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"no valid Python: {error}"
    imported = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    imported += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    old = next((package for name in imported if (package := name.partition(".")[0]) in _ELSEWHERE), None)
    return _MODELLESS if old is None else f"Python that imports {old}: write {_ELSEWHERE[old]} in its imports"
