"""Tensors: JSON values and bytes in, arrays; arrays out; and what does not fit is refused by name."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dragoman import json
from dragoman.errors import BadRequest, ModelFailed
from dragoman.tensors import DATATYPES, Tensor, bytes_of, tensor_of_bytes, tensor_of_output, tensor_of_values, values_of

FIXED = {name: kind for name, kind in DATATYPES.items() if kind.wire is not None and name not in ("BF16", "BOOL")}
SHAPES = st.one_of(hnp.array_shapes(max_dims=3, max_side=4), st.just((0,)), st.just((0, 3)))


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    """A datatype and an array of it."""
    name = draw(st.sampled_from([*FIXED, "BOOL", "BYTES"]))
    shape = draw(SHAPES)
    if name == "BYTES":
        return name, draw(hnp.arrays(object, shape, elements=st.text(max_size=6)))
    return name, draw(hnp.arrays(DATATYPES[name].array, shape))


@given(arrays())
def test_bytes_round_trip(typed: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, array = typed
    content = bytes_of(Tensor("x", datatype, array))
    back = tensor_of_bytes("x", datatype, array.shape, content)
    assert back.array.dtype == array.dtype
    np.testing.assert_array_equal(back.array, array)
    assert back.array.flags.writeable


@given(arrays())
def test_json_values_round_trip(typed: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, array = typed
    if array.dtype.kind == "f":
        array = np.where(np.isfinite(array), array, np.nan).astype(array.dtype)  # JSON has null for both
    values = json.decode(json.encode(values_of(Tensor("x", datatype, array))))
    back = tensor_of_values("x", datatype, array.shape, values)
    np.testing.assert_array_equal(back.array, array)
    if 0 not in array.shape:
        nested = json.decode(json.encode(json.writable(array)))
        np.testing.assert_array_equal(tensor_of_values("x", datatype, array.shape, nested).array, array)


def test_integers_on_both_sides_of_the_signed_range_stay_exact() -> None:
    values = [1, 2**63, 2**64 - 1]
    assert tensor_of_values("x", "UINT64", [3], values).array.tolist() == values


@given(hnp.arrays(np.uint16, st.integers(1, 20)))
def test_bf16_is_the_upper_half_of_a_float32(bits: np.ndarray[Any, Any]) -> None:
    with np.errstate(invalid="ignore"):
        expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    got = tensor_of_bytes("x", "BF16", [len(bits)], bits.astype("<u2").tobytes())
    np.testing.assert_array_equal(got.array, expected)
    assert got.array.dtype == np.float32


@given(hnp.arrays(object, st.integers(1, 8), elements=st.text(max_size=20)))
def test_bytes_elements_follow_their_lengths(texts: np.ndarray[Any, Any]) -> None:
    content = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    assert tensor_of_bytes("x", "BYTES", [len(texts)], content).array.tolist() == texts.tolist()


LONG = 2**40


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "message"),
    [
        ("FP64", [1, 2], b"\0" * 15, "shape [1, 2] of FP64 is 16 bytes, got 15"),
        ("FP64", [1, 2], b"\0" * 17, "is 16 bytes, got 17"),
        ("FP99", [1], b"", 'datatype "FP99" is not one of BOOL, INT8'),
        ("fp32", [1], b"\0" * 4, 'datatype "fp32" is not one of'),
        ("INT8", [-1], b"", "a dimension must be between 0 and"),
        ("INT8", [-1, -4], b"\0" * 4, "a dimension must be between 0 and"),
        ("INT8", [LONG, LONG], b"", "a dimension must be between 0 and 2147483647, got 1099511627776"),
        ("INT8", [2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1], b"", "bytes, got 0"),
        ("INT8", [2**31 - 1, 0], b"", "has rows without elements"),
        ("INT8", [], b"\0", "shape must have 1 to 8 dimensions, got 0"),
        ("INT8", [1] * 9, b"\0", "shape must have 1 to 8 dimensions, got 9"),
        ("BOOL", [2], b"\x01\x02", "a BOOL is one byte, 0 or 1, got 2"),
        ("BYTES", [2], b"\x01\0\0\0a", "2 BYTES elements need at least 8 bytes, got 5"),
        ("BYTES", [2**31 - 1], b"", "elements need at least"),
        ("BYTES", [1], b"\xff\xff\xff\xffa", "element 0 reaches beyond the tensor's 5 bytes"),
        ("BYTES", [2], b"\x04\0\0\0aaaa", "element 1 reaches beyond the tensor's 8 bytes"),
        ("BYTES", [1], b"\x01\0\0\0ab", "1 bytes are left after its 1 elements"),
        ("BYTES", [1], b"\x02\0\0\0\xff\xfe", "element 0 is not UTF-8 text"),
        ("BYTES", [0], b"\0", "1 bytes are left after its 0 elements"),
    ],
)
def test_bytes_that_do_not_add_up_are_refused(datatype: str, shape: list[int], content: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        tensor_of_bytes("petals", datatype, shape, content)
    assert str(caught.value).startswith("tensor 'petals': ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "shape", "values", "message"),
    [
        ("FP64", [2], [1.0], "shape [2] is 2 elements, 'data' has 1"),
        ("FP64", [2, 2], [[1, 2], [3]], "has lists of 2, 'data' has one of 1"),
        ("FP64", [2, 2], [[1, 2]], "has 2 rows, 'data' has 1"),
        ("FP64", [2, 2], [[1, 2], 3], "is nested unevenly: a list of 2 was expected, got 3"),
        ("FP64", [2], [[1], [2]], "element 0 must be a number for FP64, got a list"),
        ("FP64", [1, 1], [[[1]]], "element 0 must be a number for FP64, got a list"),
        ("FP64", [2], 5, "'data' must be a list, got 5"),
        ("FP64", [2], None, "'data' must be a list, got null"),
        ("FP64", [2], [1, "2"], 'element 1 must be a number for FP64, got "2"'),
        ("FP64", [2], [1, True], "element 1 must be a number for FP64, got true"),
        ("FP32", [1], [{}], "element 0 must be a number for FP32, got an object"),
        ("INT64", [2], [1, 1.5], "element 1 must be an integer for INT64, got 1.5"),
        ("INT64", [1], [None], "element 0 must be an integer for INT64, got null"),
        ("INT8", [2], [1, 128], "element 1 does not fit INT8, got 128"),
        ("INT64", [1], [2**63], "element 0 does not fit INT64, got 9223372036854775808"),
        ("INT64", [2], [-1, 2**63], "element 1 does not fit INT64"),
        ("UINT64", [2], [2**63, -1], "element 1 does not fit UINT64, got -1"),
        ("UINT8", [1], [-1], "element 0 does not fit UINT8, got -1"),
        ("BOOL", [1], [1], "element 0 must be true or false for BOOL, got 1"),
        ("BYTES", [1], [1], "element 0 must be a string for BYTES, got 1"),
        ("FP64", [LONG], [], "a dimension must be between 0 and"),
        ("BYTES", [2**31 - 1, 2**31 - 1], ["a"], "is 4611686014132420609 elements, 'data' has 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(datatype: str, shape: list[int], values: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        tensor_of_values("petals", datatype, shape, values)
    assert str(caught.value).startswith("tensor 'petals': ")
    assert message in str(caught.value)


def test_null_is_nan_among_numbers_and_none_among_strings() -> None:
    np.testing.assert_array_equal(tensor_of_values("x", "FP32", [2], [1, None]).array, np.array([1, np.nan], dtype=np.float32))
    assert tensor_of_values("x", "BYTES", [2], ["a", None]).array.tolist() == ["a", None]


def test_a_number_too_large_for_its_datatype_becomes_infinite_for_the_signature_to_refuse() -> None:
    assert np.isinf(tensor_of_values("x", "FP16", [1], [1e300]).array).all()


@given(
    st.sampled_from([*DATATYPES, "FP8", ""]),
    st.lists(st.integers(-2, 5) | st.integers(-(2**70), 2**70), max_size=4),
    st.binary(max_size=64),
)
def test_any_bytes_become_a_tensor_or_a_bad_request(datatype: str, shape: list[int], content: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert tensor_of_bytes("x", datatype, shape, content).shape == shape


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=1),
    max_leaves=8,
)


@given(st.sampled_from(list(DATATYPES)), st.lists(st.integers(-1, 3), max_size=3), VALUES)
def test_any_values_become_a_tensor_or_a_bad_request(datatype: str, shape: list[int], values: Any) -> None:
    with contextlib.suppress(BadRequest):
        assert tensor_of_values("x", datatype, shape, values).shape == shape


@pytest.mark.parametrize(
    ("array", "datatype", "values"),
    [
        (np.array([1, 2]), "INT64", [1, 2]),
        (np.array([1], dtype=np.uint8), "UINT8", [1]),
        (np.array([0.5, np.nan]), "FP64", [0.5, None]),
        (np.array([0.1], dtype=np.float32), "FP32", [float(np.float32(0.1))]),
        (np.array([0.5], dtype=np.float16), "FP16", [0.5]),
        (np.array([0.5], dtype=np.longdouble), "FP64", [0.5]),
        (np.array([0.5], dtype=ml_dtypes.bfloat16), "FP32", [0.5]),
        (np.array([True]), "BOOL", [True]),
        (np.array(["a", "bc"]), "BYTES", ["a", "bc"]),
        (np.array([b"a"]), "BYTES", ["a"]),
        (np.array([b"a", b"\xff"], dtype=object), "BYTES", ["a", "\ufffd"]),
        (np.array(["2024-01-31"], dtype="M8[D]"), "BYTES", ["2024-01-31"]),
        (np.array(["a", None], dtype=object), "BYTES", ["a", None]),
        (np.array([1, np.int64(2)], dtype=object), "INT64", [1, 2]),
        (np.array([True, np.True_], dtype=object), "BOOL", [True, True]),
        (np.array([1, 2.5, None], dtype=object), "FP64", [1.0, 2.5, None]),
        (np.array([{"a": 1}, [1, np.float64(2)], "x"], dtype=object), "BYTES", ['{"a":1}', "[1,2.0]", "x"]),
        (np.array([2**70, 1], dtype=object), "BYTES", None),
        (np.array([], dtype=object), "BYTES", []),
    ],
    ids=str,
)
def test_an_answer_takes_the_nearest_datatype(array: Any, datatype: str, values: Any) -> None:
    if values is None:
        with pytest.raises(ModelFailed, match="cannot be written as JSON"):
            tensor_of_output("predict", array)
        return
    tensor = tensor_of_output("predict", array)
    assert (tensor.datatype, tensor.shape) == (datatype, list(array.shape))
    assert json.decode(json.encode(values_of(tensor))) == values
    assert len(bytes_of(tensor)) >= len(array)


def test_an_answer_with_no_datatype_is_the_models_failure() -> None:
    with pytest.raises(ModelFailed, match="the model's predict answered with complex128"):
        tensor_of_output("predict", np.array([1j]))


def test_rows_of_an_answer_stay_row_major() -> None:
    tensor = tensor_of_output("predict_proba", np.array([[1.0, 2.0], [3.0, 4.0]])[:, ::-1])
    assert json.decode(json.encode(values_of(tensor))) == [2.0, 1.0, 4.0, 3.0]
    assert np.frombuffer(bytes_of(tensor)).tolist() == [2.0, 1.0, 4.0, 3.0]
