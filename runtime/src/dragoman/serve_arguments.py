"""What `dragoman serve` is asked for, read from the command line without the library that explains it.

Typer brings pydantic, and builds an adapter for each option of each command: a quarter of the time until a small model is served, and
memory that every process of the server would hold. So plain arguments are read by argparse, from the fields below; help, and whatever is
not plain, is left to `cli.py`, whose command has the same options (a test holds them to each other).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import msgspec

from dragoman.settings import CodeFormats

_COMMAND = "serve"
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
_Bytes = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_SomeSeconds = Annotated[float, msgspec.Meta(ge=0.1)]


class ServeArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Field `grpc_port` is the option `--grpc-port`, or `DRAGOMAN_GRPC_PORT` in the environment; `dragoman serve --help` explains each."""

    targets: Annotated[list[str], msgspec.Meta(min_length=1)]
    host: str = "127.0.0.1"
    port: _Port = 8080
    grpc_port: _Port = 9000
    management_port: _Port = 9090
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    code_formats: CodeFormats = "Allow"
    cache_dir: str | None = None
    cache_bytes: _Bytes | None = None
    cache_size: _AtLeastOne | None = None
    drain_seconds: _Seconds = 1.0
    termination_log: str | None = None
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: str = "INFO"
    access_log: bool = False
    head_seconds: _SomeSeconds = 20.0
    keep_alive_seconds: _SomeSeconds = 75.0
    start_method: Literal["auto", "fork", "fresh"] = "auto"


_PATHS = ("cache_dir", "termination_log")


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> ServeArguments | None:
    """The arguments of a plain `serve …`; None where they are another command's, not plain, or wrong."""
    if not arguments or arguments[0] != _COMMAND:
        return None
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    options = [name for name in ServeArguments.__struct_fields__ if name != "targets"]
    for name in options:
        flag = "--" + name.replace("_", "-")
        if name == "access_log":  # the one that takes no value
            parser.add_argument(flag, action="store_const", const="true")
        else:
            parser.add_argument(flag)
    given = {name: said for name in options if (said := environment.get(f"DRAGOMAN_{name.upper()}"))}
    try:
        asked, strange = parser.parse_known_intermixed_args(list(arguments[1:]))
        if strange:
            return None
        found = given | vars(asked)
        found |= {name: str(Path(found[name])) for name in _PATHS if name in found}
        return msgspec.convert(found, ServeArguments, strict=False)
    except (_NotPlainError, msgspec.ValidationError):
        return None


class _NotPlainError(Exception):
    """Typer says it better."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _NotPlainError(message)
