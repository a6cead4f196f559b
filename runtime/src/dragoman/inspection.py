"""What can be told of a model: from its bytes, and, where it may be loaded, from the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from dragoman import formats
from dragoman.errors import PolicyViolation, ServeError
from dragoman.formats import ModelFiles, sidecar
from dragoman.local_model import fetched_model, loaded_model
from dragoman.manifest import ModelDeployment
from dragoman.settings import Settings
from dragoman.signature import Signature
from dragoman.storage.request import Fetched


class Inspection(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One model. `signature`, `rows_independent`: None where only loading tells, and it was not loaded; `not_loaded` says why."""

    name: str
    uri: str
    digest: str
    pinned: bool  # the manifest has the digest
    size: int = msgspec.field(name="bytes")  # of the file, the archive, or all files of the folder
    files: int
    format: str | None = None
    file: str | None = None  # of the model, within its folder
    what: str | None = None  # "a pickle of sklearn.pipeline.Pipeline"
    kind: Literal["data", "code"] | None = None  # code: loading it runs code that its bytes carry
    rows_independent: bool | None = None
    signature: Signature | None = None
    versions: dict[str, str] = {}
    saved_with: dict[str, str] = {}  # versions when it was saved, where its model.json says so
    warnings: list[str] = []
    not_loaded: str | None = None
    failure: str | None = None  # the reason, of the documented vocabulary, where loading was tried and failed

    def to_json(self) -> bytes:
        """One line. Unlike a manifest, it always says each field's type."""
        told: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_plain)
        for field in [f for part in ("inputs", "outputs") for f in (told["signature"] or {}).get(part, [])]:
            field.setdefault("type", "number")
        return msgspec.json.encode(told) + b"\n"


def inspect_all(manifests: Sequence[ModelDeployment], settings: Settings, stdout: IO[bytes], *, as_json: bool) -> None:
    """Writes what is told of each. Raises the first `ServeError` when all have been written."""
    from dragoman.inspection_report import written

    failures: list[ServeError] = []
    for i, manifest in enumerate(manifests):
        try:
            told, failure = inspect(manifest, fetched_model(manifest, settings), settings)
        except ServeError as error:
            failures.append(error)
            continue
        stdout.write(told.to_json() if as_json else (b"\n" if i else b"") + written(told, stdout))
        stdout.flush()
        failures += [failure] if failure is not None else []
    if failures:
        raise failures[0]


def inspect(manifest: ModelDeployment, fetched: Fetched, settings: Settings) -> tuple[Inspection, ServeError | None]:
    """What is told, and the error of loading where that failed. A policy that forbids loading is no error: nothing of the model is run."""
    model = manifest.spec.model
    files = ModelFiles(Path(fetched.path), fetched.name, fetched.digest)
    told = Inspection(
        name=manifest.name,
        uri=model.uri,
        digest=fetched.digest,
        pinned=model.digest is not None,
        size=fetched.bytes,
        files=len(files.listing()),
    )
    try:
        found = formats.detect(files, model.format)
        told = _with(
            told, format=found.format.name, file=found.file, what=found.told.what, kind="code" if found.runs_code else "data",
        )  # fmt: skip
        beside = sidecar.read(files)
        if beside is not None:
            told = _with(told, saved_with=beside.versions, signature=beside.signature)
        loaded = loaded_model(manifest, fetched, settings)
    except PolicyViolation as refusal:
        return _with(told, not_loaded=refusal.message), None
    except ServeError as error:
        return _with(told, not_loaded=error.message, failure=error.reason), error
    probed = formats.probe(loaded)
    said = manifest.spec.serving.batching.rows_independent
    return _with(
        told,
        signature=probed.signature,
        rows_independent=loaded.predictor.rows_independent if said is None else said,
        versions=dict(loaded.versions),
        warnings=[*loaded.warnings, *probed.warnings],
    ), None


def _with(told: Inspection, **found: Any) -> Inspection:
    return msgspec.structs.replace(told, **found)


def _plain(value: object) -> object:
    """numpy's scalars among classes and examples, as JSON's own values."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
