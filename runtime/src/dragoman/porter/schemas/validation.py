"""JSON held against a schema: the JSON Schema keywords that the porter API checks, with its texts: `data[0].a must be integer`.

A schema is compiled once into closures; a value that conforms is passed through without a string being built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], None]


class BadSchema(ValueError):
    """A schema that cannot be used: a pattern that is none, a bound that is no number."""


class Invalid(ValueError):
    """A value that a schema refuses: where it is, below the root, and what it must be."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule, self.path = rule, ""

    @property
    def text(self) -> str:
        """`data[0].a must be integer`."""
        return f"data{self.path} {self.rule}"


def compiled(schema: Mapping[str, Any]) -> Check:
    """Raises `Invalid` for a value that the schema refuses. Keywords that it does not know only document.

    `BadSchema` where a keyword's own value cannot be used.
    """
    checks = [check for keyword, make in _KEYWORDS.items() if keyword in schema and (check := make(schema[keyword], schema)) is not None]
    nullable = schema.get("nullable") is True

    def check_all(value: Any) -> None:
        if nullable and value is None:
            return
        for check in checks:
            check(value)

    return checks[0] if len(checks) == 1 and not nullable else check_all


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_integer,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def _type(names: Any, schema: Mapping[str, Any]) -> Check:
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in _TYPES]
    if unknown or not wanted:
        raise BadSchema(f"type must be one of {', '.join(_TYPES)}, got {names!r}")
    told = [*wanted, "null"] if schema.get("nullable") is True and "null" not in wanted else wanted
    rule = f"must be {' or '.join(told)}"
    if len(wanted) == 1:
        only = _TYPES[wanted[0]]

        def check_one(value: Any) -> None:
            if not only(value):
                raise Invalid(rule)

        return check_one
    tests = [_TYPES[name] for name in wanted]

    def check(value: Any) -> None:
        if not any(test(value) for test in tests):
            raise Invalid(rule)

    return check


def _same(one: Any, other: Any) -> bool:
    """JSON's equality: 1 is 1.0, and is not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _enum(values: Any, schema: Mapping[str, Any]) -> Check:
    choices = list(_sequence("enum", values))
    return _rule(lambda value: any(_same(value, choice) for choice in choices), f"must be one of {choices}")


def _const(wanted: Any, schema: Mapping[str, Any]) -> Check:
    return _rule(lambda value: _same(value, wanted), f"must be same as const definition: {wanted}")


def _all_of(schemas: Any, schema: Mapping[str, Any]) -> Check:
    checks = [compiled(one) for one in _sequence("allOf", schemas)]

    def check(value: Any) -> None:
        for one in checks:
            one(value)

    return check


def _any_of(schemas: Any, schema: Mapping[str, Any]) -> Check:
    checks = [compiled(one) for one in _sequence("anyOf", schemas)]
    return _rule(lambda value: any(_passes(check, value) for check in checks), "cannot be validated by any definition")


def _one_of(schemas: Any, schema: Mapping[str, Any]) -> Check:
    checks = [compiled(one) for one in _sequence("oneOf", schemas)]
    return _rule(lambda value: sum(_passes(check, value) for check in checks) == 1, "must be valid exactly by one definition")


def _not(unwanted: Any, schema: Mapping[str, Any]) -> Check:
    check = compiled(unwanted)
    return _rule(lambda value: not _passes(check, value), "must NOT match a disallowed definition")


def _passes(check: Check, value: Any) -> bool:
    try:
        check(value)
    except Invalid:
        return False
    return True


def _pattern(pattern: Any, schema: Mapping[str, Any]) -> Check:
    try:
        found = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise BadSchema(f"pattern {pattern!r} is no regular expression: {error}") from None
    return _of(str, lambda value: found(value) is not None, f"must match pattern {pattern}")


def _format(name: Any, schema: Mapping[str, Any]) -> Check | None:
    pattern = _FORMATS.get(name) if isinstance(name, str) else None
    return None if pattern is None else _of(str, lambda value: pattern.fullmatch(value) is not None, f"must be {name}")


def _minimum(bound: Any, schema: Mapping[str, Any]) -> Check:
    number = _number("minimum", bound)
    if schema.get("exclusiveMinimum") is True:  # OpenAPI 3.0's form
        return _numeric(lambda value: value > number, f"must be bigger than {number}")
    return _numeric(lambda value: value >= number, f"must be bigger than or equal to {number}")


def _maximum(bound: Any, schema: Mapping[str, Any]) -> Check:
    number = _number("maximum", bound)
    if schema.get("exclusiveMaximum") is True:
        return _numeric(lambda value: value < number, f"must be smaller than {number}")
    return _numeric(lambda value: value <= number, f"must be smaller than or equal to {number}")


def _exclusive_minimum(bound: Any, schema: Mapping[str, Any]) -> Check | None:
    if isinstance(bound, bool):
        return None
    number = _number("exclusiveMinimum", bound)
    return _numeric(lambda value: value > number, f"must be bigger than {number}")


def _exclusive_maximum(bound: Any, schema: Mapping[str, Any]) -> Check | None:
    if isinstance(bound, bool):
        return None
    number = _number("exclusiveMaximum", bound)
    return _numeric(lambda value: value < number, f"must be smaller than {number}")


def _multiple_of(factor: Any, schema: Mapping[str, Any]) -> Check:
    number = _number("multipleOf", factor)
    if number <= 0:
        raise BadSchema(f"multipleOf must be greater than 0, got {number}")

    def divides(value: Any) -> bool:
        if isinstance(value, int) and isinstance(number, int):
            return value % number == 0
        quotient = value / number
        return float(quotient).is_integer()

    return _numeric(divides, f"must be multiple of {number}")


def _count(kind: type | tuple[type, ...], least: bool, rule: str) -> Callable[[Any, Mapping[str, Any]], Check]:
    def make(bound: Any, schema: Mapping[str, Any]) -> Check:
        number = _number("a count", bound)
        return _of(kind, lambda value: (len(value) >= number) if least else (len(value) <= number), rule.format(number))

    return make


def _unique_items(wanted: Any, schema: Mapping[str, Any]) -> Check | None:
    if wanted is not True:
        return None
    return _of(
        _LIST, lambda value: not any(_same(value[i], other) for i in range(len(value)) for other in value[:i]), "must contain unique items"
    )


def _items(schema_of_item: Any, schema: Mapping[str, Any]) -> Check:
    check_item = compiled(schema_of_item)

    def check(value: Any) -> None:
        if isinstance(value, list | tuple):
            i = 0
            try:
                for i, item in enumerate(value):  # noqa: B007  the error needs it
                    check_item(item)
            except Invalid as error:
                error.path = f"[{i}]{error.path}"
                raise

    return check


def _required(names: Any, schema: Mapping[str, Any]) -> Check | None:
    wanted = list(_sequence("required", names))
    if not wanted:
        return None
    every = frozenset(wanted)

    def check(value: Any) -> None:
        if isinstance(value, dict) and not every <= value.keys():
            raise Invalid(f"must contain {[name for name in wanted if name not in value]} properties")

    return check


def _properties(schemas: Any, schema: Mapping[str, Any]) -> Check:
    if not isinstance(schemas, Mapping):
        raise BadSchema(f"properties must be an object of schemas by name, got {schemas!r}")
    checks = [(name, compiled(one)) for name, one in schemas.items()]

    def check(value: Any) -> None:
        if isinstance(value, dict):
            name = ""
            try:
                for name, check_property in checks:
                    if name in value:
                        check_property(value[name])
            except Invalid as error:
                error.path = f".{name}{error.path}"
                raise

    return check


def _additional_properties(allowed: Any, schema: Mapping[str, Any]) -> Check | None:
    known = frozenset(schema.get("properties") or ())
    if allowed is True:
        return None
    check_other = None if allowed is False else compiled(allowed)

    def check(value: Any) -> None:
        if not isinstance(value, dict) or value.keys() <= known:
            return
        if check_other is None:
            raise Invalid(f"must not contain {sorted(value.keys() - known)} properties")
        name = ""
        try:
            for name, item in value.items():
                if name not in known:
                    check_other(item)
        except Invalid as error:
            error.path = f".{name}{error.path}"
            raise

    return check


def _rule(holds: Callable[[Any], bool], rule: str) -> Check:
    def check(value: Any) -> None:
        if not holds(value):
            raise Invalid(rule)

    return check


def _of(kind: type | tuple[type, ...], holds: Callable[[Any], bool], rule: str) -> Check:
    """A rule for values of one kind; others pass it."""
    return _rule(lambda value: not isinstance(value, kind) or holds(value), rule)


def _numeric(holds: Callable[[Any], bool], rule: str) -> Check:
    return _rule(lambda value: not _is_number(value) or holds(value), rule)


def _number(keyword: str, value: Any) -> int | float:
    if not _is_number(value):
        raise BadSchema(f"{keyword} must be a number, got {value!r}")
    number: int | float = value
    return number


def _sequence(keyword: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise BadSchema(f"{keyword} must be a list, got {value!r}")
    return value


_LIST = (list, tuple)
_FORMATS = {
    "date-time": re.compile(r"\d{4}-[01]\d-[0-3]\d[tT ][0-2]\d:[0-5]\d:[0-6]\d(\.\d+)?([zZ]|[+-][0-2]\d:?[0-5]\d)?"),
    "date": re.compile(r"\d{4}-[01]\d-[0-3]\d"),
    "time": re.compile(r"[0-2]\d:[0-5]\d:[0-6]\d(\.\d+)?([zZ]|[+-][0-2]\d:?[0-5]\d)?"),
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
}
# in the order in which they are checked: the first that fails is told
_KEYWORDS: dict[str, Callable[[Any, Mapping[str, Any]], Check | None]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "minLength": _count(str, True, "must be longer than or equal to {} characters"),
    "maxLength": _count(str, False, "must be shorter than or equal to {} characters"),
    "pattern": _pattern,
    "format": _format,
    "minimum": _minimum,
    "maximum": _maximum,
    "exclusiveMinimum": _exclusive_minimum,
    "exclusiveMaximum": _exclusive_maximum,
    "multipleOf": _multiple_of,
    "minItems": _count(_LIST, True, "must contain at least {} items"),
    "maxItems": _count(_LIST, False, "must contain less than or equal to {} items"),
    "uniqueItems": _unique_items,
    "items": _items,
    "minProperties": _count(dict, True, "must contain at least {} properties"),
    "maxProperties": _count(dict, False, "must contain less than or equal to {} properties"),
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional_properties,
}
