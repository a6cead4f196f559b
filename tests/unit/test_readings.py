"""One tensor of all features or one a feature: told apart by names and shapes, or by content type."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from tests.unit.models import IRIS, PENGUINS

from dragoman.check import Checker
from dragoman.errors import BadRequest
from dragoman.readings import described_inputs, described_outputs, example_tensors, table_of
from dragoman.signature import Field, Output, Signature
from dragoman.tensors import Tensor

UNKNOWN = Signature()
ONE = Signature((Field("age"),))
WIDE = IRIS.signature
MIXED = PENGUINS.signature
NAMES = tuple(field.name for field in WIDE.inputs)


def of(name: str, values: Any, datatype: str = "FP64") -> Tensor:
    return Tensor(name, datatype, np.asarray(values))


def columns(rows: int, width: int = 1) -> list[Tensor]:
    """One tensor a feature of iris, in another order."""
    return [of(name, np.full((rows, width) if width > 1 else (rows,), i)) for i, name in reversed(list(enumerate(NAMES)))]


@pytest.mark.parametrize("content_type", [None, "np", "other", 5])
@pytest.mark.parametrize("name", ["input", "input-0", "sepal_length"])
def test_one_tensor_as_wide_as_the_model_is_all_features(name: str, content_type: Any) -> None:
    table = table_of([of(name, [[1, 2, 3, 4], [5, 6, 7, 8]])], WIDE, content_type)
    assert Checker(WIDE)(table).to_numpy().tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("content_type", [None, "pd"])
def test_tensors_named_as_features_are_columns_in_any_order(content_type: str | None) -> None:
    for tensors in (columns(2), [Tensor(t.name, t.datatype, t.array.reshape(-1, 1)) for t in columns(2)]):
        assert Checker(WIDE)(table_of(tensors, WIDE, content_type)).to_numpy().tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("array", [[30.0, 40.0], [[30.0], [40.0]]])
@pytest.mark.parametrize("name", ["age", "input"])
@pytest.mark.parametrize("content_type", [None, "np"])
def test_a_model_of_one_feature_takes_rows_in_either_shape(array: Any, name: str, content_type: str | None) -> None:
    assert Checker(ONE)(table_of([of(name, array)], ONE, content_type)).to_numpy().tolist() == [[30.0], [40.0]]


def test_strings_and_numbers_come_as_columns() -> None:
    strings = np.array(["Dream", "Biscoe"], dtype=object)
    tensors = [of("island", strings, "BYTES"), of("year", [2007, 2008], "INT64"), of("bill_length", [40.1, np.nan])]
    frame = Checker(MIXED)(table_of(tensors, MIXED)).to_frame()
    assert frame["island"].tolist() == ["Dream", "Biscoe"]
    assert frame["year"].tolist() == [2007, 2008]


def test_a_model_that_says_nothing_of_its_inputs_takes_either_reading() -> None:
    assert table_of([of("x", [[1, 2]])], UNKNOWN).to_numpy().tolist() == [[1, 2]]
    assert table_of([of("x", [1]), of("y", [2])], UNKNOWN).names == ("x", "y")
    assert table_of([of("x", [1, 2])], UNKNOWN).names == ("x",)


def test_extra_tensors_are_left_out_where_the_model_ignores_extra_columns() -> None:
    signature = msgspec.structs.replace(WIDE, extra_columns="ignore")
    table = table_of([of("other", [[1, 2]]), *columns(3)], signature)
    assert Checker(signature)(table).rows == 3


def test_an_optional_feature_may_be_absent() -> None:
    signature = Signature((Field("a"), Field("b", required=False, nullable=True)))
    assert table_of([of("a", [1.0])], signature).names == ("a",)


@pytest.mark.parametrize(
    ("tensors", "signature", "content_type", "message"),
    [
        ([], WIDE, None, "'inputs' is empty: the model takes one tensor of shape (rows, 4), or one tensor a feature: 'sepal_length'"),
        ([of("x", [[1, 2, 3]])], WIDE, None, "tensor 'x' has shape [1, 3]: the model takes one tensor of shape (rows, 4)"),
        ([of("x", [1, 2, 3, 4])], WIDE, None, "tensor 'x' has shape [4]: the model takes"),
        ([of("x", [1, 2, 3, 4])], WIDE, "np", "tensor 'x' has shape [4]: the model takes"),
        ([of("x", [[[1, 2, 3, 4]]])], WIDE, None, "tensor 'x' has shape [1, 1, 4]: the model takes"),
        ([of("x", [[1, 2, 3, 4]])], WIDE, "pd", "tensor 'x' is not one of the model's inputs"),
        (columns(1), WIDE, "np", "tensor 'petal_length' is one too many"),
        (columns(1)[:3], WIDE, None, "tensor 'sepal_length' is missing"),
        (columns(1)[:1], WIDE, None, "tensor 'sepal_length' is missing"),
        ([*columns(1), of("more", [1])], WIDE, None, "tensor 'more' is not one of the model's inputs"),
        ([*columns(1)[1:], of("petal_width", [1, 2])], WIDE, None, "tensor 'petal_width' has 2 rows, 'petal_length' has 1"),
        (columns(1, 2), WIDE, None, "tensor 'petal_width' has shape [1, 2]: a feature's tensor has shape (rows) or (rows, 1)"),
        ([of("x", [1]), of("x", [1])], UNKNOWN, None, "tensor 'x' is there twice"),
        ([of("x", [[[1]]])], UNKNOWN, None, "tensor 'x' has shape [1, 1, 1]"),
    ],
)
def test_a_mismatch_names_the_tensor(tensors: list[Tensor], signature: Signature, content_type: str | None, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        table_of(tensors, signature, content_type)
    assert str(caught.value).startswith(message)


def test_names_in_a_message_are_cut_short_for_wide_models() -> None:
    signature = Signature(tuple(Field(f"f{i}") for i in range(2000)))
    with pytest.raises(BadRequest, match=r"'f19' and 1980 more$"):
        table_of([], signature)


@pytest.mark.parametrize(
    ("fields", "described"),
    [
        ((Field("a"), Field("b", "integer")), [("input", "FP64", [-1, 2])]),
        ((Field("a", dtype="float32"), Field("b", dtype="float32")), [("input", "FP32", [-1, 2])]),
        ((Field("a", "integer"), Field("b", "integer")), [("input", "INT64", [-1, 2])]),
        ((Field("a", "integer", nullable=True),), [("input", "FP64", [-1, 1])]),
        ((Field("input"),), [("input", "FP64", [-1, 1])]),
        (
            (Field("input", "string"), Field("n"), Field("i", "integer"), Field("b", "boolean")),
            [("input", "BYTES", [-1]), ("n", "FP64", [-1]), ("i", "INT64", [-1]), ("b", "BOOL", [-1])],
        ),
        ((), [("input", "FP64", [-1, -1])]),
    ],
)
def test_inputs_are_described_and_what_is_described_works(fields: tuple[Field, ...], described: list[tuple[str, str, list[int]]]) -> None:
    signature = Signature(fields)
    assert [(d["name"], d["datatype"], d["shape"]) for d in described_inputs(signature)] == described
    tensors = example_tensors(signature)
    assert [(t.name, t.datatype) for t in tensors] == [(name, datatype) for name, datatype, _ in described]
    assert Checker(signature)(table_of(tensors, signature)).rows == 1


def test_outputs_are_described_with_datatype_and_shape() -> None:
    outputs = (
        Output("predict", "string"),
        Output("predict_proba", width=3),
        Output("decision_function", dtype="float32"),
        Output("leaves", "integer", width=-1, dtype="int32"),
        Output("labels", "integer"),
        Output("flag", "boolean"),
        Output("explain", "object"),
    )
    assert [(d["name"], d["datatype"], d["shape"]) for d in described_outputs(Signature(outputs=outputs))] == [
        ("predict", "BYTES", [-1]),
        ("predict_proba", "FP64", [-1, 3]),
        ("decision_function", "FP32", [-1]),
        ("leaves", "INT32", [-1, -1]),
        ("labels", "INT64", [-1]),
        ("flag", "BOOL", [-1]),
        ("explain", "BYTES", [-1]),
    ]
