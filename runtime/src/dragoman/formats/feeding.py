"""How a fitted estimator is fed: with arrays where the features' names are not needed, else with data frames.

A frame costs a tenth of a millisecond a request and more, an array nothing. But an estimator that was fitted on named columns warns
about each array, and a ColumnTransformer that picks its columns by name needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dragoman.formats.estimators import package_of
from dragoman.formats.inference import names_of, takes_texts
from dragoman.formats.libraries import require
from dragoman.predictors.feed import Feed, as_array, as_array_with_none, as_frame, as_frame_with_none, as_texts


def feed_of(model: Any, parts: Sequence[Any], *, whole: bool) -> Feed:
    """`parts` are the model and all that is nested in it; `whole`: rows have every column that it was fitted on.

    Where arrays do, the parts forget the names that they would warn about.
    """
    if takes_texts(model):
        return as_texts
    array, frame = (as_array_with_none, as_frame_with_none) if any(map(_knows_none, parts)) else (as_array, as_frame)
    if names_of(model) is None:
        return array
    if not whole or not all(_needs_no_names(part) for part in parts):
        require("pandas", "what was fitted on named columns")  # now, for all who share the model, and not in the first request
        return frame
    for part in parts:
        getattr(part, "__dict__", {}).pop("feature_names_in_", None)
    return array


def _knows_none(part: Any) -> bool:
    """Trained on object columns with None in them, which is to it another value than NaN."""
    return (
        any(known is None for values in getattr(part, "categories_", ()) for known in values) or getattr(part, "missing_values", 0) is None
    )


def _needs_no_names(part: Any) -> bool:
    """scikit-learn's own, with columns by position and arrays for output; or a booster that was fitted on what such a step put out."""
    if package_of(part) in ("xgboost", "lightgbm"):
        return package_of(part) == "xgboost" or not hasattr(part, "feature_names_in_")  # xgboost takes arrays without a word
    if package_of(part) != "sklearn" or hasattr(part, "_sklearn_output_config"):
        return False
    if any(_by_name(columns) for _, _, columns in getattr(part, "transformers_", ())):
        return False
    categorical = getattr(part, "is_categorical_", None)
    return categorical is None or not any(categorical)


def _by_name(columns: Any) -> bool:
    if isinstance(columns, slice):
        return isinstance(columns.start, str) or isinstance(columns.stop, str)
    return isinstance(columns, str) or any(isinstance(c, str) for c in (columns if hasattr(columns, "__iter__") else ()))
