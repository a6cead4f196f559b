"""Models as the dialects see them, for their tests: values, with the signatures of iris and penguins."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.manifest import State
from dragoman.signature import Field, Output, Signature


class ServedAs(msgspec.Struct, frozen=True):
    """What a dialect may know of a served model."""

    name: str
    version: str = "0123456789ab"
    revision: str = ""
    format: str = "sklearn"
    state: State = "Loaded"
    reason: str = ""
    signature: Signature = Signature()
    authored: dict[str, Any] = {}

    @property
    def ready(self) -> bool:
        return self.state == "Loaded"


IRIS = ServedAs(
    "iris",
    signature=Signature(
        inputs=tuple(Field(name, minimum=0) for name in ("sepal_length", "sepal_width", "petal_length", "petal_width")),
        outputs=(Output("predict", "integer", dtype="int64"), Output("predict_proba", width=3)),
        classes=(0, 1, 2),
        target="species",
    ),
)
PENGUINS = ServedAs(
    "penguins",
    signature=Signature(
        inputs=(
            Field("island", "string", enum=("Biscoe", "Dream", "Torgersen")),
            Field("bill_length", nullable=True, minimum=0, example=39.1),
            Field("year", "integer"),
        ),
        outputs=(Output("predict", "string"), Output("predict_proba", width=3)),
        classes=("Adelie", "Chinstrap", "Gentoo"),
    ),
)
