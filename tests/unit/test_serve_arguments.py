"""`dragoman serve`'s plain arguments are read without Typer, and come to what Typer makes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main

from dragoman import serve_arguments
from dragoman.cli import app
from dragoman.serve_arguments import ServeArguments


def by_typer(*words: str) -> dict[str, Any]:
    """What `cli.serve` is called with."""
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    params = serve.make_context("serve", list(words)).params
    return {name: str(value) if isinstance(value, Path) else list(value) if name == "targets" else value for name, value in params.items()}


def read(*words: str, **environment: str) -> ServeArguments | None:
    return serve_arguments.read(["serve", *words], environment)


@pytest.mark.parametrize(
    "words",
    [
        ["model.joblib"],
        ["a.yaml", "b.yaml", "--port", "0", "--workers", "4"],
        ["--host=0.0.0.0", "model.joblib", "--code-formats", "RequireDigest", "--log-level", "debug"],
        ["--cache-dir", "x//y/", "--cache-bytes", "100", "--cache-size", "3", "folder/", "--termination-log", "./t"],
        ["m", "--drain-seconds", "0", "--head-seconds", "0.5", "--keep-alive-seconds=7", "--start-method", "fresh", "--log-format", "text"],
        ["m", "--access-log", "--grpc-port", "1", "--management-port", "65535"],
        ["s3://models/iris/", "--host", "", "--port", "1", "--port", "2"],
    ],
)
def test_plain_arguments_come_to_what_typer_makes_of_them(words: list[str]) -> None:
    found = read(*words)
    assert found is not None
    assert msgspec.structs.asdict(found) == by_typer(*words)


def test_the_environment_speaks_where_the_command_line_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "DRAGOMAN_PORT": "1",
        "DRAGOMAN_HOST": "",
        "DRAGOMAN_ACCESS_LOG": "true",
        "DRAGOMAN_GRPC_PORT": "7",
        "DRAGOMAN_CACHE_DIR": "a/./b",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    found = read("m", "--port", "2", **said)
    assert found is not None
    assert msgspec.structs.asdict(found) == by_typer("m", "--port", "2")
    assert (found.port, found.grpc_port, found.host, found.access_log) == (2, 7, "127.0.0.1", True)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["-h"],
        ["m", "--no-such-option", "1"],
        ["m", "--Port", "1"],
        ["m", "--port"],
        ["m", "--port", "65536"],
        ["m", "--port", "many"],
        ["m", "--workers", "0"],
        ["m", "--head-seconds", "0"],
        ["m", "--code-formats", "Perhaps"],
        ["m", "--no-access-log"],
        ["m", "--access-log=1"],
        ["--", "-m"],
    ],
)
def test_what_is_wrong_or_not_plain_is_left_to_typer(words: list[str]) -> None:
    assert read(*words) is None


def test_other_commands_are_not_ours() -> None:
    assert serve_arguments.read(["predict", "m"], {}) is None
    assert serve_arguments.read([], {}) is None


def test_serving_imports_neither_typer_nor_what_only_workers_need() -> None:
    unwanted = "typer pydantic rich starlette numpy pandas grpc google.protobuf yaml difflib"
    code = f"""
import sys
from dragoman import serve_arguments, startup, supervisor
serve_arguments.read(["serve", "m"], {{}})
sys.exit(" ".join(name for name in {unwanted.split()} if name in sys.modules) or 0)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
