"""The command line: serve, predict, inspect, digest, validate."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

import dragoman
from dragoman.errors import DragomanError, InvalidSpec, ServeError

app = typer.Typer(
    name="dragoman",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
Exit codes: 0 done · 1 failed · 2 wrong arguments · 10 InvalidSpec · 11 ModelNotFound · 12 AccessDenied · 13 DigestMismatch ·
14 UnsupportedFormat · 15 MissingLibrary · 16 PolicyViolation · 17 ModelLoadFailed · 18 OutOfMemory · 19 SignatureMismatch ·
20 StorageUnavailable · 21 DiskFull · 22 AddressInUse · 23 LoadTimeout · 24 WorkerFailed
""",
)


def main() -> None:
    app()


def _version(value: bool) -> None:
    if value:
        typer.echo(f"dragoman {dragoman.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """One model, every prediction API: serves a saved model in the protocol that its clients already speak.

    Start with `dragoman serve ./model.joblib`.
    """


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """A foreseen error is one sentence and its documented exit code, never a stack trace."""
    try:
        yield
    except DragomanError as error:
        typer.secho(f"{error.reason}: {error.message}", fg=typer.colors.RED, err=True)
        raise typer.Exit(error.exit_code if isinstance(error, ServeError) else 1) from None


Target = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET...",
        help="A manifest (or a folder of manifests), a model file or folder, or a URI: s3:// gs:// az:// https:// file://",
        show_default=False,
    ),
]


@app.command()
def serve(
    targets: Target,
    host: Annotated[str, typer.Option(envvar="DRAGOMAN_HOST", help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="DRAGOMAN_PORT", min=0, max=65535, help="REST and the docs page; 0 for any free port.")
    ] = 8080,
    grpc_port: Annotated[int, typer.Option(envvar="DRAGOMAN_GRPC_PORT", min=0, max=65535, help="gRPC.")] = 9000,
    management_port: Annotated[
        int, typer.Option(envvar="DRAGOMAN_MANAGEMENT_PORT", min=0, max=65535, help="/livez /readyz /metrics /status.")
    ] = 9090,
    workers: Annotated[
        int | None,
        typer.Option(envvar="DRAGOMAN_WORKERS", min=1, max=64, help="Worker processes; else the manifest's spec.serving.workers."),
    ] = None,
    code_formats: Annotated[
        Literal["Allow", "RequireDigest", "Deny"],
        typer.Option(
            envvar="DRAGOMAN_CODE_FORMATS", help="Formats that run code when they are loaded: served, only with a digest, or refused."
        ),
    ] = "Allow",
    cache_dir: Annotated[
        Path | None, typer.Option(envvar="DRAGOMAN_CACHE_DIR", help="Where fetched models are kept.", show_default="~/.cache/dragoman")
    ] = None,
    cache_bytes: Annotated[
        int | None, typer.Option(envvar="DRAGOMAN_CACHE_BYTES", min=0, help="How much the cache may hold.", show_default="20 GiB")
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(envvar="DRAGOMAN_DRAIN_SECONDS", min=0, help="After SIGTERM: how long new connections are still taken.")
    ] = 1.0,
    termination_log: Annotated[
        Path | None, typer.Option(envvar="DRAGOMAN_TERMINATION_LOG", help="Write the reason for giving up here, as JSON.")
    ] = None,
    log_format: Annotated[
        Literal["auto", "json", "text"], typer.Option(envvar="DRAGOMAN_LOG_FORMAT", help="auto: text on a terminal, else JSON.")
    ] = "auto",
    log_level: Annotated[str, typer.Option(envvar="DRAGOMAN_LOG_LEVEL", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    access_log: Annotated[bool, typer.Option(envvar="DRAGOMAN_ACCESS_LOG", help="Log every request.")] = False,
    head_seconds: Annotated[float, typer.Option(envvar="DRAGOMAN_HEAD_SECONDS", min=0.1, hidden=True)] = 20.0,
    keep_alive_seconds: Annotated[float, typer.Option(envvar="DRAGOMAN_KEEP_ALIVE_SECONDS", min=0.1, hidden=True)] = 75.0,
    start_method: Annotated[
        Literal["auto", "fork", "fresh"],
        typer.Option(
            envvar="DRAGOMAN_START_METHOD", help="fork: workers share the model's memory; fresh: each loads for itself.", hidden=True
        ),
    ] = "auto",
) -> None:
    """Serve models: fetch, load, check, and answer predictions over REST and gRPC.

    Examples:

    - `dragoman serve ./model.joblib`
    - `dragoman serve modeldeployment.yaml --workers 4`
    - `dragoman serve s3://models/iris/ --host 0.0.0.0`

    SIGTERM or Ctrl-C drains: no request is lost. A second one ends at once.
    """
    from dragoman import logs, startup
    from dragoman.settings import Settings
    from dragoman.supervisor import serve as run

    with _clear_errors():
        terminal = sys.stderr.isatty()
        form: logs.LogFormat = ("text" if terminal else "json") if log_format == "auto" else log_format
        if log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise InvalidSpec(f"--log-level {log_level}: must be DEBUG, INFO, WARNING or ERROR")
        logs.configure(form, log_level)
        manifests = startup.manifests_of(targets)
        settings = Settings(
            host=host,
            port=port,
            grpc_port=grpc_port,
            management_port=management_port,
            workers=workers or max(m.spec.serving.workers for m in manifests),
            code_formats=code_formats,
            cache_dir=None if cache_dir is None else str(cache_dir),
            cache_bytes=cache_bytes,
            drain_seconds=drain_seconds,
            termination_log=str(termination_log) if termination_log else startup.default_termination_log(),
            revision=os.environ.get("DRAGOMAN_REVISION", ""),
            log_format=form,
            log_level=log_level,
            access_log=access_log,
            head_seconds=head_seconds,
            keep_alive_seconds=keep_alive_seconds,
            fork=sys.platform != "darwin" if start_method == "auto" else start_method == "fork",
        )
        raise typer.Exit(run(manifests, settings, startup.welcome if sys.stdout.isatty() or form == "text" else None))


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Manifests, or folders of them.", show_default=False)],
) -> None:
    """Check manifests without serving them; every error names its path."""
    from dragoman import manifest

    failed = False
    for file in files:
        try:
            for found in manifest.load(file):
                typer.echo(f"{file}: {found.name} is valid")
        except InvalidSpec as error:
            failed = True
            typer.secho(error.message, fg=typer.colors.RED, err=True)
    if failed:
        raise typer.Exit(InvalidSpec.exit_code)
