"""From a model's files to a predictor: told, allowed, loaded, and its signature settled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.errors import PolicyViolation
from dragoman.formats import sidecar
from dragoman.formats.format import CodePolicy, Found, LoadedModel, ModelFiles, Settings
from dragoman.formats.loaded import with_signature
from dragoman.formats.pandas_later import pandas_later
from dragoman.formats.threads import without_threads
from dragoman.signature import Field, Signature, declare


def allow(found: Found, policy: CodePolicy, *, pinned: bool) -> None:
    """`PolicyViolation` where the format runs code and the policy forbids it. Asked before anything is imported."""
    if not found.runs_code or policy == "Allow" or (policy == "RequireDigest" and pinned):
        return
    what = f"{found.file} is {found.told.what}, which runs code when it is loaded"
    if policy == "Deny":
        raise PolicyViolation(f"{what}, and the policy codeFormats is Deny: serve it as onnx, xgboost, lightgbm or skops")
    raise PolicyViolation(
        f"{what}, and the policy codeFormats is RequireDigest: pin it with spec.model.digest, "
        "as `dragoman digest ./the-file-you-trained` prints it where the model was made"
    )


def load_found(
    found: Found, files: ModelFiles, inputs: Sequence[Field], outputs: tuple[str | None, Sequence[Any] | None], settings: Settings
) -> LoadedModel:
    """Loaded by its format; what model.json says goes over what the model knows, and what the manifest declares over both."""
    with without_threads(), pandas_later():
        loaded = found.format.load(files, found.file, settings)
    beside = sidecar.read(files)
    signature, rows_independent, warnings = loaded.predictor.signature, loaded.predictor.rows_independent, loaded.warnings
    if beside is not None:
        signature = _over(signature, beside.signature)
        rows_independent = rows_independent if beside.rows_independent is None else beside.rows_independent
        warnings = tuple(dict.fromkeys((*warnings, *sidecar.mismatches(beside.versions, loaded.versions))))
    own, signature = signature, declare(signature, inputs, outputs)
    if settings.rows_independent is not None:
        rows_independent = settings.rows_independent
    settled = with_signature(dataclasses.replace(loaded, warnings=warnings), signature, rows_independent)
    from dragoman.formats.explaining import explained  # imports numpy, as loading anything does

    return explained(settled, own, () if beside is None else beside.background or beside.sample, settings)


def _over(inferred: Signature, saved: Signature) -> Signature:
    """What was saved, where it says anything."""
    return msgspec.structs.replace(
        inferred,
        inputs=saved.inputs or inferred.inputs,
        named=saved.named if saved.inputs else inferred.named,
        extra_columns=saved.extra_columns if saved.inputs else inferred.extra_columns,
        outputs=saved.outputs or inferred.outputs,
        classes=saved.classes or inferred.classes,
        target=saved.target or inferred.target,
    )
