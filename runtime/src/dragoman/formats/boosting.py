"""scikit-learn's histogram gradient boosting, answered without its checks of the rows and its walks from tree to tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MODULE = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"
_THREADED_ROWS = 1024  # scikit-learn walks for more rows than these with all threads, and is as fast where it has more than two


def short_ways(model: Any) -> dict[str, Callable[[Any], Any]]:
    """What the methods of a fitted one do around the sums of its trees' leaves (scikit-learn, `gradient_boosting.py`): to the last bit.

    Only of scikit-learn's own classes, without categories, and with trees that `LeafMasks` takes; and as many rows as it is faster for.
    """
    kind = type(model).__name__
    if type(model).__module__ != _MODULE or kind not in ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"):
        return {}
    scores = _Scores.of(model)
    if scores is None:
        return {}
    from numpy import errstate

    def values(rows: Any) -> Any:
        found = scores(rows)
        if found is None:
            return None
        with errstate(over="ignore"):
            return model._loss.link.inverse(found.ravel())

    def labels(rows: Any) -> Any:
        found = scores(rows)
        if found is None:
            return None
        return model.classes_[(found.ravel() > 0).astype(int) if found.shape[1] == 1 else found.argmax(axis=1)]

    def probabilities(rows: Any) -> Any:
        found = scores(rows)
        if found is None:
            return None
        with errstate(all="ignore"):
            return model._loss.predict_proba(found)

    def decisions(rows: Any) -> Any:
        found = scores(rows)
        return found if found is None or found.shape[1] > 1 else found.ravel()

    if kind == "HistGradientBoostingRegressor":
        return {"predict": values}
    return {"predict": labels, "predict_proba": probabilities, "decision_function": decisions}


class _Scores:
    """`_raw_predict` of rows that need no look; used once both were seen to agree in this process. None: not with these rows."""

    def __init__(self, model: Any, masks: Any, threads: Callable[[], int]) -> None:
        self._model, self._masks, self._threads, self._width = model, masks, threads, model.n_features_in_
        self._agrees: bool | None = None

    @classmethod
    def of(cls, model: Any) -> _Scores | None:
        from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

        from dragoman.predictors.leaf_masks import LeafMasks

        if getattr(model, "_preprocessor", model) is not None:  # categories; or a version that keeps them elsewhere
            return None
        iterations, baseline = [[tree.nodes for tree in iteration] for iteration in model._predictors], model._baseline_prediction
        masks = LeafMasks.of(iterations, baseline.ravel()) if baseline.dtype == "float64" else None
        return None if masks is None else cls(model, masks, _openmp_effective_n_threads)

    def __call__(self, rows: Any) -> Any:
        from dragoman.predictors.feed import FLOAT64, is_plain

        if not is_plain(rows, FLOAT64, self._width) or len(rows) > self._masks.most_rows:
            return None
        if len(rows) > _THREADED_ROWS and self._threads() > 2:
            return None
        if self._agrees is None:
            tried = self._masks.edges(self._width)
            self._agrees = bool((self._masks(tried) == self._model._raw_predict(tried)).all())
        return self._masks(rows) if self._agrees else None
