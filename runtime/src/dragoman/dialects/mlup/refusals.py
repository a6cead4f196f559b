"""What this API refuses by rules of its own, and the texts that it does so with: pydantic 1's, or, as pymlup 0.4, pydantic 2's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dragoman.errors import CallError

Detail = dict[str, Any]  # {"loc": […], "msg": …, "type": …}
Location = tuple[str | int, ...]


class Unprocessable(CallError):
    """The request is not what the model's method takes: one detail for each place that is wrong."""

    status = 422
    reason = "InvalidInput"

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__("; ".join(detail["msg"] for detail in details[:3]))
        self.details = details


class TransformFailed(CallError):
    """The rows cannot be made what the model is given."""

    status = 500
    reason = "InvalidInput"


def invalid_json(why: str) -> Unprocessable:
    return Unprocessable([{"loc": [], "msg": f"Invalid json data: {why}", "type": "validation_error"}])


def detail(location: Location, kind: str, compatibility: str | None) -> Detail:
    """`kind`: a key of `_TEXTS`; `null.…` is null where a value of that kind was wanted."""
    msg, type_ = _TEXTS_04[kind.removeprefix("null.")] if compatibility else _TEXTS["null" if kind.startswith("null.") else kind]
    return {"loc": list(location), "msg": msg, "type": type_}


_TEXTS = {
    "missing": ("field required", "value_error.missing"),
    "null": ("none is not an allowed value", "type_error.none.not_allowed"),
    "dict": ("value is not a valid dict", "type_error.dict"),
    "list": ("value is not a valid list", "type_error.list"),
    "int": ("value is not a valid integer", "type_error.integer"),
    "float": ("value is not a valid float", "type_error.float"),
    "bool": ("value could not be parsed to a boolean", "type_error.bool"),
    "str": ("str type expected", "type_error.str"),
}
_TEXTS_04 = {
    "missing": ("Field required", "missing"),
    "dict": ("Input should be a valid dictionary or instance of MLupModelColumns", "model_type"),
    "list": ("Input should be a valid list", "list_type"),
    "int": ("Input should be a valid integer", "int_type"),
    "float": ("Input should be a valid number", "float_type"),
    "bool": ("Input should be a valid boolean", "bool_type"),
    "str": ("Input should be a valid string", "string_type"),
}
