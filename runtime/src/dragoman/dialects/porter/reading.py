"""Requests: a body parsed, its rows, and the table that the model is given."""

from __future__ import annotations

import json as standard
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import orjson

from dragoman.dialects.dialect import Request
from dragoman.errors import BadRequest
from dragoman.porter.refusal import Refused
from dragoman.porter.schemas.vocabulary import FAILED
from dragoman.table import MISSING, Table

ROW = "row"  # the one column of a table whose cells are whole rows, as an author's own code is given them


def identity(request: Request) -> str:
    """The id of a reply: a UUID as 32 hex digits. The client's own, from `X-Request-Id`, where that is one."""
    if request.noted is None:
        if _UUID4.fullmatch(request.request_id):
            request.noted = request.request_id
        else:
            request.noted = uuid.uuid4().hex
            if "x-request-id" not in request.headers and "traceparent" not in request.headers:
                request.request_id = request.noted  # one id, in the reply's body and header and in the log
    found: str = request.noted
    return found


def parse(body: bytes) -> Any:
    """The JSON of a request, integers of any size exact. `BadRequest` where it is none, or null."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        # orjson makes floats of integers beyond 64 bits: an id must come back as it was sent
        document = orjson.loads(body) if _LONG.search(body) is None else standard.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    if document is None:
        raise BadRequest("the body is null, JSON of rows was expected")
    return document


def rows_of(document: Any, *, single: bool) -> Sequence[dict[str, Any]]:
    """The rows, each with an id. `Refused`, in the words of a schema that asks for no more than that."""
    if single:
        _check_row(document, "data")
        return (document,)
    if type(document) is not list:
        _fail("data must be array")
    for i, row in enumerate(document):
        if type(row) is not dict or "id" not in row:
            _check_row(row, f"data[{i}]")
    rows: list[dict[str, Any]] = document
    return rows


def feature_table(rows: Sequence[Mapping[str, Any]], features: Sequence[str]) -> Table:
    """The columns that the model takes, in its order; a value that a row does not have is `MISSING`."""
    if not rows:
        return Table.of_array(np.empty((0, len(features))))
    return Table.of_rows([[row.get(name, MISSING) for name in features] for row in rows])


def row_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Whole rows, one a cell."""
    column = np.empty(len(rows), dtype=object)
    column[:] = rows
    return Table.of_columns({ROW: column})


def shape_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Columns and the types in each: rows of different shapes make columns of different types, and so must not share a frame."""
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name, set()).add(type(value))
    whole = all(len(row) == len(kinds) for row in rows)
    return (whole, *((name, tuple(sorted(kind.__name__ for kind in found))) for name, found in kinds.items()))


def _check_row(row: Any, where: str) -> None:
    if type(row) is not dict:
        _fail(f"{where} must be object")
    if "id" not in row:
        _fail(f"{where} must contain ['id'] properties")


def _fail(text: str) -> NoReturn:
    raise Refused(422, "UnprocessableEntity", [f"{FAILED}: {text}"])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_UUID4 = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")
_LONG = re.compile(rb"[0-9]{20}")
