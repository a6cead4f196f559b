"""Tables: rows as requests bring them, in one of two forms, cut and joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidInput
from dragoman.table import Table, column_of, concat

CELLS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))


def test_rows_of_numbers_are_one_array() -> None:
    table = Table.of_rows([[1, 2.5], [3, 4]])
    assert table.array is not None
    assert (table.array.dtype, table.rows, table.width, table.names) == (np.dtype("float64"), 2, 2, None)


def test_scalars_are_rows_of_one_feature() -> None:
    assert Table.of_rows([1, 2]).to_numpy().tolist() == [[1], [2]]
    assert Table.of_rows(["a"]).column(0).tolist() == ["a"]


def test_rows_that_mix_types_are_columns_each_of_its_own() -> None:
    table = Table.of_rows([[1, "a", True, None], [2, "b", False, 3]])
    assert [c.dtype.kind for c in table.columns] == ["i", "O", "b", "O"]
    assert table.to_numpy().tolist() == [[1, "a", True, None], [2, "b", False, 3]]


def test_objects_are_named_columns_in_the_order_first_seen() -> None:
    table = Table.of_rows([{"a": 1, "b": "x"}, {"b": "y", "a": 2}])
    assert table.names == ("a", "b")
    assert table.column(1).tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1, 2], [3]], "row 1: has 1 values, row 0 has 2"),
        ([[1], 2], "row 1: must be a list as row 0 is, got a number"),
        ([1, [2]], "row 1: must be a single value as row 0 is, got a list"),
        ([{"a": 1}, [1]], "row 1: must be an object as row 0 is, got a list"),
        ([{"a": 1}, {"a": [1]}], "row 1: 'a' must be a single value, got a list"),
        ([[[1]]], "row 0: 0 must be a single value, got a list"),
        ([["a", {}]], "row 0: 1 must be a single value, got an object"),
    ],
)
def test_the_row_that_differs_is_named(rows: list[Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Table.of_rows(rows)


def test_no_rows_are_a_table_of_none() -> None:
    assert (Table.of_rows([]).rows, Table.of_rows([]).width) == (0, 0)


def test_many_rows_with_keys_of_their_own_are_refused_before_they_fill_the_memory() -> None:
    with pytest.raises(InvalidInput, match="2000 objects with 2000 different keys"):
        Table.of_rows([{str(i): 1} for i in range(2000)])


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_values_come_through_as_they_were(rows: list[list[Any]]) -> None:
    table = Table.of_rows(rows)
    for j in range(2):
        for got, sent in zip(table.column(j).tolist(), [row[j] for row in rows], strict=True):
            if isinstance(got, float) and type(sent) is int:  # beside a float an integer is one, as numbers are in JSON
                assert got == float(sent)
            else:
                assert type(got) is type(sent)
                assert got == sent or (got != got and sent != sent)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=6), st.integers(0, 7), st.integers(0, 7))
def test_slices_put_together_are_the_table(rows: list[list[Any]], first: int, second: int) -> None:
    table = Table.of_rows(rows)
    a, b = sorted((min(first, len(rows)), min(second, len(rows))))
    parts = [table.slice(0, a), table.slice(a, b), table.slice(b, len(rows))]
    assert [p.rows for p in parts] == [a, b - a, len(rows) - b]
    whole = concat(parts)
    assert whole.rows == table.rows
    assert repr(whole.to_numpy().tolist()) == repr(table.to_numpy().tolist())  # NaN is not itself


def test_tables_of_different_columns_are_not_put_together() -> None:
    with pytest.raises(ValueError, match="different columns"):
        concat([Table.of_rows([{"a": 1, "b": 2}]), Table.of_rows([{"b": 1, "a": 2}])])
    with pytest.raises(ValueError, match="different columns"):
        concat([Table.of_rows([[1, 2]]), Table.of_rows([[1, 2, 3]])])


def test_a_frame_has_each_columns_name_and_type() -> None:
    frame = Table.of_rows([{"a": 1, "b": "x", "c": True}]).to_frame()
    assert [str(t) for t in frame.dtypes] == ["int64", "str", "bool"]
    assert list(frame.columns) == ["a", "b", "c"]
    assert Table.of_rows([[1, "x"]]).to_frame().columns.map(str).tolist() == ["0", "1"]
    assert list(Table.of_array(np.ones((1, 2)), ["p", "q"]).to_frame().columns) == ["p", "q"]


def test_integers_beyond_64_bits_stay_what_they_are() -> None:
    assert column_of([2**70, 1]).tolist() == [2**70, 1]
