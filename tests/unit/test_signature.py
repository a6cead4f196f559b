"""Signatures: rows are given to the model as it takes them, or refused with the row and the field."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.check import Checker
from dragoman.errors import InvalidInput, SignatureMismatch
from dragoman.signature import Field, Output, Signature, declare, inputs_of
from dragoman.table import Table

NUMBERS = Signature(inputs=(Field("a"), Field("b", minimum=0, maximum=10)))
SHOP = Signature(
    inputs=(
        Field("city", "string", enum=("Bern", "Genf")),
        Field("size", nullable=True, minimum=0),
        Field("floors", "integer"),
        Field("open", "boolean"),
    )
)
GOOD = {"city": "Bern", "size": 1.5, "floors": 2, "open": True}


def check(signature: Signature, rows: Any) -> Table:
    return Checker(signature)(rows if isinstance(rows, Table) else Table.of_rows(rows))


def refusal(signature: Signature, rows: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        check(signature, rows)
    return str(error.value)


# --- what the model gets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[[1, 2], [3, 4]], [{"b": 2, "a": 1}, {"a": 3, "b": 4}], [[1.0, 2], [3, 4.0]]])
def test_numbers_become_one_float_array_in_the_models_order(rows: Any) -> None:
    table = check(NUMBERS, rows)
    assert table.array is not None
    assert (table.array.dtype, table.names) == (np.dtype("float64"), ("a", "b"))
    assert table.array.tolist() == [[1, 2], [3, 4]]


def test_a_model_of_32_bit_floats_gets_them() -> None:
    table = check(Signature(inputs=(Field("a", dtype="float32"),)), [[0.1]])
    assert table.to_numpy().dtype == np.dtype("float32")


def test_mixed_columns_each_have_their_own_type() -> None:
    table = check(SHOP, [GOOD, {"open": False, "floors": 1, "size": None, "city": "Genf"}])
    assert [c.dtype.kind for c in table.columns] == ["O", "f", "i", "b"]
    assert [c.tolist()[0] for c in table.columns] == ["Bern", 1.5, 2, True]
    assert math.isnan(table.columns[1][1])


def test_where_nothing_is_known_rows_pass_as_they_are() -> None:
    table = Table.of_rows([{"whatever": [1][0]}])
    assert check(Signature(), table) is table


def test_no_rows_pass() -> None:
    assert check(NUMBERS, []).to_numpy().shape == (0, 2)
    assert check(SHOP, []).width == 4


def test_a_column_that_need_not_be_there_is_missing_to_the_model() -> None:
    signature = Signature(inputs=(Field("a"), Field("b", required=False), Field("c", "string", required=False)))
    table = check(signature, [{"a": 1}, {"a": 2}])
    assert np.isnan(table.column(1)).all()
    assert table.column(2).tolist() == [None, None]
    assert check(signature, [{"a": 1, "b": 2, "c": "x"}, {"a": 2}]).column(1)[0] == 2


def test_extra_columns_are_ignored_where_the_signature_says_so() -> None:
    signature = msgspec.structs.replace(NUMBERS, extra_columns="ignore")
    assert check(signature, [{"a": 1, "note": "x", "b": 2}]).to_numpy().tolist() == [[1, 2]]


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1, 2], [3, "x"]], "row 1: 'b' must be a number, got \"x\""),
        ([[1, True]], "row 0: 'b' must be a number, got true"),
        ([[1, None]], "row 0: 'b' must be a number, got null"),
        ([[1, math.nan]], "row 0: 'b' must be a finite number, got null"),
        ([[math.inf, 1]], "row 0: 'a' must be a finite number"),
        ([[10**400, 1]], "row 0: 'a' must be a finite number, got a number of more than 40 digits"),
        ([[1, -0.5]], "row 0: 'b' must be at least 0, got -0.5"),
        ([[1, 5], [1, 11]], "row 1: 'b' must be at most 10, got 11"),
        ([[1]], "row 0: has 1 values, the model takes 2: 'a', 'b'"),
        ([{"a": 1}], "column 'b' is missing: the model takes 'a', 'b'"),
        ([{"a": 1, "b": 2}, {"a": 1}], "row 1: 'b' is missing"),
        ([{"a": 1, "b": 2, "c": 3}], "column 'c' is not one of the model's inputs: 'a', 'b'"),
        (Table.of_array(np.array([[True, False]])), "row 0: 'a' must be a number, got true"),
    ],
)
def test_what_is_wrong_with_numbers_is_said(rows: Any, said: str) -> None:
    assert refusal(NUMBERS, rows).startswith(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"city": "Chur"}, "row 0: 'city' must be one of 'Bern', 'Genf', got \"Chur\""),
        ({"city": 5}, "row 0: 'city' must be a string, got 5"),
        ({"city": None}, "row 0: 'city' must be a string, got null"),
        ({"size": -1}, "row 0: 'size' must be at least 0, got -1"),
        ({"size": "wide"}, "row 0: 'size' must be a number, got \"wide\""),
        ({"size": math.inf}, "row 0: 'size' must be a finite number, got infinity"),
        ({"floors": 1.5}, "row 0: 'floors' must be an integer, got 1.5"),
        ({"floors": None}, "row 0: 'floors' must be an integer, got null"),
        ({"floors": 1e300}, "row 0: 'floors' must be an integer of at most 64 bits, got 1e+300"),
        ({"floors": 2**63}, "row 0: 'floors' must be an integer of at most 64 bits"),
        ({"open": 1}, "row 0: 'open' must be a boolean, got 1"),
        ({"open": "yes"}, "row 0: 'open' must be a boolean, got \"yes\""),
    ],
)
def test_what_is_wrong_with_a_mixed_row_is_said(change: dict[str, Any], said: str) -> None:
    assert refusal(SHOP, [GOOD | change]).startswith(said)


def test_a_number_too_large_for_the_models_floats_is_refused() -> None:
    signature = Signature(inputs=(Field("a", dtype="float32"), Field("b", dtype="float32", nullable=True)))
    assert "'a' must be a finite number, got a value too large for float32" in refusal(signature, [[1e300, 1]])
    assert "'b' must be a finite number, got a value too large for float32" in refusal(signature, [[1, 1e300]])
    assert "'a' must be a finite number, got a value too large for float32" in refusal(signature, [[1e300, None]])


def test_a_value_of_an_enum_is_one_in_the_models_own_floats() -> None:
    signature = Signature(inputs=(Field("a", dtype="float32", enum=(0.1, 0.7)),))
    assert check(signature, [[0.1], [0.7]]).rows == 2
    assert "must be one of 0.1, 0.7" in refusal(signature, [[0.2]])


def test_nulls_pass_only_where_the_field_takes_them() -> None:
    signature = Signature(inputs=(Field("a"), Field("b", nullable=True)))
    assert np.isnan(check(signature, [[1, None]]).to_numpy()[0, 1])
    assert refusal(signature, [[None, 1]]).startswith("row 0: 'a' must be a number, got null")
    assert refusal(signature, Table.of_array(np.array([[np.nan, 1]]))).startswith("row 0: 'a' must be a finite number, got null")


def test_a_long_value_is_cut_short_in_a_message() -> None:
    assert len(refusal(NUMBERS, [[1, "x" * 10_000]])) < 120


def test_many_names_are_cut_short_in_a_message() -> None:
    wide = Signature(inputs=tuple(Field(f"f{i}") for i in range(2000)))
    assert "and 1980 more" in refusal(wide, [[1]])


CELLS = st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.sampled_from(["Bern", "Genf", "x", ""]))
FIELDS = st.builds(
    Field,
    name=st.just("a"),
    type=st.sampled_from(["number", "integer", "string", "boolean"]),
    nullable=st.booleans(),
    required=st.booleans(),
    minimum=st.sampled_from([None, 0.0]),
    enum=st.sampled_from([None, ("Bern",), (1, 2)]),
    dtype=st.sampled_from([None, "float32"]),
)


@given(FIELDS, FIELDS, st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_whatever_is_sent_is_of_the_fields_type_or_refused(a: Field, b: Field, rows: list[tuple[Any, Any]]) -> None:
    """And nothing else is raised, and numpy warns of nothing: warnings are errors here."""
    b = msgspec.structs.replace(b, name="b")
    try:
        table = check(Signature(inputs=(a, b)), [list(row) for row in rows])
    except InvalidInput:
        return
    assert (table.rows, table.width) == (len(rows), 2)
    for i, field in enumerate((a, b)):
        for value in table.column(i).tolist():
            absent = value is None or value != value
            if absent:
                assert field.nullable or not field.required
            elif field.type == "string":
                assert isinstance(value, str)
            elif field.type == "boolean":
                assert isinstance(value, bool)
            else:
                assert math.isfinite(value)
                assert field.type == "number" or value == int(value)
                assert field.minimum is None or value >= 0


@given(FIELDS)
def test_the_example_row_passes_unless_the_field_contradicts_itself(field: Field) -> None:
    strange = field.enum is not None and (field.type == "string") != isinstance(field.enum[0], str)
    if strange or (field.enum is not None and field.type == "boolean"):
        return
    signature = Signature(inputs=(field,))
    assert check(signature, [signature.example_row()]).rows == 1


@pytest.mark.parametrize(
    ("field", "example"),
    [
        (Field("a", example=5), 5),
        (Field("a", enum=(3, 4)), 3),
        (Field("a", minimum=2.5), 2.5),
        (Field("a", "integer", minimum=2.5), 3),
        (Field("a", maximum=-1), -1),
        (Field("a", "string"), "text"),
        (Field("a", "boolean"), True),
        (Field("a"), 0.0),
    ],
)
def test_an_example_lies_inside_the_bounds(field: Field, example: Any) -> None:
    assert Signature(inputs=(field,)).example_row() == {"a": example}


# --- declared over inferred -----------------------------------------------------------------------------------------

KNOWN = Signature(
    inputs=(Field("a", dtype="float32", example=1.5), Field("b", dtype="float32")), outputs=(Output("predict"),), classes=(0, 1)
)


def test_what_is_declared_lies_over_what_is_known_in_the_models_order() -> None:
    declared = declare(KNOWN, (Field("b", minimum=0), Field("a")), ("sick", ("no", "yes")))
    assert [(f.name, f.minimum, f.dtype) for f in declared.inputs] == [("a", None, "float32"), ("b", 0, "float32")]
    assert (declared.target, declared.classes) == ("sick", ("no", "yes"))


def test_declared_names_take_the_place_of_numbered_ones() -> None:
    numbered = Signature(inputs=(Field("f0"), Field("f1", dtype="float32")), named=False)
    declared = declare(numbered, (Field("x"), Field("y")), (None, None))
    assert ([f.name for f in declared.inputs], declared.inputs[1].dtype, declared.named) == (["x", "y"], "float32", True)


def test_declared_inputs_stand_where_nothing_is_known() -> None:
    assert declare(Signature(), (Field("x"),), (None, None)).inputs == (Field("x"),)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((Field("a"),), (None, None), "declares 1 inputs, the model takes 2"),
        ((Field("a"), Field("c")), (None, None), r"declares 'c', the model takes \['a', 'b'\]"),
        ((), (None, ("x", "y", "z")), "names 3 classes, the model has 2"),
    ],
)
def test_what_cannot_both_be_true_is_refused(inputs: Any, outputs: Any, said: str) -> None:
    with pytest.raises(SignatureMismatch, match=said):
        declare(KNOWN, inputs, outputs)


def test_authors_write_inputs_as_names_and_types() -> None:
    assert inputs_of({"a": "number", "b": "string"}) == (Field("a"), Field("b", "string"))


def test_a_signature_crosses_a_pipe_as_json() -> None:
    signature = msgspec.structs.replace(SHOP, classes=("x", 1, True), target="t")
    assert msgspec.json.decode(msgspec.json.encode(signature), type=Signature) == signature
