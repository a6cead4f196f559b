"""What `dragoman serve` does before the server runs, and what it prints when it is ready."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dragoman import auth, logs, manifest
from dragoman.errors import DragomanError, InvalidSpec, ModelNotFound, ServeError
from dragoman.manifest import ModelDeployment
from dragoman.serve_arguments import ServeArguments
from dragoman.settings import Settings
from dragoman.status import ServerStatus

_TERMINATION_LOG = Path("/dev/termination-log")


def serve(asked: ServeArguments) -> int:
    """Serve until told to stop; the exit code. A foreseen error is one sentence and its documented exit code, never a stack trace."""
    form: logs.LogFormat = ("text" if sys.stderr.isatty() else "json") if asked.log_format == "auto" else asked.log_format
    try:
        if asked.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise InvalidSpec(f"--log-level {asked.log_level}: must be DEBUG, INFO, WARNING or ERROR")
        logs.configure(form, asked.log_level)
        manifests = manifests_of(asked.targets)
        settings = settings_of(asked, manifests, form)
        check_tokens(manifests, settings.termination_log)
        from dragoman import supervisor  # here, for commands that need none of it

        return supervisor.serve(manifests, settings, welcome if sys.stdout.isatty() or form == "text" else None)
    except DragomanError as error:
        return told(error)


def told(error: DragomanError) -> int:
    """One sentence on standard error, red on a terminal; the exit code that it stands for."""
    said = f"{error.reason}: {error.message}"
    sys.stderr.write(f"\033[31m{said}\033[0m\n" if sys.stderr.isatty() else f"{said}\n")
    return error.exit_code if isinstance(error, ServeError) else 1


def settings_of(asked: ServeArguments, manifests: Sequence[ModelDeployment], log_format: logs.LogFormat) -> Settings:
    return Settings(
        host=asked.host,
        port=asked.port,
        grpc_port=asked.grpc_port,
        management_port=asked.management_port,
        workers=asked.workers or max(m.spec.serving.workers for m in manifests),
        code_formats=asked.code_formats,
        cache_dir=asked.cache_dir,
        cache_bytes=asked.cache_bytes,
        cache_size=asked.cache_size,
        drain_seconds=asked.drain_seconds,
        termination_log=asked.termination_log or default_termination_log(),
        revision=os.environ.get("DRAGOMAN_REVISION", ""),
        log_format=log_format,
        log_level=asked.log_level,
        access_log=asked.access_log,
        head_seconds=asked.head_seconds,
        keep_alive_seconds=asked.keep_alive_seconds,
        fork=sys.platform != "darwin" if asked.start_method == "auto" else asked.start_method == "fork",
    )


def manifests_of(targets: Sequence[str]) -> list[ModelDeployment]:
    """What the targets name: manifests, folders of manifests, model files, folders or URIs. Raises `InvalidSpec`, `ModelNotFound`."""
    found: dict[str, tuple[str, ModelDeployment]] = {}
    for target in targets:
        for one in _of_target(target):
            other = found.get(one.name)
            if other is not None:
                raise InvalidSpec(
                    f"two models are called {one.name!r}: {other[0]} ({other[1].spec.model.uri}) and {target} ({one.spec.model.uri}); "
                    "their paths would clash: give one another metadata.name"
                )
            found[one.name] = (target, one)
    return [one for _, one in found.values()]


def _of_target(target: str) -> list[ModelDeployment]:
    if "://" in target:
        return [manifest.from_uri(target, name_of(target))]
    path = Path(target)
    if not path.exists():
        raise ModelNotFound(f"{target}: no such file or folder; to serve from object storage, write the whole URI: s3://bucket/path")
    if manifest.manifests_in(path) if path.is_dir() else manifest.is_manifest(path):
        return manifest.load(path)
    absolute = str(path.resolve()) + ("/" if path.is_dir() else "")
    return [manifest.from_uri(absolute, name_of(absolute))]


def name_of(uri: str) -> str:
    """A model's name made of its URI's last part: `s3://models/Iris v2.joblib` gives `iris-v2`."""
    last = uri.split("?", 1)[0].rstrip("/").rsplit("/", 1)[-1]
    stem = re.sub(r"(\.tar)?\.[A-Za-z0-9]{1,10}$", "", last)
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:50].rstrip("-")
    return name if re.match(r"[a-z]", name) else f"model-{name}".rstrip("-")[:50]


def check_tokens(manifests: Sequence[ModelDeployment], termination_log: str | None) -> None:
    """Whether the tokens that manifests name can be read. Raises `InvalidSpec`, which is also written where the platform looks."""
    try:
        auth.check(manifests)
    except InvalidSpec as error:
        if termination_log:
            with contextlib.suppress(OSError):
                Path(termination_log).write_text(json.dumps({"reason": error.reason, "message": error.message}), "utf-8")
        raise


def default_termination_log() -> str | None:
    """Kubernetes' own, where this is a container of it."""
    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    return str(_TERMINATION_LOG) if inside and os.access(_TERMINATION_LOG, os.W_OK) else None


def welcome(status: ServerStatus, urls: dict[str, str]) -> None:
    """The URLs, and one command for each dialect that can be pasted."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print()
    for model in status.models:
        if model.failure is not None:
            console.print(f"[bold red]{model.name}[/] is not served: {model.failure.reason}: {model.failure.message}")
            continue
        if model.state == "Unloaded":
            console.print(f"[bold green]{model.name}[/] is loaded when it is first asked")
            continue
        console.print(f"[bold green]{model.name}[/] is served ({model.format}, {model.digest[:19]}…)")
        for warning in model.warnings:
            console.print(f"  [yellow]warning:[/] {warning}", markup=True)
        for example in model.examples:
            console.print()
            console.print(example.replace("{url}", urls["rest"]), markup=False)
    console.print()
    console.print(f"docs        {urls['rest']}/docs")
    console.print(f"gRPC        {urls['grpc']}")
    console.print(f"management  {urls['management']}/status  /metrics  /livez  /readyz")
    console.print()
