"""A loaded model with another signature: models are values, and are not changed."""

from __future__ import annotations

import dataclasses
from typing import Any

from dragoman.formats.format import LoadedModel
from dragoman.signature import Signature


def with_signature(loaded: LoadedModel, signature: Signature, rows_independent: bool | None = None) -> LoadedModel:
    """The same model, its signature as a probe found it, or as was declared; `rows_independent` stays where it is not given."""
    predictor: Any = loaded.predictor  # ours are dataclasses
    independent = predictor.rows_independent if rows_independent is None else rows_independent
    return dataclasses.replace(loaded, predictor=dataclasses.replace(predictor, signature=signature, rows_independent=independent))
