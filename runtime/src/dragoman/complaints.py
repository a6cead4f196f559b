"""What is wrong with a document, in the words of who wrote it: the path, what must stand there, what does, and what was probably meant."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_PYTHON = {"int": int, "float": float, "str": str, "bool": bool, "array": list, "object": dict, "null": type(None)}
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")
_ANY_KEY = "[...]"  # how msgspec writes that a value stands under some key of a map


def explained(error: msgspec.ValidationError, document: Any, kind: Any) -> str:
    """A msgspec error, led by its path. `kind` is the struct that the document was read as."""
    text, _, where = str(error).replace(" - at `key` in `$", " for a key - at `$").partition(" - at `$")
    path = where.removesuffix("`").lstrip(".")
    for pattern, words in _WORDS:
        found = pattern.fullmatch(text)
        if found:
            return words(found, *_place(document, path, found), kind)
    return f"{path or 'document'}: {text[:1].lower()}{text[1:]}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    near = _near(name, known)
    if near:
        return f"did you mean {near!r}?"
    return f"known here: {', '.join(known)}" if known else "nothing can be set here: write {}"


def _near(name: str, known: Sequence[str]) -> str | None:
    import difflib  # here: most documents have nothing wrong

    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(int(value) if isinstance(value, float) and value.is_integer() else value)
    return text if len(text) <= 60 else text[:57] + "…" + text[0] * isinstance(value, str)


def _unknown(found: re.Match[str], path: str, value: Any, kind: Any) -> str:
    return f"{_below(path, found[1])}: unknown field; {did_you_mean(found[1], _fields_at(kind, path))}"


def _required(found: re.Match[str], path: str, value: Any, kind: Any) -> str:
    return f"{_below(path, found[1])}: is missing"


def _wrong_type(found: re.Match[str], path: str, value: Any, kind: Any) -> str:
    import yaml  # here: what is served without a manifest needs none

    wanted = [_TYPES.get(name.strip(), name.strip()) for name in found[1].split("|") if name.strip() != "null"]
    got = shown(value) if value is not _NOWHERE else _TYPES.get(found[2], found[2])
    meant = next((choice for choice in _choices_at(kind, path) if isinstance(value, bool) and yaml.safe_load(choice) is value), None)
    if meant is not None:
        return f'{path}: write "{meant}" in quotes: YAML reads {meant} as {got}'
    text = str(value).lower() if isinstance(value, bool) else value
    quoted = f': in quotes it is one: "{text}"' if wanted == ["a string"] and isinstance(value, int | float) else ""
    return f"{path or 'document'}: must be {' or '.join(wanted)}, got {got}{quoted}"


def _wrong_key(found: re.Match[str], path: str, value: Any, kind: Any) -> str:
    kinds = [_PYTHON[name] for name in re.findall(r"\w+", found[1]) if name in _PYTHON]
    key = next((key for key in value if type(key) not in kinds), None) if isinstance(value, Mapping) else None
    text = str(key).lower() if isinstance(key, bool) else key
    return f'{path or "document"}: its keys must be strings, got {shown(key)}: in quotes it is one: "{text}"'


def _wrong_choice(found: re.Match[str], path: str, value: Any, kind: Any) -> str:
    choices = [str(c) for c in _choices_at(kind, path)]
    near = _near(str(value), choices)
    mend = f"; did you mean {near!r}?" if near else ""
    return f"{path}: must be one of {', '.join(choices)}, got {shown(value) if value is not _NOWHERE else found[1]}{mend}"


_WORDS = (
    (re.compile(r"Object contains unknown field `(.*)`"), _unknown),
    (re.compile(r"Object missing required field `(.*)`"), _required),
    (re.compile(r"Expected `([^`]*)`, got `([^`]*)`"), _wrong_type),
    (re.compile(r"Expected `([^`]*)`, got `[^`]*` for a key"), _wrong_key),
    (re.compile(r"Invalid enum value (.*)"), _wrong_choice),
)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class _Nowhere:
    """Stands for a value that the path does not lead to: below a key of any name."""


_NOWHERE = _Nowhere()


def _place(document: Any, path: str, found: re.Match[str]) -> tuple[str, Any]:
    """A path, and what stands there. Of a map, whose keys msgspec does not name, it is the first value of the type that was refused."""
    if not path.endswith(_ANY_KEY):
        return path.replace(_ANY_KEY, "[]"), _value_at(document, path)
    path = path.removesuffix(_ANY_KEY)
    values, refused = _value_at(document, path), _PYTHON.get(found[found.re.groups])
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if type(value) is refused:
            return f"{path}.{key}" if str(key).isidentifier() else f"{path}[{str(key)!r}]", value
    return f"{path}[]", _NOWHERE


def _value_at(document: Any, path: str) -> Any:
    at = document
    for part in _INDEX.finditer(path):
        try:
            at = at[int(part[1])] if part[1] else at[part[2]]
        except (LookupError, TypeError, ValueError):
            return _NOWHERE
    return at


def _hint_at(kind: Any, path: str) -> Any:
    """The type that stands at a path: indexes go into a list's items."""
    hint: Any = kind
    for part in _INDEX.finditer(path):
        struct = _struct_in(hint)
        if part[2] is None:
            continue
        if struct is None:
            return None
        names = {f.encode_name: f.name for f in msgspec.structs.fields(struct)}
        if part[2] not in names:
            return None
        hint = typing.get_type_hints(struct)[names[part[2]]]
    return hint


def _fields_at(kind: Any, path: str) -> list[str]:
    struct = _struct_in(_hint_at(kind, path))
    return [] if struct is None else [f.encode_name for f in msgspec.structs.fields(struct)]


def _choices_at(kind: Any, path: str) -> list[Any]:
    return _literals(_hint_at(kind, path))


def _literals(hint: Any) -> list[Any]:
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    return [found for arg in typing.get_args(hint) for found in _literals(arg)]


def _struct_in(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return next((found for arg in typing.get_args(hint) if (found := _struct_in(arg)) is not None), None)
