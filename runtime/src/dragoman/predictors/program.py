"""What a compiled model consists of: as JSON, `program.json` of its folder. It is data: loading it runs no code that it carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from dragoman.compiled import PROGRAM
from dragoman.signature import Signature


class Column(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An input of a graph that is one feature: shape (rows, 1)."""

    node: str  # its name in the graph
    index: int  # of the feature, in the signature's order
    text: bool = False  # strings; else float64
    missing: str | None = None  # what stands for a missing string


class Graph(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An ONNX graph in float64. It takes all features as one matrix (`matrix` names that input), or one input a feature."""

    file: str
    outputs: dict[str, str]  # the node of each output of the model; of "features", where trees take what the graph makes of the rows
    matrix: str = ""
    columns: tuple[Column, ...] = ()


class Trees(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Decision trees, as treelite writes them."""

    file: str
    scores: str  # how answers are made of what the trees add up to: a key of `scores.SCORES`
    dtype: Literal["float32", "float64"] = "float64"  # what the original casts its rows to before it compares
    margin: bool = True  # their bare sum; False: treelite puts it through the model's own function


class Program(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A graph, or trees, or a graph that feeds trees. Written with `dragoman` first, which tells it from other files of its name."""

    dragoman: str  # the version that wrote it
    signature: Signature  # of the original, with those outputs that are answered here
    rows_independent: bool = True
    labels: tuple[Any, ...] | None = None  # the original's own, in the order of its scores
    label_dtype: str = "O"
    takes_nan: bool = False  # missing numbers were among the rows that it was proven with
    codes: dict[int, tuple[tuple[Any, float], ...]] = {}  # the code of each category, by feature
    unknown_is_missing: bool = False  # a category that has no code
    graph: Graph | None = None
    trees: Trees | None = None

    @property
    def engine(self) -> str:
        return "+".join(name for name, part in (("onnx", self.graph), ("treelite", self.trees)) if part is not None)


def read(folder: Path) -> Program:
    """Raises `OSError` and `msgspec.DecodeError` (a `ValidationError`, where it is another kind of JSON)."""
    return msgspec.json.decode((folder / PROGRAM).read_bytes(), type=Program)


def write(folder: Path, program: Program) -> None:
    (folder / PROGRAM).write_bytes(msgspec.json.format(msgspec.json.encode(program, enc_hook=_plain), indent=2) + b"\n")


def _plain(value: Any) -> Any:
    """numpy's scalars among labels and examples, as JSON's own values."""
    if callable(getattr(value, "item", None)):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
