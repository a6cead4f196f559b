"""The datarobot dialect: layouts, explanations, humility, moments and series as values; its options; its replies as a codec gives them."""

from __future__ import annotations

import json
import shlex
import time
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import Prediction
from dragoman.check import Checker
from dragoman.datarobot_options import Datarobot as Options
from dragoman.dialects.datarobot import DataRobot, json_reply
from dragoman.dialects.datarobot.dataset import Dataset
from dragoman.dialects.datarobot.explanations import contributions, explained, signs, strongest
from dragoman.dialects.datarobot.humility import fired
from dragoman.dialects.datarobot.layout import layout_of
from dragoman.dialects.datarobot.moments import Step, parsed, utc, written
from dragoman.dialects.datarobot.refusals import ReturnError, Unprocessable
from dragoman.dialects.dialect import Predict, Request, Surface
from dragoman.errors import BadRequest, ModelFailed, NotReady, SignatureMismatch, UnknownToken
from dragoman.signature import Field, Output, Signature
from dragoman.table import Table

NUMBER = Output("predict")
PROBA = Output("predict_proba", width=2)
REGRESSION = Signature((Field("x"),), (NUMBER, Output("explain", width=1)), target="y")
COIN = Signature((Field("p"),), (Output("predict", "integer"), PROBA), classes=(0, 1))


def options(**given: Any) -> Options:
    """As a manifest has them."""
    return msgspec.convert(given, Options)


def prediction(**outputs: Any) -> Prediction:
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    return Prediction(arrays, len(next(iter(arrays.values()))))


# --- layouts ------------------------------------------------------------------------------------------------------


def test_a_regression_has_its_target_for_a_label() -> None:
    assert layout_of(REGRESSION, options(), "m").labels == ("y",)
    assert layout_of(REGRESSION, options(target="z"), "m").labels == ("z",)
    assert layout_of(Signature(outputs=(NUMBER,)), options(), "m").labels == ("target",)


@pytest.mark.parametrize(
    ("classes", "positive", "labels"),
    [
        ((0, 1), None, (1, 0)),
        ((0, 1), 0, (0, 1)),
        ((0, 1), "1", (1, 0)),
        ((False, True), True, (True, False)),
        ((False, True), "False", (False, True)),
        (("no", "yes"), "no", ("no", "yes")),
        (("0", "1"), 1, ("1", "0")),
    ],
)
def test_the_positive_class_comes_first_in_its_own_type(classes: Any, positive: Any, labels: Any) -> None:
    given = {} if positive is None else {"positiveClass": positive}
    layout = layout_of(Signature(outputs=(PROBA,), classes=classes), options(**given), "m")
    assert layout.labels == labels
    assert [type(label) for label in layout.labels] == [type(label) for label in labels]
    values = layout.values(prediction(predict_proba=[[0.3, 0.7]]))
    assert values[0].tolist() == ([0.7, 0.3] if labels == (classes[1], classes[0]) else [0.3, 0.7])


@pytest.mark.parametrize(
    ("signature", "given", "message"),
    [
        (REGRESSION, {"positiveClass": 1}, "positiveClass: model 'm' has no classes that are known"),
        (REGRESSION, {"classOrder": [1]}, "classOrder: model 'm' has no classes that are known"),
        (COIN, {"positiveClass": 2}, "positiveClass: 2 is none of the classes of model 'm'"),
        (COIN, {"classOrder": [1, 0]}, "classOrder: model 'm' has two classes"),
        (COIN, {"exposureColumn": "e"}, "exposureColumn: model 'm' is a classifier"),
        (IRIS.signature, {"positiveClass": 1}, "positiveClass: model 'm' has 3 classes"),
        (IRIS.signature, {"classOrder": [0, 1]}, "classOrder: model 'm' has the classes"),
        (IRIS.signature, {"classOrder": [0, 1, 1]}, "classOrder: model 'm' has the classes"),
        (Signature(outputs=(Output("predict", "string"),), classes=("a", "b")), {}, "is a classifier without predict_proba"),
        (Signature(outputs=(Output("predict", width=2),)), {}, "predicts 2 values a row, and this API has one target"),
    ],
)
def test_options_that_the_model_cannot_be_are_refused(signature: Signature, given: dict[str, Any], message: str) -> None:
    with pytest.raises(SignatureMismatch, match=message):
        layout_of(signature, options(**given), "m")


def test_a_boosters_own_predictions_are_probabilities() -> None:
    booster = Signature(outputs=(NUMBER,), classes=("no", "yes"))
    layout = layout_of(booster, options(), "m")
    assert layout.outputs(False) == ("predict",)
    for answer in ([0.25, 0.75], [[0.25], [0.75]]):
        assert layout.values(prediction(predict=answer)).tolist() == [[0.25, 0.75], [0.75, 0.25]]


def test_decisions() -> None:
    binary = layout_of(COIN, options(threshold=0.3), "m")
    assert [binary.labels[i] for i in binary.decided(np.array([[0.3, 0.7], [0.31, 0.69], [np.nan, np.nan]]))] == [0, 1, 0]
    several = layout_of(IRIS.signature, options(classOrder=[2, 1, 0]), "m")
    assert [several.labels[i] for i in several.decided(np.array([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]))] == [2, 0]


@pytest.mark.parametrize("answer", [[[1.0, 2.0]], [["a"]], [[[1.0]]]])
def test_an_answer_of_another_shape_is_the_models_failure(answer: Any) -> None:
    with pytest.raises(ModelFailed, match="the model's predict answered with"):
        layout_of(REGRESSION, options(), "m").values(prediction(predict=answer))


# --- explanations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "features", "expected"),
    [
        (0.543, 5, "+++"),
        (0.307, 5, "++"),
        (-0.15, 5, "--"),
        (0.01, 1, "+++"),
        (-0.76, 2, "---"),
        (0.75, 2, "++"),
        (0.25, 2, "+"),
        (-0.2, 2, "-"),
        (0.21, 50, "+++"),
        (0.2, 50, "++"),
        (-0.05, 50, "-"),
    ],
)
def test_signs_tell_a_features_share(share: float, features: int, expected: str) -> None:
    assert signs(share, features) == expected


def test_the_originals_own_example_has_its_own_signs() -> None:
    """Of a model of five features, the other two of which contribute little."""
    found = strongest({"driver_age": 0.6194461777, "gender": -0.171075409, "territory": 0.3501610895, "a": 0.001, "b": 0.0}, 3)
    assert [(e.feature, e.qualitative) for e in found] == [("driver_age", "+++"), ("territory", "++"), ("gender", "--")]


@given(st.dictionaries(st.text(max_size=4), st.floats(-1e6, 1e6), max_size=12), st.integers(0, 15))
def test_the_strongest_are_ranked_and_bounded(strengths: dict[str, float], most: int) -> None:
    found = strongest(strengths, most)
    sizes = [abs(e.strength) for e in found]
    assert sizes == sorted(sizes, reverse=True)
    assert len(found) == min(most, sum(1 for s in strengths.values() if s))
    assert all(e.qualitative == e.qualitative[0] * len(e.qualitative) and (e.qualitative[0] == "+") == (e.strength > 0) for e in found)


def test_what_is_no_number_does_not_contribute() -> None:
    assert [e.feature for e in strongest({"a": float("nan"), "b": 1.0, "c": 0.0}, 5)] == ["b"]


@pytest.mark.parametrize(
    "given",
    [
        np.array([[1.0, -2.0], [0.0, 3.0]]),
        np.array([{"a": 1.0, "b": -2.0}, {"b": 3}], dtype=object),
        np.array([[1, -2], [0, 3]], dtype=object),
    ],
)
def test_contributions_are_numbers_by_position_or_by_name(given: Any) -> None:
    row = contributions(given, ["a", "b"])
    assert [{n: s for n, s in row(i).items() if s} for i in range(2)] == [{"a": 1.0, "b": -2.0}, {"b": 3.0}]
    assert dict(contributions(given, ["a", "b"], sign=-1)(1))["b"] == -3.0


@pytest.mark.parametrize("given", [np.array([[1.0]]), np.array([{"a": "much"}]), np.array(["a", "b"], dtype=object)])
def test_contributions_of_another_form_are_the_models_failure(given: Any) -> None:
    with pytest.raises(ModelFailed):
        contributions(given, ["a", "b"])(0)


def test_rows_are_explained_beyond_either_threshold() -> None:
    scores = np.array([0.1, 0.2, 0.5, 0.8, 0.9])
    assert explained(scores, None, None).all()
    assert explained(scores, 0.2, None).tolist() == [True, False, False, False, False]
    assert explained(scores, None, 0.8).tolist() == [False, False, False, False, True]
    assert explained(scores, 0.2, 0.8).tolist() == [True, False, False, False, True]


# --- humility -----------------------------------------------------------------------------------------------------


def rule(trigger: dict[str, Any], action: str = "noOperation", **of_action: Any) -> dict[str, Any]:
    return {"id": "1", "name": "one", "trigger": trigger, "action": {action: of_action}}


def kept(**columns: list[Any]) -> Dataset:
    return Dataset(tuple(columns), Table.of_columns({}, 0), columns)


@pytest.mark.parametrize(
    ("trigger", "rows"),
    [
        ({"uncertainPrediction": {"lower": 1}}, [0]),
        ({"uncertainPrediction": {"upper": 2}}, [3]),
        ({"uncertainPrediction": {"lower": 1, "upper": 2}}, [0, 3]),
        ({"uncertainPrediction": {"lower": 1, "upper": 2, "inside": True}}, [1, 2]),
        ({"outlyingInput": {"feature": "size", "lower": 1, "upper": 5}}, [1]),
        ({"outlyingInput": {"feature": "absent", "lower": 1}}, []),
        ({"lowObservationRegion": {"feature": "kind", "values": ["a", "b"]}}, [2, 3]),
        ({"lowObservationRegion": {"feature": "size", "values": [1, "9"]}}, [2, 3]),
    ],
)
def test_which_rows_fire_a_rule(trigger: dict[str, Any], rows: list[int]) -> None:
    rules = options(humility=[rule(trigger)]).humility
    dataset = kept(size=[1, 9.0, None, "wide"], kind=["a", "b", "c", None])
    assert sorted(fired(rules, np.array([0.0, 1.0, 2.0, 3.0]), dataset).rules) == rows


def test_a_rule_may_throw_override_or_only_tell() -> None:
    scores, trigger = np.array([0.0, 9.0]), {"uncertainPrediction": {"upper": 1}}
    with pytest.raises(ReturnError) as caught:
        fired(options(humility=[rule(trigger, "throwError")]).humility, scores, kept())
    assert (caught.value.status, caught.value.message) == (480, "Humility ReturnError action triggered.")
    both = [rule(trigger, "overridePrediction", value="?"), rule(trigger, "overridePrediction", value="!") | {"id": "2"}]
    found = fired(options(humility=both).humility, scores, kept())
    assert (found.overridden, [r["ruleId"] for r in found.rules[1]]) == ({1: "?"}, ["1", "2"])


# --- moments ------------------------------------------------------------------------------------------------------


def moments(*texts: str) -> list[datetime]:
    return [parsed(text, None) for text in texts]


@pytest.mark.parametrize(
    ("unit", "count", "seen", "expected"),
    [
        ("day", 1, ["2024-02-28"], ["2024-02-29", "2024-03-01"]),
        ("week", 2, ["2024-01-01"], ["2024-01-15", "2024-01-29"]),
        ("hour", 6, ["2024-01-01T18:00"], ["2024-01-02T00:00", "2024-01-02T06:00"]),
        ("month", 1, ["2024-01-01"], ["2024-02-01", "2024-03-01"]),
        ("month", 1, ["2023-11-30", "2023-12-31"], ["2024-01-31", "2024-02-29"]),
        ("month", 1, ["2024-01-15"], ["2024-02-15", "2024-03-15"]),
        ("month", 1, ["2023-12-30", "2024-01-30"], ["2024-02-29", "2024-03-30"]),
        ("quarter", 1, ["2023-12-31"], ["2024-03-31", "2024-06-30"]),
        ("year", 1, ["2024-02-29"], ["2025-02-28", "2026-02-28"]),
    ],
)
def test_steps_go_on_as_the_series_does(unit: str, count: int, seen: list[str], expected: list[str]) -> None:
    step, last = Step.of(unit, count, moments(*seen)), moments(*seen)[-1]
    assert [step.after(last, n) for n in (1, 2)] == moments(*expected)
    assert [step.between(last, moment) for moment in moments(*expected)] == [1, 2]
    assert step.between(last, moments(*expected)[0] + timedelta(seconds=1)) is None


@given(
    st.sampled_from(["second", "minute", "hour", "day", "week", "month", "quarter", "year"]),
    st.integers(1, 3),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    st.integers(-50, 50),
)
def test_so_many_steps_later_is_so_many_steps_between(unit: str, count: int, start: datetime, steps: int) -> None:
    step = Step.of(unit, count, [start])
    assert step.between(start, step.after(start, steps)) == steps


@pytest.mark.parametrize(
    ("text", "form", "like", "again"),
    [
        ("2024-01-02", None, "2024-01-01", "2024-01-02"),
        ("2024-01-02T03:04:05", None, "2024-01-01", "2024-01-02T03:04:05"),
        ("2024-01-02T00:00:00", None, "2024-01-01T00:00:00", "2024-01-02T00:00:00"),
        ("2024-01-02T00:00:00Z", None, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("02/01/2024", "%d/%m/%Y", "01/01/2024", "02/01/2024"),
    ],
)
def test_moments_are_written_as_the_data_set_writes_them(text: str, form: str | None, like: str, again: str) -> None:
    assert written(parsed(text, form), form, like) == again


def test_moments_are_utc() -> None:
    assert utc(datetime.fromisoformat("2024-01-01T02:00:00+02:00")) == datetime(2024, 1, 1)  # noqa: DTZ001


# --- options ------------------------------------------------------------------------------------------------------

TRIGGER = {"uncertainPrediction": {"lower": 0}}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"deploymentId": "a/b"}, "deploymentId: must be 1 to 253 letters"),
        ({"modelId": "a b"}, "modelId: must be 1 to 253 characters"),
        ({"positiveClass": [1]}, "positiveClass: must be one of the classes"),
        ({"positiveClass": 1, "classOrder": [1]}, "classOrder: is for more than two classes"),
        ({"threshold": float("inf")}, "threshold: must be a finite number"),
        ({"exposureAdjustment": "divide"}, "exposureAdjustment: says what is done with exposureColumn"),
        (
            {"humility": [rule({})]},
            "humility[0].trigger: must have exactly one of uncertainPrediction, outlyingInput, lowObservationRegion",
        ),
        ({"humility": [rule({"uncertainPrediction": {}})]}, "humility[0].trigger.uncertainPrediction: must have lower, upper or both"),
        (
            {"humility": [rule({"outlyingInput": {"feature": "x", "lower": 2, "upper": 1}})]},
            "humility[0].trigger.outlyingInput.lower: must not be greater than upper",
        ),
        (
            {"humility": [rule({"lowObservationRegion": {"feature": "x", "values": []}})]},
            "humility[0].trigger.lowObservationRegion.values: must not be empty",
        ),
        ({"humility": [rule(TRIGGER) | {"action": {}}]}, "humility[0].action: must have exactly one of noOperation, overridePrediction"),
        (
            {"humility": [rule(TRIGGER, "overridePrediction", value=None)]},
            "humility[0].action.overridePrediction.value: must be a number",
        ),
        ({"humility": [rule(TRIGGER), rule(TRIGGER)]}, "humility[1].id: each id once"),
        (
            {"timeSeries": {"timestampColumn": "t", "forecastWindow": {"start": 3, "end": 2}}},
            "timeSeries.forecastWindow: start and end must be between 1 and 10000",
        ),
        ({"timeSeries": {"timestampColumn": "t", "forecastWindow": {"end": 2}, "timeStep": 2}}, "timeSeries.timeStep: counts time units"),
        (
            {"timeSeries": {"timestampColumn": "t", "forecastWindow": {"end": 2}}, "exposureColumn": "e"},
            "exposureColumn: adjusts rows that are sent",
        ),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], problem: str) -> None:
    assert [found for found in options(**given).problems() if found.startswith(problem)]


def test_options_that_can_be_have_no_problem() -> None:
    series = {"timestampColumn": "t", "forecastWindow": {"end": 12}, "timeUnit": "month", "knownInAdvance": ["a"]}
    assert not list(options(deploymentId="5f22ba7ade0f435ba7217bcf", humility=[rule(TRIGGER)], timeSeries=series).problems())


# --- the codec ----------------------------------------------------------------------------------------------------


def surface(model: ServedAs = IRIS, **given: Any) -> Surface:
    return DataRobot().surface([(model, options(**given))])


def predicting(model: ServedAs = IRIS, path: str = "predictions", **given: Any) -> Predict:
    return next(p for p in surface(model, **given).predicts if p.path.endswith("/" + path))


def post(body: bytes, media_type: str = "text/csv", query: str = "", **headers: str) -> Request:
    path = "/predApi/v1.0/deployments/iris/predictions"
    return Request("POST", path, {"content-type": media_type, **headers}, body, query, "a" * 32, time.monotonic())


CSV = b"sepal_length,sepal_width,petal_length,petal_width\n5.1,3.5,1.4,0.2\n"


@pytest.mark.parametrize(
    "model", [IRIS, PENGUINS, ServedAs("plain", signature=Signature((Field("f0"), Field("f1")), (NUMBER,), named=False))]
)
def test_the_curl_example_predicts(model: ServedAs) -> None:
    words = shlex.split(DataRobot().example(model, options(), "http://127.0.0.1:8080"))
    assert words[:3] == ["curl", "-s", f"http://127.0.0.1:8080/predApi/v1.0/deployments/{model.name}/predictions"]
    call = predicting(model).decode(post(words[-1].encode(), "application/json"))
    assert Checker(model.signature)(call.table).rows == 1


def test_a_model_that_is_not_loaded_is_not_ready() -> None:
    with pytest.raises(NotReady, match="model 'iris' is not ready: ModelNotFound"):
        predicting(ServedAs("iris", state="Failed", reason="ModelNotFound: nothing is there")).decode(post(CSV))


def test_a_model_that_cannot_explain_says_so() -> None:
    with pytest.raises(Unprocessable, match="model 'iris' has no explanations: send maxExplanations=0"):
        predicting(IRIS, "predictionExplanations").decode(post(CSV))
    predicting(IRIS, "predictionExplanations").decode(post(CSV, query="maxExplanations=0"))


def test_numbers_that_are_none_are_null() -> None:
    one = predicting(ServedAs("m", signature=REGRESSION))
    call = one.decode(post(b"x\n1\n2\n"))
    answer = one.encode(post(b""), call, prediction(predict=np.array([np.nan, 1.5], dtype=np.float32)))
    assert [row["prediction"] for row in json.loads(answer.body)["data"]] == [None, 1.5]
    call = one.decode(post(b"x\n1\n2\n", accept="text/csv"))
    answer = one.encode(post(b""), call, prediction(predict=[np.inf, 0.1]))
    assert answer.body == b'y_PREDICTION\n""\n0.1\n'


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=20))
def test_every_probability_is_written_exactly(rows: list[list[float]]) -> None:
    one = predicting()
    call = one.decode(post(CSV + CSV.split(b"\n")[1] * 0 + b"5,3,1,0.2\n" * (len(rows) - 1)))
    answer = json.loads(one.encode(post(b""), call, prediction(predict_proba=rows)).body)["data"]
    assert [[value["value"] for value in row["predictionValues"]] for row in answer] == rows
    assert [row["prediction"] for row in answer] == [int(np.argmax(row)) for row in rows]


def test_rows_of_many_blocks_are_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reply, "_BLOCK_ROWS", 7)
    rules = [rule({"uncertainPrediction": {"lower": 20}}, "overridePrediction", value="low")]
    one = predicting(ServedAs("m", signature=REGRESSION), humility=rules)
    for count in (6, 7, 8, 50):
        call = one.decode(post(b"x\n" + b"".join(b"%d\n" % i for i in range(count)), query="passthroughColumns=x"))
        data = json.loads(one.encode(post(b""), call, prediction(predict=np.arange(count))).body)["data"]
        assert [(row["rowId"], row["passthroughValues"]["x"], row["prediction"]) for row in data] == [
            (i, i, "low" if i < 20 else i) for i in range(count)
        ]


@pytest.mark.parametrize("label", ['say "%s"', "100%", "a,b\n", "é", True, 1.5])
def test_labels_of_any_kind_are_written_as_they_are(label: Any) -> None:
    signature = Signature((Field("x"),), (PROBA,), classes=("other", label), target="t")
    one = predicting(ServedAs("m", signature=signature))
    answer = one.encode(post(b""), one.decode(post(b"x\n1\n")), prediction(predict_proba=[[0.25, 0.75]]))
    (row,) = json.loads(answer.body)["data"]
    assert row["predictionValues"] == [{"label": label, "value": 0.75}, {"label": "other", "value": 0.25}]
    assert (row["prediction"], type(row["prediction"])) == (label, type(label))


def test_a_token_that_the_core_does_not_know_is_told_of_in_the_originals_words() -> None:
    reply = DataRobot().error(UnknownToken("the token is not one that is accepted here"), post(b""))
    assert (reply.status, json.loads(reply.body)) == (401, {"message": "Invalid API token"})


def test_the_core_finds_who_is_asking() -> None:
    assert surface().credentials(post(b"", authorization="Token abc")) == "abc"


def test_a_key_that_is_not_there_is_refused_when_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(SignatureMismatch, match="the environment variable NO_KEY is not set"):
        surface(datarobotKeyEnv="NO_KEY")


def test_features_of_humility_rules_must_be_inputs() -> None:
    """A misspelt one would never fire."""
    with pytest.raises(SignatureMismatch, match="humility: 'petal' is no input of model 'iris'"):
        surface(humility=[rule({"outlyingInput": {"feature": "petal", "lower": 0}})])


def test_features_known_in_advance_must_be_inputs() -> None:
    series = {"timestampColumn": "t", "forecastWindow": {"end": 1}, "knownInAdvance": ["holiday"]}
    with pytest.raises(SignatureMismatch, match="knownInAdvance: 'holiday' is no input of model 'iris'"):
        surface(timeSeries=series)


# --- series without a regular step --------------------------------------------------------------------------------

BY_ROWS = {"timestampColumn": "t", "forecastWindow": {"start": 2, "end": 3}, "historySteps": 2}
SERIES = ServedAs("m", signature=Signature((Field("t", "string"), Field("y", nullable=True)), (NUMBER,), target="y"))


def forecast(body: bytes, query: str = "", **given: Any) -> tuple[list[Any], list[tuple[int, int]]]:
    """The rows that the model is given, and the ids and distances of those of the reply."""
    call = predicting(SERIES, timeSeries=BY_ROWS | given).decode(post(body, query=query))
    rows = [tuple(None if v != v else v for v in row) for row in zip(*(c.tolist() for c in call.table.columns), strict=True)]
    return rows, [(row.row_id, row.distance) for row in call.context.forecast.rows]


def test_without_a_step_rows_are_counted() -> None:
    body = b"t,y\n2024-01-01,1\n2024-01-09,2\n2024-01-11,3\n2024-02-01,\n2024-02-02,\n2024-07-01,\n2024-08-01,\n"
    rows, replied = forecast(body)
    assert replied == [(4, 2), (5, 3)]
    assert rows == [("2024-01-09", 2), ("2024-01-11", 3), ("2024-02-01", None), ("2024-02-02", None), ("2024-07-01", None)]
    assert forecast(b"t,y\n2024-01-01,1\n")[1] == []  # nothing is made


def test_a_format_of_its_own() -> None:
    body = b"t,y\n31.01.2024,1\n29.02.2024,2\n"
    rows, replied = forecast(body, timestampFormat="%d.%m.%Y", timeUnit="month", forecastWindow={"end": 2})
    assert replied == [(2, 1), (3, 2)]
    assert rows == [("31.01.2024", 1), ("29.02.2024", 2), ("31.03.2024", None), ("30.04.2024", None)]


def test_a_range_needs_a_model_that_is_told_of_its_points() -> None:
    with pytest.raises(Unprocessable, match="'predictionsStartDate': the model has no input FORECAST_POINT"):
        forecast(b"t,y\n2024-01-01,1\n", "predictionsStartDate=2024-01-01&predictionsEndDate=2024-02-01")


def test_a_forecast_of_no_rows_has_none() -> None:
    assert forecast(b"t,y\n") == ([], [])


def test_rules_about_features_do_not_fire_on_rows_that_were_made() -> None:
    rules = options(humility=[rule({"lowObservationRegion": {"feature": "kind", "values": ["a"]}})]).humility
    assert list(fired(rules, np.zeros(3), kept(kind=["a", "b"]), np.array([0, 1, -1])).rules) == [1]


def test_timestamps_must_be_there() -> None:
    with pytest.raises(BadRequest, match="row 0: 't' must be a date and time"):
        forecast(b"t,y\n,1\n")
