"""certifai as a codec: what its requests become, and what its replies look like."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import Call, Prediction
from dragoman.dialect_options import Certifai as Options
from dragoman.dialects.certifai import Certifai, form_of, instances_of, route_of
from dragoman.dialects.dialect import Predict, Request, Surface
from dragoman.errors import BadRequest, CallError, ModelFailed, SignatureMismatch
from dragoman.signature import Field, Output, Signature
from dragoman.table import Table

CLASSIFIER = (Output("predict", "integer"), Output("predict_proba", width=2))
TUMOUR = ServedAs("tumour", signature=Signature((Field("radius"), Field("texture")), CLASSIFIER, ("malignant", "benign")))
BOOSTER = ServedAs("booster", signature=Signature((Field("a"),), (Output("predict", "number"),), ("no", "yes")))
WIDE_BOOSTER = ServedAs("wide", signature=Signature((Field("a"),), (Output("predict", "number", width=3),), ("x", "y", "z")))
NAMELESS = ServedAs("nameless", signature=Signature((Field("a"),), CLASSIFIER))
REGRESSOR = ServedAs("regressor", signature=Signature((Field("a"),), (Output("predict", "number"),)))
UNLOADED = ServedAs("unloaded", state="Failed", reason="ModelNotFound: gone")


def surface(model: ServedAs = IRIS, options: Options | None = None) -> Surface:
    return Certifai().surface([(model, options or Options())])


def predicting(model: ServedAs = IRIS, options: Options | None = None) -> Predict:
    (predict,) = surface(model, options).predicts
    return predict


def post(body: Any, content_type: str = "application/json") -> Request:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("POST", "/iris/predict", {"content-type": content_type}, sent)


def answered(outputs: dict[str, Any], model: ServedAs, options: Options | None = None) -> Any:
    """The payload of the reply to these outputs of the model."""
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    rows = len(next(iter(arrays.values())))
    predict = predicting(model, options)
    reply = predict.encode(post(b""), Call(Table.of_rows([])), Prediction(arrays, rows))
    assert (reply.status, reply.media_type) == (200, "application/json")
    document = json.loads(reply.body)
    assert list(document) == ["payload"]
    return document["payload"]


# --- requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instances", "rows"),
    [
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([[1, "a", None, True]], [[1, "a", None, True]]),
        ([1, 2.5], [[1, 2.5]]),
        (["a", 1], [["a", 1]]),
        ([7], [[7]]),
        ([], []),
        ([[]], []),
    ],
)
def test_instances_are_many_or_one(instances: Any, rows: Any) -> None:
    assert instances_of(json.dumps({"payload": {"instances": instances}, "other": 1}).encode()) == rows


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [[1]]}, 'Missing `payload`. Expected format {"payload": {"instances": []}}'),
        ([[1]], 'Missing `payload`. Expected format {"payload": {"instances": []}}'),
        ("payload", 'Missing `payload`. Expected format {"payload": {"instances": []}}'),
        ({"payload": [[1]]}, '`payload` must be of type dict. Expected format {"payload": {"instances": []}}'),
        ({"payload": None}, '`payload` must be of type dict. Expected format {"payload": {"instances": []}}'),
        ({"payload": {}}, 'Missing `instances`. Expected format {"payload": {"instances": []}}'),
    ],
)
def test_a_body_of_another_shape_is_refused_in_the_words_that_clients_know(body: Any, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        instances_of(json.dumps(body).encode())
    assert refused.value.message == message


@pytest.mark.parametrize("instances", [None, 5, "ab", {"a": 1}, [{"a": 1}], [[1], 2], [1, [2]], [1, {"a": 2}]])
def test_instances_of_another_shape_are_refused(instances: Any) -> None:
    with pytest.raises(
        BadRequest, match="`instances` must be either be an array of instances or a single instance, containing an array of"
    ):
        instances_of(json.dumps({"payload": {"instances": instances}}).encode())


@pytest.mark.parametrize("instances", [[[1, 2], [3]], [[1, 2], []], [[[1]]]])
def test_ragged_and_nested_rows_are_refused(instances: Any) -> None:
    with pytest.raises(BadRequest, match="row"):
        predicting().decode(post({"payload": {"instances": instances}}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["payload", "instances", "a"]), inner, max_size=3),
    max_leaves=12,
)


@given(json_values | st.builds(lambda v: {"payload": {"instances": v}}, json_values))
def test_any_json_is_rows_or_a_refusal(document: Any) -> None:
    try:
        call = predicting().decode(post(document))
    except BadRequest:
        return
    instances = document["payload"]["instances"]
    flat = not instances or not isinstance(instances[0], list)
    assert call.table.rows == (1 if instances and flat else 0 if instances in ([], [[]]) else len(instances))


@given(st.binary(max_size=40))
def test_any_bytes_are_rows_or_a_refusal(body: bytes) -> None:
    with pytest.raises(BadRequest):
        predicting().decode(post(body))


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_only_json_is_taken(content_type: str) -> None:
    with pytest.raises(CallError) as refused:
        predicting().decode(post({"payload": {"instances": [[1, 2, 3, 4]]}}, content_type))
    assert refused.value.status == 415
    assert "application/json" in refused.value.message


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_taken_however_it_is_spelt(content_type: str) -> None:
    assert predicting().decode(post({"payload": {"instances": [1, 2, 3, 4]}}, content_type)).table.rows == 1


# --- replies -----------------------------------------------------------------------------------------------------


def test_all_scores_come_with_their_labels_and_predictions_follow_from_them() -> None:
    scores = [[0.2, 0.2, 0.6], [0.4, 0.4, 0.2]]
    assert answered({"predict_proba": scores}, PENGUINS) == {
        "predictions": ["Gentoo", "Adelie"],
        "scores": scores,
        "labels": ["Adelie", "Chinstrap", "Gentoo"],
    }


@pytest.mark.parametrize(
    ("threshold", "predictions"), [(None, ["malignant", "benign", "benign"]), (0.6, ["malignant", "malignant", "benign"])]
)
def test_positive_scores_come_with_the_threshold_that_decides(threshold: float | None, predictions: list[str]) -> None:
    proba = [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]
    expected = {"predictions": predictions, "scores": [0.25, 0.5, 0.75], "threshold": threshold or 0.5}
    assert answered({"predict_proba": proba}, TUMOUR, Options(scores="positive", threshold=threshold)) == expected


def test_without_scores_the_models_own_predictions_are_answered() -> None:
    assert answered({"predict": [2, 0]}, IRIS, Options(scores="none")) == {"predictions": [2, 0]}
    assert answered({"predict": [0.5, float("nan")]}, REGRESSOR) == {"predictions": [0.5, None]}


def test_scores_without_known_labels_stand_beside_the_models_own_predictions() -> None:
    proba = [[0.25, 0.75]]
    assert answered({"predict": [1], "predict_proba": proba}, NAMELESS) == {"predictions": [1], "scores": proba}


def test_a_boosters_own_probabilities_are_scores_where_they_are_asked_for() -> None:
    assert answered({"predict": [0.25]}, BOOSTER) == {"predictions": [0.25]}
    positive = answered({"predict": [0.25, 0.5]}, BOOSTER, Options(scores="positive"))
    assert positive == {"predictions": ["no", "yes"], "scores": [0.25, 0.5], "threshold": 0.5}
    every = answered({"predict": [[0.25, 0.5, 0.25]]}, WIDE_BOOSTER, Options(scores="all"))
    assert every == {"predictions": ["y"], "scores": [[0.25, 0.5, 0.25]], "labels": ["x", "y", "z"]}


def test_no_instances_have_no_predictions() -> None:
    assert answered({"predict_proba": np.empty((0, 3))}, IRIS) == {"predictions": []}


@pytest.mark.parametrize(
    ("model", "options", "outputs"),
    [
        (IRIS, Options(), ("predict_proba",)),
        (IRIS, Options(scores="none"), ("predict",)),
        (NAMELESS, Options(), ("predict", "predict_proba")),
        (REGRESSOR, Options(), ("predict",)),
        (BOOSTER, Options(), ("predict",)),
        (UNLOADED, Options(scores="positive"), ("predict",)),
    ],
    ids=lambda value: value.name if isinstance(value, ServedAs) else "",
)
def test_only_what_a_reply_needs_is_asked_of_the_model(model: ServedAs, options: Options, outputs: tuple[str, ...]) -> None:
    assert form_of(model, options).outputs == outputs


@pytest.mark.parametrize(
    ("model", "scores"),
    [(REGRESSOR, "all"), (REGRESSOR, "positive"), (IRIS, "positive"), (NAMELESS, "positive"), (BOOSTER, "all")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_scores_that_a_model_cannot_give_are_refused_when_it_is_loaded(model: ServedAs, scores: Any) -> None:
    with pytest.raises(
        SignatureMismatch, match=f"spec.serving.dialects.certifai.scores: {scores} needs .* model '{model.name}' gives predict"
    ):
        surface(model, Options(scores=scores))


def test_an_error_is_one_line() -> None:
    reply = Certifai().error(ModelFailed("the model failed: ValueError: a\n  b"), post(b""))
    assert (reply.status, json.loads(reply.body)) == (500, {"payload": {"success": False, "error": "the model failed: ValueError: a b"}})


# --- paths and options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "path"), [(None, "/iris/predict"), ("bank/predict", "/bank/predict"), ("/bank/predict", "/bank/predict"), ("score", "/score")]
)
def test_the_route_is_the_models_name_or_what_the_options_say(route: str | None, path: str) -> None:
    options = Options(route=route)
    assert route_of(IRIS, options) == path
    found = surface(IRIS, options)
    assert [predict.path for predict in found.predicts] == list(found.openapi) == list(found.prefixes) == [path]
    words = shlex.split(Certifai().example(IRIS, options, "http://127.0.0.1:8080"))
    assert words[:3] == ["curl", "-s", f"http://127.0.0.1:8080{path}"]
    assert predicting(IRIS, options).decode(post(words[-1].encode())).table.rows == 1


@pytest.mark.parametrize("route", ["", "/", "a//b", "a/", "a b", "{name}", "a?b", "../é"])
def test_a_route_that_is_no_plain_path_is_refused(route: str) -> None:
    (problem,) = Options(route=route).problems()
    assert problem.startswith("route: must be a path of letters")


@pytest.mark.parametrize("scores", [None, "none", "all"])
def test_a_threshold_belongs_to_positive_scores(scores: Any) -> None:
    assert [p.partition(":")[0] for p in Options(scores=scores, threshold=0.5).problems()] == ["threshold"]
    assert list(Options(scores="positive", threshold=0.5).problems()) == []
