"""What `dragoman serve` does before the server runs, and what it prints when it is ready."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from dragoman import auth, manifest
from dragoman.errors import InvalidSpec, ModelNotFound
from dragoman.manifest import ModelDeployment
from dragoman.status import ServerStatus

_TERMINATION_LOG = Path("/dev/termination-log")


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
