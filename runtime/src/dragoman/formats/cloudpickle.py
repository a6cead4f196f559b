"""Any object with a predict method, written by cloudpickle, pickle or joblib: code."""

from __future__ import annotations

from typing import Any, ClassVar

from dragoman.authoring import Model
from dragoman.errors import ModelLoadFailed
from dragoman.formats import sidecar
from dragoman.formats.authored import of_model, signature_of
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.libraries import versions_of
from dragoman.formats.unpickle import unpickle


class Cloudpickle:
    name: ClassVar[str] = "cloudpickle"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if candidate.pickle is not None:
            return Recognised(f"a pickle of {candidate.pickle.root or 'a plain object'}", runs_code=True)
        if candidate.suffix in (".cloudpickle", ".dill") or (declared and candidate.suffix in (".pkl", ".pickle")):
            return Recognised(f"named {candidate.suffix}, though not readable as a pickle", runs_code=True, sure=False)
        return None

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        model, warnings = unpickle(file, files.path(file))
        if isinstance(model, Model):
            return of_model(model, files.folder, file, settings, warnings)
        if not callable(getattr(model, "predict", None)):
            raise ModelLoadFailed(f"{file} holds a {type(model).__name__}, which has no predict method")
        if _is_estimator(model):
            from dragoman.formats.sklearn import of_estimator

            return of_estimator(model, file, settings, warnings)
        return _of_object(model, files, warnings)


def _is_estimator(model: Any) -> bool:
    """In scikit-learn's shape, and fitted: it says what it was fitted on."""
    return hasattr(model, "get_params") and hasattr(model, "n_features_in_")


def _of_object(model: Any, files: ModelFiles, warnings: tuple[str, ...]) -> LoadedModel:
    from dragoman.predictors.authored import AuthoredPredictor
    from dragoman.predictors.feed import as_frame, as_sent

    beside = sidecar.read(files)
    framed = beside is not None and bool(beside.signature.inputs) and beside.signature.named  # it was saved with a data frame for example
    package = type(model).__module__.partition(".")[0]
    predictor = AuthoredPredictor(model, signature_of(model), rows_independent=False, feed=as_frame if framed else as_sent)
    return LoadedModel(predictor, versions_of([package, "numpy", "cloudpickle"]), warnings)
