"""Estimators and pipelines as ONNX graphs that compute in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from dragoman.compiled import GRAPH
from dragoman.compiling.errors import NotCompiled
from dragoman.formats.estimators import package_of, walk
from dragoman.formats.features import is_missing
from dragoman.predictors.program import Column, Graph
from dragoman.signature import Field, Signature

MATRIX = "rows"
_NO_CATEGORY = "\ue000"  # of Unicode's private use: no category of a model's
_SUMS_OF_PRODUCTS = """
Pipeline ColumnTransformer FeatureUnion GridSearchCV RandomizedSearchCV HalvingGridSearchCV HalvingRandomSearchCV FrozenEstimator
StandardScaler MinMaxScaler MaxAbsScaler RobustScaler Normalizer SimpleImputer OneHotEncoder OrdinalEncoder PCA IncrementalPCA
TruncatedSVD VarianceThreshold SelectKBest SelectPercentile SelectFromModel LabelBinarizer LabelEncoder FunctionTransformer
LogisticRegression LogisticRegressionCV RidgeClassifier RidgeClassifierCV SGDClassifier Perceptron PassiveAggressiveClassifier LinearSVC
LinearDiscriminantAnalysis GaussianNB MultinomialNB ComplementNB MLPClassifier MLPRegressor CalibratedClassifierCV
_CalibratedClassifier _SigmoidCalibration LinearRegression Ridge RidgeCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC Lars LarsCV
ElasticNet ElasticNetCV MultiTaskLasso MultiTaskLassoCV MultiTaskElasticNet MultiTaskElasticNetCV BayesianRidge ARDRegression
HuberRegressor QuantileRegressor OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV TheilSenRegressor RANSACRegressor SGDRegressor
PassiveAggressiveRegressor PoissonRegressor GammaRegressor TweedieRegressor LinearSVR PLSRegression
"""
_SUMS = frozenset(_SUMS_OF_PRODUCTS.split())
_MOVES = frozenset(
    ["Identity", "Concat", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "ArrayFeatureExtractor", "Cast"]
)
_NUMBERS = ("number", "integer", "boolean")


def graph_of(model: Any, signature: Signature, outputs: tuple[str, ...], *, features: bool = False) -> tuple[Graph, bytes]:
    """The model, which gives `outputs`; or, as `features`, the steps before one. `NotCompiled` where skl2onnx cannot write it."""
    _known(model)
    fields = signature.inputs
    matrix = all(field.type in _NUMBERS for field in fields) and not _by_name(model)
    columns = () if matrix else tuple(_column(model, index, field) for index, field in enumerate(fields))
    document = _converted(model, len(fields), columns, features=features)
    nodes = [output.name for output in document.graph.output]
    if features:
        named = {"features": nodes[0]}
    elif len(nodes) == 1:
        named = {"predict": nodes[0]}
    else:
        second = "predict_proba" if "predict_proba" in outputs else "decision_function"
        named = {"predict": nodes[0], second: nodes[1]}
    return Graph(GRAPH, named, MATRIX if matrix else "", columns), document.SerializeToString()


def _known(model: Any) -> None:
    """`NotCompiled` where a part is none whose answers are sums and products of the row.

    Where answers jump (neighbours at the same distance, kernels, votes), generated rows may agree, and the one row on an edge not.
    """
    for part in walk(model):
        if package_of(part) == "sklearn" and type(part).__name__ not in _SUMS and not type(part).__module__.startswith("sklearn._loss"):
            raise NotCompiled(f"{type(part).__name__} is not among the estimators that are known to be the same as a graph")


def _converted(model: Any, width: int, columns: tuple[Column, ...], *, features: bool) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    if columns:
        types = [(c.node, StringTensorType([None, 1]) if c.text else DoubleTensorType([None, 1])) for c in columns]
    else:
        types = [(MATRIX, DoubleTensorType([None, width]))]
    _imputers_in_float64()
    document: Any = None
    for options in [None] if features or not hasattr(model, "classes_") else _options(model):
        try:
            document = convert_sklearn(model, initial_types=types, options=options)
            break
        except NameError as unknown:  # an option that this estimator has no use for
            failure: Exception = unknown
        except Exception as error:  # noqa: BLE001  its converters raise anything
            failure = error
            break
    if document is None:
        raise NotCompiled.because(f"skl2onnx cannot write it: {type(failure).__name__}", failure) from failure
    _in_float64(document)
    return document


def _options(model: Any) -> list[dict[Any, Any] | None]:
    """What is tried one after another: not every estimator knows each option, and a pipeline hands them on by its last step alone."""
    last = model
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    if hasattr(model, "predict_proba"):
        return [{"zipmap": False}, None]
    return [{"zipmap": False, "raw_scores": True}, {"raw_scores": True}, {id(last): {"raw_scores": True}}, {"zipmap": False}, None]


def _in_float64(document: Any) -> None:
    """`NotCompiled` where some step computes in 32-bit floats: rows may then agree, and others not. Counting in them is exact."""
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(document).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output, *graph.input)}
    exact: set[str] = set()
    for node in graph.node:
        narrow = [name for name in node.output if kinds.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16)]
        counted = node.op_type == "Cast" and kinds.get(node.input[0]) in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
        if (
            node.op_type == "OneHotEncoder"
            or counted
            or (node.op_type in _MOVES and exact.issuperset(node.input if node.op_type == "Concat" else node.input[:1]))
        ):
            exact.update(node.output)
        elif narrow:
            raise NotCompiled(f"its graph computes in 32-bit floats ({node.op_type})")


def _imputers_in_float64() -> None:
    """skl2onnx writes SimpleImputer as an operator that onnxruntime has for 32-bit floats alone: as a choice it is exact in 64.

    Missing strings have been filled before they reach the graph: see `Column.missing`.
    """
    from skl2onnx import update_registered_converter
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
    from sklearn.impute import SimpleImputer

    def shape(operator: Any) -> None:
        columns = len(operator.raw_operator.statistics_)
        kind = StringTensorType if isinstance(operator.inputs[0].type, StringTensorType) else DoubleTensorType
        operator.outputs[0].type = kind([None, columns])

    def convert(scope: Any, operator: Any, container: Any) -> None:
        imputer, rows, filled = operator.raw_operator, operator.inputs[0].full_name, operator.outputs[0].full_name
        if isinstance(operator.inputs[0].type, StringTensorType):
            container.add_node("Identity", rows, filled, name=scope.get_unique_operator_name("Imputed"))
            return
        statistics = imputer.statistics_.astype(np.float64)
        if imputer.add_indicator or np.isnan(statistics).any() or not is_missing(imputer.missing_values):
            raise NotImplementedError("this SimpleImputer does more than to fill each column")
        values, missing = scope.get_unique_variable_name("statistics"), scope.get_unique_variable_name("missing")
        container.add_initializer(values, TensorProto.DOUBLE, [1, len(statistics)], statistics.tolist())
        container.add_node("IsNaN", rows, missing, op_version=13, name=scope.get_unique_operator_name("Missing"))
        container.add_node("Where", [missing, values, rows], filled, op_version=9, name=scope.get_unique_operator_name("Imputed"))

    from onnx import TensorProto

    update_registered_converter(SimpleImputer, "DragomanSimpleImputer", shape, convert, overwrite=True)


def _by_name(model: Any) -> bool:
    """Whether some step picks its columns by name."""
    return any(
        isinstance(columns, str) or (hasattr(columns, "__iter__") and any(isinstance(c, str) for c in columns))
        for part in walk(model)
        for _, _, columns in getattr(part, "transformers_", ())
    )


def _column(model: Any, index: int, field: Field) -> Column:
    if field.type != "string":
        return Column(field.name, index)
    return Column(field.name, index, text=True, missing=(_imputed(model, field.name, index) or _NO_CATEGORY) if field.nullable else None)


def _imputed(model: Any, name: str, index: int) -> str | None:
    """What an imputer, as the first step that takes this column of strings, puts for a missing one."""
    for part in walk(model):
        for _, step, columns in getattr(part, "transformers_", ()):
            chosen = [columns] if isinstance(columns, str | int) else list(columns) if hasattr(columns, "__iter__") else []
            where = next((i for i, column in enumerate(chosen) if column in (name, index)), None)
            first = step
            while hasattr(first, "steps") and first.steps:
                first = first.steps[0][1]
            statistics = getattr(first, "statistics_", None)
            if where is not None and statistics is not None and isinstance(statistics[where], str):
                return str(statistics[where])
    return None
