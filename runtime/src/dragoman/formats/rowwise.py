"""Whether a model answers each row by itself: only then may requests share a predict."""

from __future__ import annotations

from typing import Any

from dragoman.formats.estimators import attributes, is_estimator, package_of, walk

# Parameters that hold a function which is used in fitting only, or on one text at a time.
_HARMLESS_FUNCTIONS = frozenset({"scoring", "scorer_", "score_func", "analyzer", "tokenizer", "preprocessor", "importance_getter", "refit"})

# scikit-learn's own estimators whose answer for a row does not depend on the rows beside it.
# Left out: what solves for all rows together (NMF, LatentDirichletAllocation), draws at random, or has no predict for new rows.
_SKLEARN = """
Pipeline ColumnTransformer FeatureUnion FunctionTransformer TransformedTargetRegressor FrozenEstimator GridSearchCV
RandomizedSearchCV HalvingGridSearchCV HalvingRandomSearchCV FixedThresholdClassifier TunedThresholdClassifierCV VotingClassifier
VotingRegressor StackingClassifier StackingRegressor CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration
_TemperatureScaling SelfTrainingClassifier MultiOutputClassifier MultiOutputRegressor ClassifierChain RegressorChain
OneVsRestClassifier OneVsOneClassifier OutputCodeClassifier _ConstantPredictor BaggingClassifier BaggingRegressor AdaBoostClassifier
AdaBoostRegressor RANSACRegressor RFE RFECV SelectFromModel SequentialFeatureSelector StandardScaler MinMaxScaler MaxAbsScaler
RobustScaler Normalizer Binarizer PowerTransformer QuantileTransformer KBinsDiscretizer PolynomialFeatures SplineTransformer
OneHotEncoder OrdinalEncoder TargetEncoder LabelEncoder LabelBinarizer MultiLabelBinarizer SimpleImputer KNNImputer MissingIndicator
KernelCenterer AdditiveChi2Sampler RBFSampler Nystroem SkewedChi2Sampler PolynomialCountSketch VarianceThreshold SelectKBest
SelectPercentile SelectFpr SelectFdr SelectFwe GenericUnivariateSelect CountVectorizer TfidfVectorizer TfidfTransformer
HashingVectorizer FeatureHasher DictVectorizer PCA IncrementalPCA TruncatedSVD KernelPCA FastICA FactorAnalysis
GaussianRandomProjection SparseRandomProjection LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis
NeighborhoodComponentsAnalysis PLSRegression PLSCanonical CCA PLSSVD LinearRegression Ridge RidgeCV RidgeClassifier
RidgeClassifierCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC Lars LarsCV ElasticNet ElasticNetCV MultiTaskLasso
MultiTaskLassoCV MultiTaskElasticNet MultiTaskElasticNetCV OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV BayesianRidge
ARDRegression HuberRegressor TheilSenRegressor QuantileRegressor PoissonRegressor GammaRegressor TweedieRegressor LogisticRegression
LogisticRegressionCV Perceptron PassiveAggressiveClassifier PassiveAggressiveRegressor SGDClassifier SGDRegressor SGDOneClassSVM SVC
NuSVC LinearSVC SVR NuSVR LinearSVR OneClassSVM KernelRidge KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier
RadiusNeighborsRegressor NearestCentroid LocalOutlierFactor KNeighborsTransformer RadiusNeighborsTransformer GaussianNB
MultinomialNB ComplementNB BernoulliNB CategoricalNB DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier
ExtraTreeRegressor RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor RandomTreesEmbedding
GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier HistGradientBoostingRegressor _BinMapper
IsolationForest MLPClassifier MLPRegressor BernoulliRBM GaussianProcessClassifier GaussianProcessRegressor
_BinaryGaussianProcessClassifierLaplace IsotonicRegression LabelPropagation LabelSpreading KMeans MiniBatchKMeans BisectingKMeans
Birch MeanShift AffinityPropagation FeatureAgglomeration GaussianMixture BayesianGaussianMixture EllipticEnvelope
EmpiricalCovariance MinCovDet DummyRegressor DummyClassifier Tree TreePredictor
"""
_ROW_WISE = {
    "sklearn": frozenset(_SKLEARN.split()),
    "xgboost": frozenset(["XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor", "Booster"]),
    "lightgbm": frozenset(["LGBMClassifier", "LGBMRegressor", "LGBMRanker", "LGBMModel", "Booster"]),
}
_RANDOM_ANSWERS = frozenset(["stratified", "uniform"])  # DummyClassifier's strategies


def rows_independent(model: Any) -> bool:
    """Whether each row's answer is known not to depend on the rows beside it: only where every part is one that is known so."""
    return all(_row_wise(part) for part in walk(model))


def own_functions(part: Any) -> list[str]:
    """Attributes that hold functions of the author's own, which joblib can only name."""
    return [key for key, value in attributes(part) if _strange_function(value)]


def _row_wise(part: Any) -> bool:
    name = type(part).__name__
    if type(part).__module__.startswith("sklearn._loss"):
        return True
    if name not in _ROW_WISE.get(package_of(part), ()):
        return False
    if name == "DummyClassifier" and part.strategy in _RANDOM_ANSWERS:
        return False
    return not any(key not in _HARMLESS_FUNCTIONS for key in own_functions(part))


def _strange_function(value: Any) -> bool:
    """A function of the author's own: it may well look at all rows."""
    if not callable(value) or isinstance(value, type) or is_estimator(value):
        return False
    if type(value).__name__ == "ufunc":
        return False
    # an instance (a kernel, a loss) says where it is from by its class, a function by itself
    own = getattr(value, "__module__", None) or type(value).__module__
    return own.partition(".")[0] not in ("sklearn", "builtins", "functools") or "<lambda>" in getattr(value, "__qualname__", "")
