"""skops files: estimators as data. What is in them is built from a named list of types, and nothing else is."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from dragoman.errors import PolicyViolation
from dragoman.formats.format import Candidate
from dragoman.formats.libraries import require
from dragoman.formats.unpickle import guarded

# Types that skops does not trust by itself, of scikit-learn and the boosters: they hold numbers, and run nothing that the file names.
_NAMES = """
collections.OrderedDict numpy.dtype scipy.sparse._csr.csr_matrix scipy.interpolate._bsplines.BSpline
scipy._lib.array_api_compat.numpy._aliases.asarray
sklearn._loss.link.IdentityLink sklearn._loss.link.Interval sklearn._loss.link.LogLink sklearn._loss.link.LogitLink
sklearn._loss.link.MultinomialLogit sklearn._loss.loss.AbsoluteError sklearn._loss.loss.ExponentialLoss sklearn._loss.loss.HalfBinomialLoss
sklearn._loss.loss.HalfGammaLoss sklearn._loss.loss.HalfMultinomialLoss sklearn._loss.loss.HalfPoissonLoss
sklearn._loss.loss.HalfSquaredError sklearn._loss.loss.HalfTweedieLoss sklearn._loss.loss.HalfTweedieLossIdentity
sklearn._loss.loss.HuberLoss sklearn._loss.loss.PinballLoss
sklearn.calibration._CalibratedClassifier sklearn.calibration._SigmoidCalibration sklearn.calibration._TemperatureScaling
sklearn.cluster._bisect_k_means._BisectingTree sklearn.cluster._kmeans._kmeans_single_lloyd
sklearn.compose._column_transformer._RemainderColsList
sklearn.ensemble._hist_gradient_boosting.binning._BinMapper sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor
sklearn.feature_selection._univariate_selection.f_classif sklearn.feature_selection._univariate_selection.f_regression
sklearn.feature_selection._univariate_selection.chi2
sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace
sklearn.gaussian_process.kernels.CompoundKernel sklearn.gaussian_process.kernels.ConstantKernel sklearn.gaussian_process.kernels.DotProduct
sklearn.gaussian_process.kernels.ExpSineSquared sklearn.gaussian_process.kernels.Exponentiation sklearn.gaussian_process.kernels.Matern
sklearn.gaussian_process.kernels.Product sklearn.gaussian_process.kernels.RBF sklearn.gaussian_process.kernels.RationalQuadratic
sklearn.gaussian_process.kernels.Sum sklearn.gaussian_process.kernels.WhiteKernel
sklearn.metrics._dist_metrics.EuclideanDistance32 sklearn.metrics._dist_metrics.EuclideanDistance64
sklearn.metrics._dist_metrics.ManhattanDistance32 sklearn.metrics._dist_metrics.ManhattanDistance64
sklearn.metrics._scorer._PassthroughScorer
sklearn.model_selection._split.KFold sklearn.model_selection._split.StratifiedKFold
sklearn.neighbors._ball_tree.BallTree sklearn.neighbors._kd_tree.KDTree
sklearn.neural_network._stochastic_optimizers.AdamOptimizer sklearn.neural_network._stochastic_optimizers.SGDOptimizer
sklearn.tree._tree.Tree sklearn.utils._bunch.Bunch
lightgbm.basic.Booster lightgbm.sklearn.LGBMClassifier lightgbm.sklearn.LGBMRanker lightgbm.sklearn.LGBMRegressor
xgboost.core.Booster xgboost.sklearn.XGBClassifier xgboost.sklearn.XGBRanker xgboost.sklearn.XGBRegressor
xgboost.sklearn.XGBRFClassifier xgboost.sklearn.XGBRFRegressor
"""
TRUSTED = frozenset(_NAMES.split())


def is_skops(candidate: Candidate) -> bool:
    """A zip archive with skops' schema.json."""
    if not candidate.head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(candidate.path) as archive:
            return "schema.json" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def load(name: str, path: Path) -> tuple[Any, tuple[str, ...]]:
    """The estimator, and what was warned of. `PolicyViolation` names the types that are not on the list."""
    io = require("skops.io", name)
    with guarded(name) as heard:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - TRUSTED)
        if unknown:
            raise PolicyViolation(
                f"{name} holds types that are not trusted as data: {', '.join(unknown[:5])}: save it with joblib, and pin its digest"
            )
        model = io.load(path, trusted=sorted(TRUSTED))
    return model, tuple(heard.lines)
