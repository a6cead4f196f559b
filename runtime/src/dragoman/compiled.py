"""What compiling a model came to: what the child that compiles hands to the server, and what stands beside a compiled model on disk.

Light, for the supervisor imports it: no numpy, no model library.
"""

import msgspec

PROGRAM, VERDICT, GRAPH, TREES = "program.json", "compiled.json", "model.onnx", "model.treelite"
"""The files of a compiled model's folder; it has a graph, trees, or both."""


class Compiled(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What compiling a model came to; as JSON it is `compiled.json` of its folder."""

    reason: str = ""
    """Why it is not used; "" where it was proven equal."""
    engine: str = ""
    """`treelite`, `onnx` or `onnx+treelite`."""
    outputs: tuple[str, ...] = ()
    """The outputs that it answers; the original answers all others."""
    rows: int = 0
    """That were compared with the original's answers."""
    largest_difference: float = 0.0
    """Of any number compared, relative."""
    faster_up_to_rows: int = 0
    """Batches of at most so many rows are faster compiled, as measured when it was made."""
    original_seconds: float = 0.0
    """That the original takes for one row, as measured then."""
    compiled_seconds: float = 0.0
    """That it takes itself."""
    bytes: int = 0
    """On disk."""
    seconds: float = 0.0
    """That compiling and proving took."""
    versions: dict[str, str] = {}
    """Of the libraries that the result depends on."""


class Made(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child that was to compile a model answers; it crosses pipes as JSON."""

    folder: str = ""
    """Where the compiled model is; "" where there is none."""
    compiled: Compiled = Compiled()
    kept: bool = False
    """It was made before, and found in the cache."""
    failure: str = ""
    """Why nothing came of it, though another attempt might bring something."""
    died: bool = False
    """The child did not end by itself, and nobody here ended it."""
