"""`dragoman compile`: a model's compiled folder, written whole or not at all, and what is told of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

from dragoman.compiled import GRAPH, PROGRAM, TREES, VERDICT, Compiled
from dragoman.errors import DragomanError, InvalidSpec
from dragoman.local_model import fetched_model, loaded_model
from dragoman.manifest import ModelDeployment
from dragoman.settings import Settings
from dragoman.signature import Signature

_OURS = frozenset([PROGRAM, VERDICT, GRAPH, TREES])


class NotCompiled(DragomanError):
    """A compiled model would not answer as its original does, or would not be faster."""

    reason = "NotCompiled"


def compile_to(manifest: ModelDeployment, output: Path, settings: Settings, stdout: IO[bytes]) -> None:
    """Raises `NotCompiled` with the reason, and a `ServeError` where the model cannot be had or the folder cannot be written."""
    _refuse(output)
    loaded = loaded_model(manifest, fetched_model(manifest, settings), settings)
    from dragoman.compiling import compile_model

    output.parent.mkdir(parents=True, exist_ok=True)
    if sys.stderr.isatty():
        print("compiling, and comparing the answers …", file=sys.stderr)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=output.parent) as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        made = compile_model(loaded.predictor, folder)
        if made.reason:
            raise NotCompiled(f"{manifest.name}: {made.reason}")
        if output.exists():
            shutil.rmtree(output)
        folder.rename(output)
    stdout.write(_told(manifest.name, output, loaded.predictor.signature, made).encode())


def _refuse(output: Path) -> None:
    """`InvalidSpec` where the folder holds what somebody else put there."""
    if output.exists() and not output.is_dir():
        raise InvalidSpec(f"--output {output}: is a file; name a folder")
    others = sorted(path.name for path in output.iterdir() if path.name not in _OURS) if output.is_dir() else []
    if others:
        raise InvalidSpec(f"--output {output}: holds {others[0]}, which is none of a compiled model's files; name a new folder")


def _told(name: str, output: Path, signature: Signature, made: Compiled) -> str:
    lines = [
        f"{name}: compiled to {output} ({made.engine}, {made.bytes / 1024:.0f} KiB, {made.seconds:.1f} s)",
        f"  answers        {', '.join(made.outputs)}",
        f"  equal          over {made.rows} rows; largest difference {made.largest_difference:.1e}",
        f"  one row        {made.compiled_seconds * 1e6:.0f} µs, original {made.original_seconds * 1e6:.0f} µs",
        f"  faster         up to {made.faster_up_to_rows} rows at once",
    ]
    left = [o.name for o in signature.outputs if o.name not in made.outputs and o.how is None]
    if left:
        lines.insert(2, f"  does not       {', '.join(left)}: only the original answers these")
    return "\n".join([*lines, f"serve it: dragoman serve {output}", ""])
