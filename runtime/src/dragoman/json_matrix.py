"""Rows of numbers, straight from text into an array: a third of what JSON costs by way of lists of Python's floats, a quarter of what CSV
costs in numpy's own reader.

It is simdjson's parser and its flat copy of an array. What is not a plain matrix of numbers is left to the other ways, and so is every text
that may be wrong: so what is accepted, what it becomes, and what is said of it do not depend on this module.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dragoman.table import Array

LEAST_BYTES = 1024  # of a smaller body the list of floats is made as fast
_KEPT_BYTES = 1024 * 1024  # the most that a parser is kept for: it takes up to 16 times as much
_PIECE_BYTES = _KEPT_BYTES // 4  # of lines that are parsed at once: with brackets around each they are more
_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_NEGATIVE_ZERO = re.compile(rb"-0[ \t\r\n,]|-0\Z")  # an integer to JSON, and those have none
_kept = threading.local()


def matrix_in(body: bytes, least_bytes: int = LEAST_BYTES) -> Array | None:
    """Shape (rows, features), float64, of `{"instances": [[…], …]}`, also with `inputs` for a key; None where the body is not just that.

    Some number must have a point: integers alone are an array of integers, and those are not read here.
    """
    head = _HEAD.match(body) if len(body) >= least_bytes else None
    if head is None or (parser := _parser(len(body))) is None:
        return None
    start = head.end()
    if body.find(b'"', start) >= 0 or body.find(b".", start) < 0:  # another key, or a string
        return None
    matrix = _matrix(lambda: parser.parse(body)[head[1].decode()])
    if matrix is None or np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == ord("[")) != len(matrix) + 1:  # a list within a row
        return None
    return matrix


def matrix_of_lines(content: bytes) -> Array | None:
    """Shape (rows, columns), float64, of lines of numbers with commas between them (CSV); None where the content is not just that.

    A number that JSON writes otherwise (`.5`, `+1`, `nan`, a blank line) is not read here, nor is a negative zero without a point.
    """
    if b"[" in content or content.count(b"\r") != content.count(b"\r\n"):  # to JSON a lone one is a space, to CSV a line's end
        return None
    matrices: list[Array] = []
    at = 0
    while at < len(content):  # in pieces, so that what the parser takes is kept, and small
        end = content.rfind(b"\n", at, at + _PIECE_BYTES) + 1 or len(content)
        matrix = _matrix_of_lines(content[at:end])
        if matrix is None or matrix.shape[1] != (matrices or [matrix])[0].shape[1]:
            return None
        matrices.append(matrix)
        at = end
    return np.concatenate(matrices) if matrices else None


def _matrix_of_lines(content: bytes) -> Array | None:
    if (parser := _parser(len(content))) is None:
        return None
    matrix = _matrix(lambda: parser.parse(b"[[" + content.removesuffix(b"\n").replace(b"\n", b"],[") + b"]]"))
    if matrix is None or not matrix.size or (not matrix.all() and _NEGATIVE_ZERO.search(content)):
        return None
    return matrix


def _matrix(parse: Callable[[], Any]) -> Array | None:
    try:
        rows = parse()
        widths = {len(row) for row in rows}
        flat = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
    except (ValueError, TypeError, ArithmeticError, RuntimeError):
        return None
    if len(widths) != 1 or flat.size != len(rows) * next(iter(widths)):
        return None
    return flat.reshape(len(rows), -1)


@cache
def _simdjson() -> Callable[[], Any] | None:
    """What makes a parser; None where simdjson is not installed: it has no wheels for every Python that this runs on."""
    try:
        import simdjson
    except ImportError:
        return None
    parser: Callable[[], Any] = simdjson.Parser
    return parser


def _parser(size: int) -> Any:
    """For one body: this thread's own, which keeps the room of the largest that it had, or for a large one its own."""
    make = _simdjson()
    if make is None or size > _KEPT_BYTES:
        return make and make()
    if not hasattr(_kept, "parser"):
        _kept.parser = make()
    return _kept.parser
