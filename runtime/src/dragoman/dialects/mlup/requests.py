"""From a request's body to rows and arguments, checked as pymlup checks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dragoman.call import Call
from dragoman.dialects.dialect import Model, Request
from dragoman.dialects.mlup.refusals import Detail, Location, Unprocessable, detail, invalid_json
from dragoman.dialects.mlup.rows import table_of
from dragoman.dialects.mlup.values import READ, NotThat
from dragoman.mlup_options import Column, Mlup
from dragoman.signature import Parameter, Signature
from dragoman.table import kind_of

UNDETECTED = "data_for_predict"  # the rows' key where the method's own parameters are not asked for
MAX_DETAILS = 1000  # of one reply


@dataclass(frozen=True, slots=True)
class Layout:
    """Under which keys a request has the rows, and the method's other arguments."""

    rows: str
    others: tuple[Parameter, ...] = ()


def layout_of(model: Model, options: Mlup) -> Layout:
    """As the model's method says it. Where that cannot be read: X; for ONNX input_data, as pymlup's own wrapper calls it."""
    if not options.auto_detect_predict_params:
        return Layout(UNDETECTED)
    parameters = model.signature.parameters.get(options.predict_method_name, ())
    if not parameters:
        return Layout("input_data" if model.format == "onnx" else "X")
    return Layout(parameters[0].name, parameters[1:])


def decoder(model: Model, options: Mlup) -> Callable[[Request], Call]:
    known: tuple[Signature, Layout] | None = None

    def decode(request: Request) -> Call:
        """Raises `Unprocessable` and `TransformFailed`."""
        nonlocal known
        signature = model.signature
        if known is None or known[0] is not signature:  # a model that was not loaded yet says more once it is
            known = signature, layout_of(model, options)
        rows, arguments = read(request.body, known[1], options)
        table = table_of(rows, options, signature)
        return Call(table, (options.predict_method_name,), arguments, checked=False, mixes=options.mode == "batching")

    return decode


def read(body: bytes, layout: Layout, options: Mlup) -> tuple[list[Any], dict[str, Any]]:
    """Rows and other arguments; keys that the method does not take are passed over."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid_json(str(error)) from None
    if not isinstance(document, dict):
        raise invalid_json(f"an object was expected, got {kind_of(document)}")
    wrong: list[Detail] = []
    rows = _rows(document, layout.rows, options, wrong)
    arguments = {}
    for parameter in layout.others:
        if parameter.name in document:
            value = document[parameter.name]
            arguments[parameter.name] = (
                value if parameter.type is None else _value(value, parameter.type, (parameter.name,), options, wrong)
            )
        elif parameter.required:
            wrong.append(detail((parameter.name,), "missing", options.compatibility))
    if wrong:
        raise Unprocessable(wrong[:MAX_DETAILS])
    return rows, arguments


def _rows(document: dict[str, Any], key: str, options: Mlup, wrong: list[Detail]) -> list[Any]:
    if key not in document:
        wrong.append(detail((key,), "missing", options.compatibility))
        return []
    rows = document[key]
    if not isinstance(rows, list):
        wrong.append(detail((key,), "null.list" if rows is None else "list", options.compatibility))
        return []
    if not options.column_validation:
        return rows
    return [_row(row, (key, i), options, wrong) for i, row in enumerate(rows)]


def _row(row: Any, location: Location, options: Mlup, wrong: list[Detail]) -> dict[str, Any]:
    """The declared columns of a row, in their order, each of its type."""
    if not isinstance(row, dict):
        wrong.append(detail(location, "null.dict" if row is None else "dict", options.compatibility))
        return {}
    return {column.name: _cell(row, column, location, options, wrong) for column in options.columns}


def _cell(row: dict[str, Any], column: Column, location: Location, options: Mlup, wrong: list[Detail]) -> Any:
    if column.name in row:
        return _value(row[column.name], column.type, (*location, column.name), options, wrong)
    if column.required and column.default is None:
        wrong.append(detail((*location, column.name), "missing", options.compatibility))
    return column.default


def _value(value: Any, kind: str, location: Location, options: Mlup, wrong: list[Detail]) -> Any:
    if value is None:
        wrong.append(detail(location, f"null.{kind}", options.compatibility))
        return None
    try:
        return READ[kind](value, options.compatibility)
    except NotThat:
        wrong.append(detail(location, kind, options.compatibility))
        return None


def example_of(model: Model, options: Mlup) -> dict[str, Any]:
    """A request with the signature's example row; where columns are declared, with those."""
    row = model.signature.example_row()
    key = layout_of(model, options).rows
    if options.columns:
        return {key: [{column.name: _example(row, column) for column in options.columns}]}
    if options.data_transformer_for_predict == "pandas" and row:
        return {key: [row]}
    return {key: [list(row.values()) or [0.0]]}


def _example(row: dict[str, Any], column: Column) -> Any:
    plain: dict[str, Any] = {"int": 0, "float": 0.0, "bool": True, "str": "text", "list": []}
    value = row.get(column.name, plain[column.type])
    return int(value) if column.type == "int" and isinstance(value, float) else value


def required_of(parameters: Sequence[Parameter]) -> list[str]:
    return [parameter.name for parameter in parameters if parameter.required]
