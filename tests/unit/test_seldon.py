"""Seldon's API as a codec, and what it is made of: results class by class, forms, candidates, scores, memcached's addresses and keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec
import numpy as np
import pytest
from grpc_tools import protoc  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rpcs import rpcs_of
from tests.unit.models import IRIS, PENGUINS, ServedAs

from dragoman.call import RECOMMEND, Call, Prediction
from dragoman.class_results import Naming, Result, outputs_wanted, results_of
from dragoman.dialect_options import Seldon
from dragoman.dialects import seldon, seldon_grpc
from dragoman.dialects.dialect import Predict, Request, Rpc
from dragoman.errors import BadRequest, InvalidData, InvalidSpec, ModelFailed
from dragoman.form import form_fields, query_fields
from dragoman.manifest import parse
from dragoman.memcached import address_of, is_key
from dragoman.memcached_options import Memcached
from dragoman.proto import seldon as pb
from dragoman.signature import Field, Output, Signature

RECOMMENDER = ServedAs(
    "likes", signature=Signature(inputs=(Field("user", "integer", example=7),), outputs=(Output(RECOMMEND, "object", -1),))
)
FAILED = msgspec.structs.replace(IRIS, name="bad", state="Failed", signature=Signature())
PLAIN = Naming({})


def predicts(*models: ServedAs, options: Seldon | None = None) -> dict[tuple[str, str], Predict]:
    surface = seldon.Seldon().surface([(model, options or Seldon()) for model in models])
    return {(predict.method, predict.path): predict for predict in surface.predicts}


# --- results class by class --------------------------------------------------------------------------------------


def results(outputs: dict[str, Any], signature: Signature = IRIS.signature, naming: Naming = PLAIN) -> list[Result]:
    return results_of(Prediction({name: np.asarray(value) for name, value in outputs.items()}, 1), signature, naming)


def scored(found: Sequence[Result]) -> list[tuple[str | None, float]]:
    return [(result.name, result.score) for result in found]


def signature_of(kind: Any, classes: tuple[Any, ...] | None = None, *outputs: str) -> Signature:
    return Signature(outputs=(Output("predict", kind), *(Output(name, width=-1) for name in outputs)), classes=classes)


@pytest.mark.parametrize(
    ("classes", "class_map", "names"),
    [
        ((0, 1, 2), {}, ["0", "1", "2"]),
        ((0, 1, 2), {"0": "setosa", "2": "virginica"}, ["setosa", "1", "virginica"]),
        ((1, 2, 3), {"1": "one", "2": "two", "3": "three"}, ["one", "two", "three"]),  # by label, never by index
        (("a", "b", "c"), {"b": "bee"}, ["a", "bee", "c"]),
        (("a", "b", "c"), {"0": "ay", "1": "bee"}, ["ay", "bee", "c"]),  # by index, which no label can be taken for
        (None, {"1": "one"}, ["0", "one", "2"]),
        (("a", "b"), {}, ["0", "1", "2"]),  # labels that are not the scores' are not theirs
        ((-1.5, True, "c"), {}, ["-1.5", "True", "c"]),
    ],
)
def test_a_class_is_called_as_configured_else_by_label_else_by_index(classes: Any, class_map: dict[str, str], names: list[str]) -> None:
    found = results({"predict_proba": [[0.1, 0.2, 0.7]]}, signature_of("integer", classes, "predict_proba"), Naming(class_map))
    assert scored(found) == list(zip(names, [0.1, 0.2, 0.7], strict=True))


@pytest.mark.parametrize(
    ("naming", "given", "expected"),
    [
        (PLAIN, None, [0.25, 0.75]),
        (Naming({}, 0.9), None, [0.9, 0.9]),
        (Naming({}, 0.0), None, [0.0, 0.0]),
        (PLAIN, [0.5], [0.5, 0.5]),
        (PLAIN, [[0.5]], [0.5, 0.5]),
        (PLAIN, [[0.5, 0.6]], [0.5, 0.6]),
        (Naming({}, 0.9), [0.5], [0.9, 0.9]),
    ],
)
def test_confidence_is_the_constant_else_the_models_else_the_score(naming: Naming, given: Any, expected: list[float]) -> None:
    outputs = {"predict_proba": [[0.25, 0.75]]} | ({} if given is None else {"confidence": given})
    found = results(outputs, signature_of("integer", (0, 1), "predict_proba", "confidence"), naming)
    assert [result.confidence for result in found] == expected


def test_a_models_confidence_of_another_shape_is_its_failure() -> None:
    with pytest.raises(ModelFailed, match="confidence"):
        results({"predict_proba": [[0.25, 0.75]], "confidence": [[1, 2, 3]]})


@pytest.mark.parametrize(
    ("predicted", "signature", "expected"),
    [
        pytest.param([7.5], signature_of("number"), [(None, 7.5)], id="a regression"),
        pytest.param([3], signature_of("integer"), [(None, 3.0)], id="a count"),
        pytest.param([1], signature_of("integer", (0, 1, 2)), [("0", 0.0), ("1", 1.0), ("2", 0.0)], id="a label without probabilities"),
        pytest.param(["b"], signature_of("string", ("a", "b")), [("a", 0.0), ("b", 1.0)], id="a word"),
        pytest.param(["b"], signature_of("string"), [("b", 1.0)], id="a word of classes that are not known"),
        pytest.param([5], signature_of("integer", ("a", "b", "c")), [("5", 1.0)], id="a label that the names do not tell"),
        pytest.param([True], signature_of("boolean"), [("True", 1.0)], id="a boolean"),
        pytest.param([0.75], signature_of("number", ("no", "yes")), [("no", 0.25), ("yes", 0.75)], id="a booster's probability"),
        pytest.param([1.0], signature_of("number", (0.0, 1.0)), [("0.0", 0.0), ("1.0", 1.0)], id="labels that are floats"),
        pytest.param([[0.2, 0.8]], signature_of("number"), [("0", 0.2), ("1", 0.8)], id="a booster's probabilities"),
        pytest.param([[0.2, 0.8]], signature_of("number", ("no", "yes")), [("no", 0.2), ("yes", 0.8)], id="and its classes"),
    ],
)
def test_a_model_without_probabilities_says_what_it_predicts(predicted: Any, signature: Signature, expected: Any) -> None:
    assert scored(results({"predict": predicted}, signature)) == expected


def test_several_targets_are_refused() -> None:
    with pytest.raises(ModelFailed, match="one target"):
        results({"predict_proba": np.zeros((1, 2, 3))})


def test_probabilities_and_a_models_own_confidence_are_asked_for_where_it_has_them() -> None:
    assert outputs_wanted(IRIS.signature) == ("predict_proba",)
    assert outputs_wanted(signature_of("number")) == ("predict",)
    assert outputs_wanted(signature_of("number", None, "confidence")) == ("predict", "confidence")


def test_a_score_that_is_no_number_is_null() -> None:
    decode = predicts(IRIS)["GET", "/predict"]
    prediction = Prediction({"predict_proba": np.array([[np.nan, 0.5, 0.5]])}, 1)
    reply = decode.encode(Request("GET", "/predict", {}, b""), Call(None), prediction)  # type: ignore[arg-type]
    assert json.loads(reply.body)["predictions"][0] == {"score": None, "classId": "0", "confidence": None}


# --- forms -------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")), max_size=5))
def test_whatever_is_sent_in_a_form_is_read(fields: dict[str, str]) -> None:
    sent = urlencode(fields)
    assert query_fields(sent) == fields
    assert form_fields("application/x-www-form-urlencoded; charset=utf-8", sent.encode()) == fields


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=50), st.binary(max_size=50))
def test_a_multipart_form_gives_its_fields_and_not_its_files(value: str, file: bytes) -> None:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="json"\r\n\r\n' + value.encode() + b"\r\n"
        b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n' + file.replace(b"-", b"") + b"\r\n--edge--\r\n"
    )
    assert form_fields('multipart/form-data; boundary="edge"', body) == {"json": value}


@given(st.binary(max_size=200))
def test_no_body_of_a_form_is_more_than_a_bad_request(body: bytes) -> None:
    for media_type in ("multipart/form-data; boundary=x", "multipart/form-data", "application/x-www-form-urlencoded"):
        with contextlib.suppress(BadRequest):
            assert all(isinstance(value, str) for value in form_fields(media_type, body).values())


def test_of_a_field_that_is_given_twice_the_first_counts() -> None:
    assert query_fields("a=1&a=2") == {"a": "1"}


# --- /predict and /recommend -------------------------------------------------------------------------------------


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_a_row_or_a_bad_request(document: Any) -> None:
    decode = predicts(IRIS)["GET", "/predict"].decode
    try:
        call = decode(Request("GET", "/predict", {}, b"", urlencode({"json": json.dumps(document)})))
    except BadRequest:
        return
    assert call.table.rows == 1


def test_each_model_has_the_path_of_what_it_does() -> None:
    found = predicts(IRIS, RECOMMENDER)
    assert {path: predict.model.name for (method, path), predict in found.items() if method == "GET"} == {
        "/predict": "iris",
        "/recommend": "likes",
    }


def test_a_model_of_which_nothing_is_known_answers_where_no_other_does() -> None:
    found = predicts(FAILED, RECOMMENDER)
    assert found["GET", "/predict"].model.name == "bad"
    assert found["GET", "/recommend"].model.name == "likes"


def test_models_of_which_nothing_is_known_do_not_clash() -> None:
    others = [msgspec.structs.replace(FAILED, name=name) for name in ("one", "two")]
    assert {predict.model.name for predict in predicts(*others).values()} == {"one"}
    (rpc,) = rpcs_of(seldon_grpc.SeldonGrpc().surface([(model, Seldon()) for model in others]))
    assert rpc.model
    assert rpc.model(None).name == "one"


def test_two_models_cannot_both_be_classified_by() -> None:
    with pytest.raises(InvalidSpec, match="'iris' and 'penguins'"):
        seldon_grpc.SeldonGrpc().surface([(IRIS, Seldon()), (PENGUINS, Seldon())])


def test_a_recommender_alone_has_no_classify() -> None:
    assert not rpcs_of(seldon_grpc.SeldonGrpc().surface([(RECOMMENDER, Seldon())]))


@given(st.lists(st.tuples(st.integers(), st.floats(-1e9, 1e9)), max_size=20), st.integers(0, 30))
def test_scores_are_from_nought_to_one_in_the_order_of_the_models(pairs: list[tuple[int, float]], limit: int) -> None:
    found = seldon.recommended(pairs, frozenset(), limit)
    assert len(found) == min(limit, len(pairs))
    scores = [element["score"] for element in found]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert scores[:1] in ([], [1.0])


@pytest.mark.parametrize(
    ("given_scores", "expected"),
    [
        ([], []),
        ([10, 9], [1, 0.9]),
        ([1.0, 0.9, 0.0], [1, 0.9, 0]),
        ([0.5], [1]),
        ([0, 0], [1, 1]),
        ([-5], [1]),
        ([-1, -3], [1, 0]),
        ([1, -1], [1, 0]),
        ([-2, -2], [1, 1]),
    ],
)
def test_the_best_score_is_one(given_scores: list[float], expected: list[float]) -> None:
    assert seldon.scaled(given_scores) == pytest.approx(expected)


@pytest.mark.parametrize("pairs", [5, [1], [(1,)], [(1, "x")], [(1, None)], [(1, float("inf"))]])
def test_what_is_no_list_of_scored_items_is_the_models_failure(pairs: Any) -> None:
    with pytest.raises(ModelFailed, match="recommend"):
        seldon.recommended(pairs, frozenset(), 3)


def test_candidates_are_each_there_once() -> None:
    found = {"a": b"[3, 1, 3]", "b": b"[1, 2]"}
    assert seldon.candidates(found, ["b", "missing", "a"]) == [1, 2, 3]


def test_nothing_is_asked_where_every_candidate_is_excluded() -> None:
    decode = predicts(RECOMMENDER)["GET", "/recommend"].decode
    sent = {"client": "c", "user_id": "1", "limit": "3", "exclusion_items": "1,2", "data_key": "a"}
    request = Request("GET", "/recommend", {}, b"", urlencode(sent), found={"a": b"[1, 2]"})
    assert decode(request).table.rows == 0


# --- options, examples, messages ---------------------------------------------------------------------------------


def options_of(options: dict[str, Any]) -> Seldon:
    document = {
        "apiVersion": "dragoman.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": "s3://b/m"}, "serving": {"dialects": {"seldon": options}}},
    }
    found = parse(document).spec.serving.dialects.seldon
    assert found is not None
    return found


def test_options_are_read_as_yaml_and_json_have_them() -> None:
    options = options_of({"classMap": {0: "a", "1": "b"}, "memcached": {"servers": ["one:11211", "two"]}})
    assert options.names == {"0": "a", "1": "b"}
    assert options.memcached == Memcached(servers=("one:11211", "two"), timeout_seconds=0.5)
    assert msgspec.json.decode(msgspec.json.encode(options), type=Seldon).names == options.names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": "seldon3"}, r"seldon\.shape: must be one of seldon, seldon2"),
        ({"modelName": ""}, r"seldon\.modelName: must not be empty"),
        ({"memcached": {}}, r"seldon\.memcached\.servers: is missing"),
        ({"memcached": {"servers": []}}, r"seldon\.memcached\.servers: must be 1 to 16"),
        ({"memcached": {"servers": ["a", "b:x"]}}, r"seldon\.memcached\.servers\[1\]: must be host:port"),
        ({"memcached": {"servers": ["a"], "timeoutSeconds": 0}}, r"seldon\.memcached\.timeoutSeconds: must be greater than 0"),
        ({"memcached": {"servers": ["a"], "timeoutSeconds": 61}}, r"seldon\.memcached\.timeoutSeconds: .* at most 60"),
        ({"confidence": float("inf")}, r"seldon\.confidence: must be a finite number"),
    ],
)
def test_options_that_cannot_be_are_refused_by_their_path(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        options_of(options)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("memcached:11211", ("memcached", 11211)),
        ("memcached", ("memcached", 11211)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[::1]:7", ("::1", 7)),
        ("[::1]", ("::1", 11211)),
    ],
)
def test_an_address_of_memcached(server: str, expected: tuple[str, int]) -> None:
    assert address_of(server) == expected


@pytest.mark.parametrize("server", ["", ":1", "a:", "a:0", "a:65536", "a:-1", "a b:1", "http://a:1", "a/b", "u@a:1"])
def test_what_is_no_address_of_memcached(server: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        address_of(server)


@pytest.mark.parametrize(("key", "is_one"), [("a", True), ("RecentItems:test1:0", True), ("é", True), ("k" * 250, True)])
def test_a_key_of_memcached(key: str, is_one: bool) -> None:
    assert is_key(key) is is_one
    for wrong in ("", key + " ", key + "\r\n", key + "\0", key + "\x7f", "k" * 251):
        assert not is_key(wrong)


def test_the_curl_example_predicts() -> None:
    words = shlex.split(seldon.Seldon().example(IRIS, Seldon(), "http://127.0.0.1:8080"))
    assert words[:3] == ["curl", "-sG", "http://127.0.0.1:8080/predict"]
    query = "&".join(f"{name}={quote(value)}" for name, value in (word.split("=", 1) for word in words if "=" in word))
    assert predicts(IRIS)["GET", "/predict"].decode(Request("GET", "/predict", {}, b"", query)).table.rows == 1


def test_the_curl_example_recommends() -> None:
    url = shlex.split(seldon.Seldon().example(RECOMMENDER, Seldon(), "http://127.0.0.1:8080"))[-1]
    assert parse_qs(urlsplit(url).query)["user_id"] == ["7"]
    call = predicts(RECOMMENDER)["GET", "/recommend"].decode(Request("GET", "/recommend", {}, b"", urlsplit(url).query))
    assert call.table.column(0).tolist() == [7]


def classify() -> Rpc:
    (rpc,) = rpcs_of(seldon_grpc.SeldonGrpc().surface([(msgspec.structs.replace(IRIS, revision="r-1"), Seldon(model_name="M"))]))
    return rpc


def test_the_grpcurl_example_is_a_request() -> None:
    from google.protobuf import json_format

    words = shlex.split(seldon_grpc.SeldonGrpc().example(IRIS, Seldon(), "http://127.0.0.1:9000"))
    assert words[-2:] == ["127.0.0.1:9000", "io.seldon.api.rpc.Seldon/Classify"]
    request = json_format.ParseDict(json.loads(words[3]), pb.ClassificationRequest(), descriptor_pool=pb.DESCRIPTOR.pool)
    rpc = classify()
    assert rpc.decode
    assert rpc.decode(request, IRIS).table.to_numpy().shape == (1, 4)


_DEFAULT = "type.googleapis.com/io.seldon.api.rpc.DefaultCustomPredictRequest"


@given(st.binary(max_size=40), st.sampled_from(["", _DEFAULT, "nonsense", "a/b.C"]))
def test_whatever_is_packed_is_a_row_or_invalid_data(value: bytes, url: str) -> None:
    rpc = classify()
    assert rpc.decode
    request = pb.ClassificationRequest()
    request.data.type_url, request.data.value = url, value
    with contextlib.suppress(InvalidData):
        assert rpc.decode(request, IRIS).table.rows == 1
        assert url == _DEFAULT


def test_invalid_data_is_a_500_in_the_words_that_clients_check_for() -> None:
    rpc = classify()
    assert rpc.decode
    with pytest.raises(InvalidData, match=r"^Invalid data$") as caught:
        rpc.decode(pb.ClassificationRequest(), IRIS)
    assert caught.value.status == 500


def test_a_reply_has_the_revision_and_the_configured_name() -> None:
    rpc = classify()
    assert rpc.encode
    assert rpc.model
    request = pb.ClassificationRequest(meta=pb.ClassificationRequestMeta(puid="é"))
    prediction = Prediction({"predict_proba": np.array([[0.5, 0.25, 0.25]])}, 1)
    reply = rpc.encode(request, rpc.model(request), Call(None), prediction, "")  # type: ignore[arg-type]
    assert (reply.meta.puid, reply.meta.modelName, reply.meta.variation) == ("é", "M", "r-1")


def test_the_compiled_messages_are_what_the_proto_file_says(tmp_path: Path) -> None:
    folder = Path(pb.__file__).parent
    made = tmp_path / "made.binpb"
    assert protoc.main(["protoc", f"-I{folder}", f"-I{_well_known()}", f"--descriptor_set_out={made}", str(folder / "seldon.proto")]) == 0
    assert (folder / "seldon.binpb").read_bytes() == made.read_bytes()


def _well_known() -> Path:
    import grpc_tools

    return Path(grpc_tools.__file__).parent / "_proto"


def test_a_look_up_is_made_only_where_memcached_is_configured() -> None:
    assert predicts(RECOMMENDER)["GET", "/recommend"].look_up is None
    found = predicts(RECOMMENDER, options=Seldon(memcached=Memcached(servers=("127.0.0.1:1",))))["GET", "/recommend"].look_up
    assert found is not None
    with pytest.raises(BadRequest, match="client"):
        asyncio.run(_awaited(found(Request("GET", "/recommend", {}, b""))))


async def _awaited(answer: Any) -> Any:
    return await answer
