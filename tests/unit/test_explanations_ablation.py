"""Models that cannot explain themselves: the score of a row less its score with one input at the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.svm import SVC
from tests.support.models import answer, assert_same, files, iris, loaded, nuclei

import dragoman
from dragoman.call import EXPLAIN, PREDICT
from dragoman.errors import BadRequest, DeadlineExceeded, ModelFailed, TooLarge
from dragoman.formats import LoadedModel, Settings, load
from dragoman.formats.explaining import explained
from dragoman.predictors.explanations.ablation import MOST_PREDICTIONS, MOST_ROWS
from dragoman.predictors.explanations.background import Background
from dragoman.predictors.explanations.pieces import Pieces
from dragoman.signature import Field, Output, Signature
from dragoman.table import Array, Table

ABC = (Field("a"), Field("b"), Field("c"))


@dataclass(frozen=True)
class Asks:
    """A predictor of functions of the rows, which keeps count of the rows that it is asked for."""

    functions: Mapping[str, Any]
    signature: Signature
    rows_independent: bool = True
    asked: list[tuple[str, int]] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = table.to_numpy()
        self.asked.extend((name, table.rows) for name in outputs)
        self.rows.append(rows.copy())
        return {name: self.functions[name](rows, **arguments) for name in outputs}


def asks(
    inputs: Sequence[Field] = ABC, classes: tuple[Any, ...] | None = None, rows_independent: bool = True, **functions: Any
) -> tuple[Asks, Signature]:
    signature = Signature(tuple(inputs), tuple(Output(name) for name in functions), classes)
    return Asks(functions, signature, rows_independent), signature


def explaining(asked: tuple[Asks, Signature], sample: Sequence[Sequence[Any]] = (), **options: Any) -> LoadedModel:
    predictor, signature = asked
    return explained(LoadedModel(predictor), signature, sample, Settings(**options))


def additive(rows: Array) -> Array:
    """3a - 2b + c²"""
    return np.asarray(3 * rows[:, 0] - 2 * rows[:, 1] + rows[:, 2] ** 2)


def labels_of(model: Any) -> Any:
    return lambda rows: np.array(["a", "b", "c"])[model(rows).argmax(axis=1)]


def three(rows: Array) -> Array:
    """A score for each of three classes."""
    raised = np.exp(rows)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


# --- what it means --------------------------------------------------------------------------------------------------


def test_of_an_additive_function_each_term_is_found() -> None:
    model = explaining(asks(predict=additive), [[1, 1, 1], [2, 5, 3], [2, 1, 2]])  # medians: 2, 1, 2
    assert_same(answer(model, [[4, 3, 5], [0, 0, 0]], EXPLAIN), [[3 * 2, -2 * 2, 25 - 4], [3 * -2, -2 * -1, -4.0]])


@given(
    rows=st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=6),
    sample=st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=6),
    independent=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_of_any_additive_function_contributions_are_the_difference_from_the_reference(rows: Any, sample: Any, independent: bool) -> None:
    model = explaining(asks(predict=additive, rows_independent=independent), sample)
    reference = additive(np.median(np.array(sample), axis=0)[None])[0]
    np.testing.assert_allclose(answer(model, rows, EXPLAIN).sum(axis=1) + reference, additive(np.array(rows)), rtol=0, atol=1e-10)


def test_without_a_sample_rows_are_compared_with_the_example_row() -> None:
    model = explaining(asks((Field("a", example=2.0), Field("b", minimum=1), Field("c")), predict=additive))
    assert_same(answer(model, [[4, 3, 5]], EXPLAIN), [[6.0, -4.0, 25.0]])
    assert how(model) == "ablation against the example row"


def test_an_input_at_its_reference_contributes_nothing_and_costs_nothing() -> None:
    predictor, signature = asks(predict=lambda rows: np.random.default_rng().random(len(rows)))  # no two answers are alike
    found = answer(explaining((predictor, signature), [[1, 2, 3]]), [[1, 5, 3], [1, 2, 3]], EXPLAIN)
    assert (found == 0).tolist() == [[True, False, True], [True, True, True]]
    assert predictor.asked == [(PREDICT, 3)]


def how(model: LoadedModel) -> str | None:
    return next(o.how for o in model.predictor.signature.outputs if o.name == EXPLAIN)


# --- which score ----------------------------------------------------------------------------------------------------


def test_of_two_classes_it_is_the_last_ones_probability() -> None:
    def proba(rows: Array) -> Array:
        last = 1 / (1 + np.exp(-rows[:, 0]))
        return np.column_stack([1 - last, last])

    model = explaining(asks(predict_proba=proba, predict=lambda rows: rows[:, 0] > 0, classes=("no", "yes")), [[0, 0, 0]])
    found = answer(model, [[2, 1, 1], [-2, 1, 1]], EXPLAIN)
    np.testing.assert_allclose(found, [[1 / (1 + np.exp(-2)) - 0.5, 0, 0], [1 / (1 + np.exp(2)) - 0.5, 0, 0]], rtol=1e-12)


def test_of_several_classes_it_is_the_one_that_the_model_predicts_and_not_the_likeliest() -> None:
    functions: dict[str, Any] = {PREDICT: lambda rows: np.array(["c"] * len(rows)), "predict_proba": three}
    predictor, signature = asks(classes=("a", "b", "c"), **functions)
    model = explaining((predictor, signature), [[0, 0, 0]])
    found = answer(model, [[5.0, 0, 0]], EXPLAIN)
    np.testing.assert_allclose(found[0, 0], three(np.array([[5.0, 0, 0]]))[0, 2] - 1 / 3, rtol=1e-12)
    assert sorted(predictor.asked) == [(PREDICT, 1), ("predict_proba", 2)]


def test_what_the_request_has_asked_for_anyway_is_not_asked_for_again() -> None:
    predictor, signature = asks(classes=("a", "b", "c"), predict=labels_of(three), predict_proba=three)
    model = explaining((predictor, signature), [[0, 0, 0]])
    given = model.predictor.predict(Table.of_array(np.array([[5.0, 1, 0]]), ("a", "b", "c")), (EXPLAIN, PREDICT), {})
    assert given[PREDICT].tolist() == ["a"]
    assert predictor.asked == [(PREDICT, 1), ("predict_proba", 3)]


def test_classes_may_be_called_otherwise_by_the_manifest(tmp_path: Path) -> None:
    measurements, species = iris()
    joblib.dump(GaussianNB().fit(measurements, species), tmp_path / "m.joblib")
    renamed = loaded(tmp_path / "m.joblib", outputs=("species", ["setosa", "versicolor", "virginica"]))
    rows = measurements.to_dict("records")
    assert_same(answer(renamed, rows, EXPLAIN), answer(loaded(tmp_path / "m.joblib"), rows, EXPLAIN))


@pytest.mark.parametrize("classes", [None, ("a", "b", "c")])
def test_where_there_are_labels_only_it_is_whether_the_label_stays(classes: Any) -> None:
    model = explaining(asks(predict=labels_of(three), classes=classes), [[0, 0, 0]])
    # the first row is an "a" by its first value alone: the others may be anything
    assert answer(model, [[5, 1, 0], [0, 0, 1]], EXPLAIN).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_of_two_labels_it_is_whether_it_is_the_last() -> None:
    model = explaining(asks(predict=lambda rows: np.where(rows[:, 0] > 1, "yes", "no"), classes=("no", "yes")), [[2, 0, 0]])
    assert answer(model, [[3, 1, 1], [0, 1, 1]], EXPLAIN).tolist() == [[0, 0, 0], [-1, 0, 0]]
    model = explaining(asks(predict=lambda rows: rows[:, 0] > 1), [[2, 0, 0]])
    assert answer(model, [[0, 1, 1]], EXPLAIN).tolist() == [[-1, 0, 0]]


def test_a_value_beside_named_classes_is_a_value() -> None:
    """What a python model answers by `predict` may be the probability itself."""
    model = explaining(asks(predict=lambda rows: rows[:, 0] / 10, classes=("no", "yes")), [[0, 0, 0]])
    assert_same(answer(model, [[5, 1, 1]], EXPLAIN), [[0.5, 0, 0]])


def test_probabilities_without_names_are_told_by_their_sum() -> None:
    model = explaining(asks(predict=three), [[0, 0, 0]])
    np.testing.assert_allclose(answer(model, [[0, 4.0, 0]], EXPLAIN)[0, 1], three(np.array([[0, 4.0, 0]]))[0, 1] - 1 / 3, rtol=1e-12)


def test_one_value_a_row_may_come_in_a_column() -> None:
    model = explaining(asks(predict=lambda rows: additive(rows)[:, None]), [[0, 0, 0]])
    assert_same(answer(model, [[1, 1, 1]], EXPLAIN), [[3.0, -2.0, 1.0]])


def test_several_values_a_row_have_no_one_number_to_explain() -> None:
    model = explaining(asks(predict=lambda rows: rows * 2), [[0, 0, 0]])
    with pytest.raises(BadRequest, match="the model's predict answers several values a row, and an explanation is of one"):
        answer(model, [[1, 2, 3]], EXPLAIN)


def test_scores_of_pairs_of_classes_are_passed_over(tmp_path: Path) -> None:
    measurements, species = iris()
    joblib.dump(SVC(decision_function_shape="ovo").fit(measurements, species), tmp_path / "m.joblib")
    found = answer(loaded(tmp_path / "m.joblib"), measurements.to_dict("records"), EXPLAIN)
    assert set(np.unique(found)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "model",
    [
        RandomForestRegressor(n_estimators=4, random_state=0),
        RandomForestClassifier(n_estimators=4, random_state=0),
        KNeighborsClassifier(),
        SVC(),
        MLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0),
        IsolationForest(n_estimators=4, random_state=0),
        KMeans(3, n_init=1, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_it_is_the_difference_that_the_model_itself_makes(tmp_path: Path, model: Any) -> None:
    measurements, benign = nuclei()
    model.fit(measurements, benign)
    dragoman.save(model, tmp_path, background=measurements)
    kept = measurements.iloc[np.linspace(0, len(measurements) - 1, 100).astype(int)]

    def score(rows: Any) -> Any:
        if hasattr(model, "predict_proba"):
            return model.predict_proba(rows)[:, 1]
        if hasattr(model, "decision_function"):
            return model.decision_function(rows)
        found = model.predict(rows)
        return (found == predicted) * 1.0 if isinstance(model, KMeans) else found

    rows = measurements.head(20)
    predicted = model.predict(rows)
    expected = [score(rows) - score(rows.assign(**{name: kept[name].median()})) for name in rows.columns]
    np.testing.assert_allclose(answer(loaded(tmp_path), rows.to_dict("records"), EXPLAIN), np.column_stack(expected), rtol=0, atol=1e-9)


# --- the reference --------------------------------------------------------------------------------------------------


def test_the_reference_is_the_median_or_the_most_frequent_value() -> None:
    fields = (
        Field("number"),
        Field("count", "integer"),
        Field("word", "string"),
        Field("flag", "boolean"),
        Field("code", enum=(1, 2, 9)),
        Field("gone", nullable=True),
        Field("part", nullable=True),
    )
    sample = (
        (1, 1, "x", True, 9, None, None),
        (2, 2, "y", False, 1, None, 3.0),
        (4, 4, "y", False, 9, None, 5.0),
        (9, 5, "x", False, 2, None, 7.0),
    )
    reference = Background(sample, Signature(fields)).reference
    found = [reference.column(i)[0] for i in range(7)]
    assert found[:5] == [3.0, 2, "y", False, 9]  # of two as frequent the same each time
    assert np.isnan(found[5])
    assert found[6] == 5.0
    assert (reference.column(1).dtype, reference.column(3).dtype) == (np.dtype("int64"), np.dtype(bool))


def test_a_sample_may_go_beyond_the_bounds_that_requests_have() -> None:
    sample = ((100.0, "other"), (200.0, "other"))
    background = Background(sample, Signature((Field("a", maximum=5), Field("b", "string", enum=("one",)))))
    assert [background.reference.column(i)[0] for i in range(2)] == [150.0, "other"]
    assert background.table.rows == 2


def test_rows_of_the_sample_that_miss_what_the_model_needs_are_left_out_of_a_mean() -> None:
    background = Background(((1.0, None), (None, 2.0), (3.0, 4.0)), Signature((Field("a", nullable=True), Field("b"))))
    assert background.table.to_numpy()[:, 1].tolist() == [2.0, 4.0]


def test_a_sample_of_other_columns_is_told() -> None:
    with pytest.raises(ModelFailed, match="the background sample has 1 columns, the model takes 2"):
        _ = Background(((1.0,),), Signature((Field("a"), Field("b")))).reference
    with pytest.raises(ModelFailed, match="the background sample does not fit the model's inputs: row 0: 'a' must be a number"):
        _ = Background((("x",),), Signature((Field("a", nullable=True),))).reference


def test_missing_values_are_values() -> None:
    def scored(rows: Array) -> Array:
        return np.where(np.isnan(rows[:, 0]), 10.0, rows[:, 0])

    inputs = (Field("a", nullable=True), Field("b", nullable=True))
    model = explaining(asks(inputs, predict=scored), [[1.0, None], [1.0, None]])
    assert answer(model, [[None, 3.0], [4.0, None], [1.0, None]], EXPLAIN).tolist() == [[9, 0], [3, 0], [0, 0]]


def test_columns_of_several_types_are_each_put_at_their_own_reference() -> None:
    def scored(rows: Array) -> Array:
        return np.array([{"x": 1.0, "y": 2.0, None: 5.0}[word] + 10 * flag + 100 * count for word, flag, count in rows.tolist()])

    inputs = (Field("word", "string", nullable=True), Field("flag", "boolean"), Field("count", "integer"))
    model = explaining(asks(inputs, predict=scored), [["x", True, 3], ["x", True, 4]])
    found = answer(model, [["y", False, 5], [None, True, 3]], EXPLAIN)
    assert found.tolist() == [[1, -10, 200], [4, 0, 0]]


# --- what it costs --------------------------------------------------------------------------------------------------


def test_independent_rows_are_stacked_in_one_predict() -> None:
    predictor, signature = asks(predict=additive)
    answer(explaining((predictor, signature), [[0, 0, 0]]), [[1, 2, 3], [4, 5, 6]], EXPLAIN)
    assert predictor.asked == [(PREDICT, 8)]


def test_many_rows_are_predicted_some_at_a_time() -> None:
    predictor, signature = asks(predict=additive)
    rows = np.random.default_rng(0).normal(size=(3_000, 3))
    found = answer(explaining((predictor, signature), [[0, 0, 0]]), Table.of_array(rows), EXPLAIN)
    assert [count for _, count in predictor.asked] == [MOST_ROWS, MOST_ROWS, 12_000 - 2 * MOST_ROWS]
    np.testing.assert_allclose(found, np.column_stack([3 * rows[:, 0], -2 * rows[:, 1], rows[:, 2] ** 2]), rtol=0, atol=1e-12)


def test_a_wide_row_is_predicted_some_inputs_at_a_time() -> None:
    predictor, signature = asks([Field(f"x{i}") for i in range(1_500)], predict=lambda rows: rows @ np.arange(1_500.0))
    found = answer(explaining((predictor, signature)), [[1.0] * 1_500], EXPLAIN)
    assert len(predictor.asked) == 3
    assert_same(found[0], np.arange(1_500.0))


def test_rows_that_depend_on_each_other_stay_together() -> None:
    def centred(rows: Array) -> Array:
        return np.asarray((rows - rows.mean(axis=0)).sum(axis=1))

    predictor, signature = asks(predict=centred, rows_independent=False)
    rows = [[1.0, 2, 3], [4, 5, 9]]
    found = answer(explaining((predictor, signature), [[0, 0, 3]]), rows, EXPLAIN)
    assert predictor.asked == [(PREDICT, 2)] * 4
    for changed, seen in enumerate(predictor.rows[1:]):
        expected = np.array(rows)
        expected[:, changed] = [0, 0, 3][changed]
        np.testing.assert_array_equal(seen, expected)
    assert_same(found, [[-1.5, -1.5, -3], [1.5, 1.5, 3]])


def test_the_manifest_may_say_that_rows_depend_on_each_other(tmp_path: Path) -> None:
    measurements, species = iris()
    joblib.dump(GaussianNB().fit(measurements, species), tmp_path / "m.joblib")
    for said in (None, True, False):
        model = load(files(tmp_path / "m.joblib"), settings=Settings(rows_independent=said))
        assert model.predictor.rows_independent is (said is not False)


def test_above_the_bound_it_is_refused_with_the_number_of_rows_that_fit() -> None:
    predictor, signature = asks(predict=additive)
    most = MOST_PREDICTIONS // 3
    with pytest.raises(
        TooLarge, match=f"takes {3 * most + 3} predictions, and a request may take {MOST_PREDICTIONS}: send at most {most} rows"
    ):
        answer(explaining((predictor, signature)), Table.of_array(np.ones((most + 1, 3))), EXPLAIN)
    assert predictor.asked == []


def test_it_is_given_up_when_its_time_is_over() -> None:
    clock = iter([0.0, 10.0, 40.0])
    pieces = Pieces(30.0, clock=lambda: next(clock)).of(250, 1, 100)
    assert [next(pieces), next(pieces)] == [(0, 100), (100, 200)]
    with pytest.raises(DeadlineExceeded, match=r"explaining was given up after 30 s, 80 % done: send fewer rows, or raise serving\.limits"):
        next(pieces)


def test_of_a_requests_time_it_takes_half_at_most() -> None:
    model = explaining(asks(predict=additive), timeout_seconds=0.0)
    assert answer(model, [[1, 2, 3]], EXPLAIN).shape == (1, 3)  # one predict is not given up
    with pytest.raises(DeadlineExceeded, match="explaining was given up after 0 s, 34 % done"):
        answer(model, Table.of_array(np.ones((3_000, 3))), EXPLAIN)
    assert explaining(asks(predict=additive), timeout_seconds=10.0).predictor.explainer.pieces.seconds == 5  # type: ignore[attr-defined]


# --- what else reaches it -------------------------------------------------------------------------------------------


def test_everything_else_goes_straight_to_the_model() -> None:
    predictor, signature = asks(predict=additive)
    rows = Table.of_array(np.ones((2, 3)))
    given = explaining((predictor, signature)).predictor.predict(rows, (PREDICT,), {})
    assert given == {PREDICT: given[PREDICT]}
    assert predictor.asked == [(PREDICT, 2)]


def test_arguments_go_to_the_model() -> None:
    model = explaining(asks(predict=lambda rows, times=1: times * additive(rows)), [[0, 0, 0]])
    assert_same(answer(model, [[1, 1, 1]], EXPLAIN, times=2), [[6.0, -4.0, 2.0]])


def test_rows_that_a_dialect_checked_by_its_own_rules_are_put_in_order() -> None:
    model = explaining(asks(predict=additive), [[0.5, 0, 0]])
    table = Table.of_columns({"c": np.array([2, 3]), "b": np.array([1, 1]), "a": np.array([1, 2])})
    assert_same(model.predictor.predict(table, (EXPLAIN,), {})[EXPLAIN], [[1.5, -2.0, 4.0], [4.5, -2.0, 9.0]])


def test_a_model_whose_inputs_are_not_known_is_not_explained() -> None:
    for model in (explaining(asks((), predict=additive)), explaining(asks(recommend=additive))):
        assert EXPLAIN not in [output.name for output in model.predictor.signature.outputs]
