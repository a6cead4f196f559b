"""From checked bytes to a model: what a loader, or a worker that loads for itself, does with the formats."""

from __future__ import annotations

import ctypes
import gc
import mmap
import shlex
from pathlib import Path

import msgspec

from dragoman import cgroup, formats
from dragoman.dialects import DIALECTS, OPTIONS
from dragoman.examined import Examined
from dragoman.formats import LoadedModel, ModelFiles
from dragoman.manifest import ModelDeployment, TokenSource
from dragoman.messages import Load
from dragoman.registry import ModelView, Outcome
from dragoman.settings import Settings
from dragoman.signature import Signature

LEAVES_MUCH = 16 * 1024 * 1024  # bytes of a model; looking through all objects for what a smaller one leaves is a tenth of the start


def forks(load: Load, manifest: ModelDeployment) -> bool:
    """Whether the format may be loaded once and shared by forked workers. Raises `UnsupportedFormat`."""
    return formats.detect(_files(load), manifest.spec.model.format).forks


def load_model(load: Load, manifest: ModelDeployment, settings: Settings) -> LoadedModel:
    """The model; the formats see to it that a fork does it no harm (no library starts its threads while loading)."""
    model = manifest.spec.model
    files = _files(load)
    loaded = formats.load(
        files,
        model.format,
        policy=settings.code_formats,
        pinned=model.digest is not None,
        inputs=model.inputs,
        outputs=(model.outputs.target, model.outputs.classes),
        settings=formats.Settings(
            threads=cgroup.threads_per_worker(settings.workers),
            timeout_seconds=manifest.spec.serving.limits.timeout_seconds,
            rows_independent=manifest.spec.serving.batching.rows_independent,
        ),
    )
    if size_of(load) >= LEAVES_MUCH:
        return_memory()
    return loaded


def size_of(load: Load) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_size for path in _files(load).listing().values())


def resident_bytes() -> int:
    """Of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def private_bytes() -> int:
    """Of this process's memory, what is not a file's, which processes share; 0 where the system does not say."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def return_memory() -> None:
    """Give back to the system what unpickling took and left: as much again as the model itself, seen with a forest of 500 MB."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries give back by themselves
    if trim is not None:
        trim(0)


def examine(load: Load, manifest: ModelDeployment, loaded: LoadedModel) -> Examined:
    """What predicting with it shows. Only in a short-lived child. Raises a `ServeError` where an enabled dialect cannot serve the model."""
    probed = formats.probe(loaded)
    found = formats.detect(_files(load), manifest.spec.model.format)
    examined = Examined(
        signature=msgspec.json.encode(probed.signature, enc_hook=_plain),
        format=found.format.name,
        rows_independent=loaded.predictor.rows_independent,
        versions=dict(loaded.versions),
        warnings=[*loaded.warnings, *probed.warnings],
        authored=dict(loaded.authored),
    )
    model = _view(manifest, load, examined)
    enabled = model.dialects
    for name, option in OPTIONS.items():
        if option in enabled:
            DIALECTS[name].surface([(model, enabled[option])])
    return examined


def signature_of(examined: Examined) -> Signature:
    return msgspec.json.decode(examined.signature, type=Signature)


def examples(manifest: ModelDeployment, load: Load, examined: Examined) -> list[str]:
    """A curl command for each enabled dialect, with a token where one is asked for; `{url}` stands for the server's address."""
    model = _view(manifest, load, examined)
    token = _token_header(manifest.spec.serving.auth.tokens)
    return [DIALECTS[name].example(model, options, "{url}") + token for name, options in model.dialects.items() if name in DIALECTS]


def _token_header(source: TokenSource | None) -> str:
    """For curl: the first token is read when the command runs, and stands in no log."""
    if source is None:
        return ""
    in_file = source.file is not None and Path(source.file).is_file()
    token = f"$(grep -m1 '^[^#]' {shlex.quote(str(source.file))})" if in_file else "$TOKEN"
    return f' -H "authorization: Bearer {token}"'


def _view(manifest: ModelDeployment, load: Load, examined: Examined) -> ModelView:
    outcome = Outcome(
        manifest, "Loaded", digest=load.digest, format=examined.format, signature=signature_of(examined), authored=examined.authored
    )
    return ModelView(outcome)


def _files(load: Load) -> ModelFiles:
    return ModelFiles(Path(load.path), load.name, load.digest)


def _plain(value: object) -> object:
    """numpy's scalars among classes and examples, as JSON's own values."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
