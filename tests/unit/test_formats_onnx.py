"""ONNX graphs: their inputs become fields, their outputs methods, and rows are answered as onnxruntime answers them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.support.models import alone, answer, assert_same, iris, loaded, own_outputs

from dragoman.errors import InvalidInput, ModelLoadFailed
from dragoman.formats import LoadedModel, probe

Shape = list[int | str | None]


@cache
def classifier() -> Any:
    measurements, species = iris()
    return LogisticRegression(max_iter=500).fit(measurements.to_numpy(), species)


def exported(model: Any, folder: Path, dtype: Any = np.float32, **options: Any) -> LoadedModel:
    graph = to_onnx(model, iris()[0].to_numpy()[:1].astype(dtype), options=options or None)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return loaded(folder / "model.onnx")


def graph_of(folder: Path, inputs: dict[str, tuple[int, Shape]], outputs: dict[str, tuple[int, Shape]], *nodes: onnx.NodeProto) -> Path:
    """A hand-made graph, with inputs and outputs by name: (element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def ran(folder: Path, rows: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: rows}))


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_classifier_has_labels_probabilities_and_classes(tmp_path: Path, zipmap: bool) -> None:
    measurements, _ = iris()
    model = exported(classifier(), tmp_path, zipmap=zipmap)
    signature = model.predictor.signature
    assert [(f.name, f.type, f.dtype) for f in signature.inputs] == [(f"f{i}", "number", "float32") for i in range(4)]
    assert [(o.name, o.type) for o in own_outputs(model)] == [("predict", "integer"), ("predict_proba", "number")]
    assert (signature.classes, signature.named) == ((0, 1, 2), False)
    rows = measurements.to_numpy().tolist()
    assert_same(answer(model, rows), classifier().predict(measurements.to_numpy()))
    proba = answer(model, rows, "predict_proba")
    assert (proba.dtype, proba.shape) == (np.dtype("float32"), (75, 3))
    np.testing.assert_allclose(proba, classifier().predict_proba(measurements.to_numpy()), rtol=1e-4, atol=1e-6)
    assert [o.width for o in probe(model).signature.outputs] == [None, 3, 4]


def test_rows_are_answered_alone_as_together(tmp_path: Path) -> None:
    measurements, species = iris()
    model = exported(RandomForestClassifier(5, random_state=0).fit(measurements.to_numpy(), species), tmp_path, zipmap=False)
    assert model.predictor.rows_independent is True
    rows = measurements.to_numpy().tolist()[:25]
    for output in ("predict", "predict_proba"):
        assert_same(alone(model, rows, output), answer(model, rows, output))


def test_string_labels_and_doubles(tmp_path: Path) -> None:
    measurements, species = iris()
    words = LogisticRegression(max_iter=500).fit(measurements.to_numpy(), np.array(["a", "b", "c"])[species])
    model = exported(words, tmp_path, np.float64, zipmap=False)
    assert model.predictor.signature.classes == ("a", "b", "c")
    assert {f.dtype for f in model.predictor.signature.inputs} == {"float64"}
    assert_same(answer(model, measurements.to_numpy().tolist()), words.predict(measurements.to_numpy()))


def test_a_regression_keeps_the_shape_of_its_graph(tmp_path: Path) -> None:
    measurements, species = iris()
    model = exported(LinearRegression().fit(measurements.to_numpy(), species), tmp_path)
    rows = measurements.to_numpy().astype(np.float32)
    assert answer(model, rows.tolist()).shape == (75, 1)
    assert_same(answer(model, rows.tolist()), ran(tmp_path, rows)[0])


def test_inputs_of_one_value_each_are_named_columns_with_their_own_types(tmp_path: Path) -> None:
    path = graph_of(
        tmp_path,
        {"size": (TensorProto.FLOAT, [None, 1]), "city": (TensorProto.STRING, ["n", 1]), "open": (TensorProto.BOOL, [None, 1])},
        {"size_out": (TensorProto.FLOAT, [None, 1]), "city_out": (TensorProto.STRING, [None, 1]), "shut": (TensorProto.BOOL, [None, 1])},
        helper.make_node("Neg", ["size"], ["size_out"]),
        helper.make_node("Identity", ["city"], ["city_out"]),
        helper.make_node("Not", ["open"], ["shut"]),
    )
    model = loaded(path)
    assert [(f.name, f.type) for f in model.predictor.signature.inputs] == [("size", "number"), ("city", "string"), ("open", "boolean")]
    assert [(o.name, o.type) for o in own_outputs(model)] == [
        ("predict", "number"),
        ("city_out", "string"),
        ("shut", "boolean"),
    ]
    rows = [{"city": "Bern", "open": True, "size": 2}, {"city": "Genf", "open": False, "size": 3.5}]
    assert answer(model, rows).tolist() == [[-2], [-3.5]]
    assert answer(model, rows, "city_out").tolist() == [["Bern"], ["Genf"]]
    assert answer(model, rows, "shut").tolist() == [[False], [True]]


def test_inputs_of_more_dimensions_are_rows_of_all_their_values(tmp_path: Path) -> None:
    path = graph_of(
        tmp_path,
        {"image": (TensorProto.FLOAT, ["batch", 1, 2, 3])},
        {"mirrored": (TensorProto.FLOAT, ["batch", 1, 3, 2])},
        helper.make_node("Transpose", ["image"], ["mirrored"], perm=[0, 1, 3, 2]),
    )
    model = loaded(path)
    assert len(model.predictor.signature.inputs) == 6
    assert model.predictor.signature.outputs[0].width == -1
    assert answer(model, [[1, 2, 3, 4, 5, 6]]).tolist() == [[[[1, 4], [2, 5], [3, 6]]]]


def test_integers_stay_integers(tmp_path: Path) -> None:
    path = graph_of(
        tmp_path,
        {"x": (TensorProto.INT64, [None, 2])},
        {"y": (TensorProto.INT64, [None, 2])},
        helper.make_node("Neg", ["x"], ["y"]),
    )
    model = loaded(path)
    assert answer(model, [[1, 2]]).tolist() == [[-1, -2]]
    with pytest.raises(InvalidInput, match=r"row 0: 'f1' must be an integer, got 2\.5"):
        answer(model, [[1, 2.5]])


def test_a_graph_of_one_row_at_a_time_is_given_one_row_at_a_time(tmp_path: Path) -> None:
    path = graph_of(
        tmp_path,
        {"x": (TensorProto.FLOAT, [1, 2])},
        {"y": (TensorProto.FLOAT, [1, 2])},
        helper.make_node("Neg", ["x"], ["y"]),
    )
    model = loaded(path)
    assert answer(model, [[1, 2], [3, 4], [5, 6]]).tolist() == [[-1, -2], [-3, -4], [-5, -6]]


def test_a_graph_whose_width_is_free_takes_rows_as_they_come_and_does_not_mix_them(tmp_path: Path) -> None:
    path = graph_of(
        tmp_path,
        {"x": (TensorProto.FLOAT, [None, None])},
        {"y": (TensorProto.FLOAT, [None, None])},
        helper.make_node("Neg", ["x"], ["y"]),
    )
    model = loaded(path)
    assert (model.predictor.signature.inputs, model.predictor.rows_independent) == ((), False)
    assert answer(model, [[1, 2, 3]]).tolist() == [[-1, -2, -3]]


def test_only_the_outputs_asked_for_are_given(tmp_path: Path) -> None:
    model = exported(classifier(), tmp_path, zipmap=False)
    from dragoman.table import Table

    given = model.predictor.predict(Table.of_rows([[1, 2, 3, 4]]), ("predict_proba",), {})
    assert list(given) == ["predict_proba"]


def test_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="takes no arguments"):
        answer(exported(classifier(), tmp_path), [[1, 2, 3, 4]], k=1)


@pytest.mark.parametrize(
    ("shape", "element", "said"),
    [
        ([8, 2], TensorProto.FLOAT, "takes exactly 8 rows at a time: export it with a free first dimension"),
        ([], TensorProto.FLOAT, "only tensors of rows can be served"),
    ],
)
def test_graphs_that_do_not_take_rows_are_refused(tmp_path: Path, shape: Shape, element: int, said: str) -> None:
    path = graph_of(tmp_path, {"x": (element, shape)}, {"y": (element, shape)}, helper.make_node("Identity", ["x"], ["y"]))
    with pytest.raises(ModelLoadFailed, match=said):
        loaded(path)


def test_a_corrupt_graph_fails_with_one_clear_line(tmp_path: Path) -> None:
    exported(classifier(), tmp_path)
    content = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelLoadFailed, match=r"^model\.onnx could not be loaded: ") as error:
        loaded(tmp_path / "model.onnx")
    assert "\n" not in str(error.value)


def test_weights_beside_the_graph_are_found(tmp_path: Path) -> None:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], np.eye(2, dtype=np.float32).tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert answer(loaded(tmp_path), [[3, 4]]).tolist() == [[3, 4]]
