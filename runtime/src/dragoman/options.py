"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_KINDS = "a manifest (or a folder of them), a model file or folder, or a URI: s3:// gs:// az:// https:// file://"

Target = Annotated[str, typer.Argument(metavar="TARGET", help=f"{_KINDS[:1].upper()}{_KINDS[1:]}", show_default=False)]
Targets = Annotated[list[str], typer.Argument(metavar="TARGET", help=f"Each one {_KINDS}", show_default=False)]
CodeFormats = Annotated[
    Literal["Allow", "RequireDigest", "Deny"],
    typer.Option(
        envvar="DRAGOMAN_CODE_FORMATS", help="Formats that run code when they are loaded: served, only with a digest, or refused."
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(envvar="DRAGOMAN_CACHE_DIR", metavar="DIR", help="Where fetched models are kept.", show_default="~/.cache/dragoman"),
]
CacheBytes = Annotated[
    int | None,
    typer.Option(envvar="DRAGOMAN_CACHE_BYTES", metavar="BYTES", min=0, help="How much the cache may hold.", show_default="20 GiB"),
]
ModelName = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Which one, where TARGET holds several.")]
