"""The command line: serve, predict, inspect, compile, digest, validate."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

import dragoman
from dragoman.errors import DragomanError, InvalidSpec
from dragoman.options import CacheBytes, CacheDir, CodeFormats, ModelName, Target, Targets

if TYPE_CHECKING:
    from dragoman.settings import Settings

app = typer.Typer(
    name="dragoman",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: boxes leave eighty columns no room, and cost half the start
    pretty_exceptions_enable=False,  # they print variables, which may be secrets
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
\b
Exit codes:
   0 done                 1 failed, a wrong row  2 wrong arguments
  10 InvalidSpec         11 ModelNotFound       12 AccessDenied
  13 DigestMismatch      14 UnsupportedFormat   15 MissingLibrary
  16 PolicyViolation     17 ModelLoadFailed     18 OutOfMemory
  19 SignatureMismatch   20 StorageUnavailable  21 DiskFull
  22 AddressInUse        23 LoadTimeout         24 WorkerFailed
""",
)


def main() -> None:
    app(prog_name="dragoman")


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
        from dragoman.startup import told

        raise typer.Exit(told(error)) from None


@contextlib.contextmanager
def _once() -> Iterator[IO[bytes]]:
    """For a command that ends by itself: gives the standard output that is for its result alone.

    On SIGTERM what is half-written is taken away first. A reader of the result that has gone (`… | head`) is no error to talk about.
    """
    from dragoman import logs, terminal

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    logs.configure("text", "WARNING")
    with _clear_errors():
        try:
            with terminal.reserved_stdout() as stdout:
                yield stdout
        except BrokenPipeError:
            raise typer.Exit(1) from None


def _settings(code_formats: CodeFormats, cache_dir: CacheDir, cache_bytes: CacheBytes) -> Settings:
    from dragoman.settings import Settings

    return Settings(code_formats=code_formats, cache_dir=None if cache_dir is None else str(cache_dir), cache_bytes=cache_bytes)


@app.command(short_help="Serve models over REST and gRPC.")
def serve(
    targets: Targets,
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
    code_formats: CodeFormats = "Allow",
    cache_dir: CacheDir = None,
    cache_bytes: CacheBytes = None,
    cache_size: Annotated[
        int | None,
        typer.Option(
            envvar="DRAGOMAN_CACHE_SIZE",
            metavar="MODELS",
            min=1,
            help="Each worker has so many models in memory, and loads others when a request comes; else all, from the start.",
        ),
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

    \b
    Examples:
      dragoman serve ./model.joblib
      dragoman serve modeldeployment.yaml --workers 4
      dragoman serve s3://models/iris/ --host 0.0.0.0
      dragoman serve deployments/              every manifest in a folder
      dragoman serve deployments/ --cache-size 16

    SIGTERM or Ctrl-C drains: no request is lost. A second one ends at once.
    """
    from dragoman import startup
    from dragoman.serve_arguments import ServeArguments

    asked = ServeArguments(
        targets=targets,
        host=host,
        port=port,
        grpc_port=grpc_port,
        management_port=management_port,
        workers=workers,
        code_formats=code_formats,
        cache_dir=None if cache_dir is None else str(cache_dir),
        cache_bytes=cache_bytes,
        cache_size=cache_size,
        drain_seconds=drain_seconds,
        termination_log=None if termination_log is None else str(termination_log),
        log_format=log_format,
        log_level=log_level,
        access_log=access_log,
        head_seconds=head_seconds,
        keep_alive_seconds=keep_alive_seconds,
        start_method=start_method,
    )
    raise typer.Exit(startup.serve(asked))


@app.command(short_help="Predict a file of rows, offline.")
def predict(
    target: Target,
    source: Annotated[
        Path,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="Rows: .csv .tsv .json .jsonl or .parquet; - is CSV on standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Answers, by suffix as above; else CSV on standard output.")
    ] = None,
    outputs: Annotated[str, typer.Option(metavar="NAME,...", help="The model's outputs; `dragoman inspect` lists them.")] = "predict",
    model: ModelName = None,
    ignore_extra: Annotated[bool, typer.Option("--ignore-extra", help="Pass over columns that are none of the model's inputs.")] = False,
    missing: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="CSV: a text that means no value, beside the empty one. May be repeated.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="CHAR", help="CSV: what separates columns.", show_default=",")] = None,
    no_header: Annotated[bool, typer.Option("--no-header", help="CSV: rows from the first line on, in the model's order.")] = False,
    chunk_rows: Annotated[
        int | None, typer.Option(metavar="ROWS", min=1, help="Predict as many rows at once.", show_default="as is right for the model")
    ] = None,
    code_formats: CodeFormats = "Allow",
    cache_dir: CacheDir = None,
    cache_bytes: CacheBytes = None,
) -> None:
    """Predict a file of rows, offline: no server, no port.

    \b
    Examples:
      dragoman predict ./model.joblib --input rows.csv
      dragoman predict iris.yaml -i rows.parquet -o answers.parquet
      dragoman predict s3://models/iris/ -i rows.csv --outputs predict_proba

    One answer a row, in the file's order: a column `prediction`, and for
    predict_proba a column `probability_<class>` a class. Columns of the input
    may come in any order. The first wrong row ends it with an error that names
    row and field, and exit code 1; then no output file is written.
    CSV, JSON Lines and Parquet may be larger than memory.
    """
    from dragoman import startup
    from dragoman.local_model import only
    from dragoman.predict_file import Files, predict_file
    from dragoman.rowfiles import Layout

    with _once() as stdout:
        manifest = only(startup.manifests_of([target]), model)
        layout = Layout(header=not no_header, delimiter=delimiter, missing=frozenset(missing or ()), ignore_extra=ignore_extra)
        predict_file(manifest, Files(source, output, outputs, layout, chunk_rows), _settings(code_formats, cache_dir, cache_bytes), stdout)


@app.command(short_help="Tell what a model is: format, signature, digest, ….")
def inspect(
    target: Target,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model, one a line.")] = False,
    code_formats: CodeFormats = "Allow",
    cache_dir: CacheDir = None,
    cache_bytes: CacheBytes = None,
) -> None:
    """Tell what a model is: format, data or code, inputs and outputs, digest, size, versions.

    \b
    Examples:
      dragoman inspect ./model.joblib
      dragoman inspect s3://models/iris/ --json | jq .signature.inputs
      dragoman inspect ./from-a-stranger.pkl --code-formats Deny

    The model is loaded, and predicts its example row. With --code-formats Deny
    nothing of a model that is code is run: it is told from its bytes alone.
    """
    from dragoman import startup
    from dragoman.inspection import inspect_all

    with _once() as stdout:
        inspect_all(startup.manifests_of([target]), _settings(code_formats, cache_dir, cache_bytes), stdout, as_json=as_json)


@app.command("compile", short_help="Write a faster model, proven to answer the same.")
def compile_(
    target: Target,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder, or one that this wrote before.", show_default=False)
    ],
    model: ModelName = None,
    code_formats: CodeFormats = "Allow",
    cache_dir: CacheDir = None,
    cache_bytes: CacheBytes = None,
) -> None:
    """Write a model that answers the same and is faster to load and to ask.

    \b
    Examples:
      dragoman compile ./model.joblib --output ./compiled/
      dragoman serve ./compiled/
      dragoman digest ./compiled/

    The folder is data and not code, and is served without the library that
    trained the model. It is written only if its answers are the original's over
    thousands of rows: labels identical, numbers within 1e-12. Pipelines of
    scikit-learn become an ONNX graph in 64 bits, ensembles of trees (also
    xgboost's and lightgbm's) are interpreted by treelite. A model that cannot
    be compiled ends it with the reason, and exit code 1.
    """
    from dragoman import startup
    from dragoman.compile_folder import compile_to
    from dragoman.local_model import only

    with _once() as stdout:
        compile_to(only(startup.manifests_of([target]), model), output, _settings(code_formats, cache_dir, cache_bytes), stdout)


@app.command(short_help="Print the digest that spec.model.digest pins.")
def digest(
    target: Target,
    model: ModelName = None,
    cache_dir: CacheDir = None,
    cache_bytes: CacheBytes = None,
) -> None:
    """Print a model's digest, alone, as spec.model.digest takes it.

    \b
    Examples:
      dragoman digest ./model.joblib
      dragoman digest s3://models/iris/
      pin=$(dragoman digest ./model.joblib)

    Pin the digest of the file that you trained, where you trained it; not of
    what a bucket holds. A file's is its SHA-256; a folder's that of the sorted
    list of its files' digests and names.
    """
    from dragoman import startup
    from dragoman.local_model import digest_of_model, only

    with _once() as stdout:
        manifest = only(startup.manifests_of([target]), model)
        stdout.write(digest_of_model(manifest, _settings("Allow", cache_dir, cache_bytes)).encode() + b"\n")


@app.command(short_help="Check manifests; every error names its path.")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Manifests, or folders of them.", show_default=False)],
) -> None:
    """Check manifests, every document of them; each error names its path and what would mend it.

    \b
    Examples:
      dragoman validate modeldeployment.yaml
      dragoman validate deployments/ other.yaml

    Nothing is fetched or loaded: whether the model is there, and is what the
    manifest says, only `dragoman inspect` and `dragoman serve` can tell.
    """
    from dragoman import manifest

    failed = False
    for file in files:
        for found in manifest.each(file):
            if isinstance(found, InvalidSpec):
                failed = True
                typer.secho(found.message, fg=typer.colors.RED, err=True)
            else:
                typer.echo(f"{file}: {found.name} is valid")
    if failed:
        raise typer.Exit(InvalidSpec.exit_code)
