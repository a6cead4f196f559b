"""Whatever JSON, and whatever is none, is sent to an API: it is refused in that API's own shape, or answered, and the server serves on."""

from __future__ import annotations

import bz2
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.every_dialect import FEATURES, FORM, JSON, PREDICTIONS, iris, shape_of
from tests.support.serving import Server, serving

IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
LIMIT = 100_000  # bytes
BOMB = b" " * 20_000_000


class Api(NamedTuple):
    """One that takes JSON: where, and how a row's first value, or all its rows, are written into a request."""

    path: str
    rows: Callable[[bytes], bytes]  # a request, of the rows' JSON
    row: Callable[[bytes], bytes]  # a row, of its first value's JSON
    shape: str
    in_form: bool = False  # the JSON is one field of a form
    encodings: frozenset[str] = frozenset({"gzip", "deflate"})


def _values(first: bytes) -> bytes:
    return b"[%b,3.5,1.5,0.25]" % first


def _object(first: bytes) -> bytes:
    return b'{"id":7,"sepal_length":%b,"sepal_width":3.5,"petal_length":1.5,"petal_width":0.25}' % first


APIS: dict[str, Api] = {
    "v1": Api("/v1/models/iris:predict", lambda rows: b'{"instances":[%b]}' % rows, _values, "plain"),
    "v2": Api(
        "/v2/models/iris/infer",
        lambda rows: b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[%b]}]}' % rows,
        _values,
        "plain",
    ),
    "porter": Api("/flowers/iris/v1/prediction", lambda rows: b"[%b]" % rows, _object, "porter", encodings=frozenset({"gzip"})),
    "datarobot": Api(PREDICTIONS, lambda rows: b"[%b]" % rows, _object, "datarobot", encodings=frozenset({"gzip", "bz2"})),
    "certifai": Api("/scan/predict", lambda rows: b'{"payload":{"instances":[%b]}}' % rows, _values, "certifai"),
    "mlup": Api("/predict", lambda rows: b'{"X":[%b]}' % rows, _values, "mlup"),
    "seldon": Api("/predict", lambda rows: b'{"data":%b}' % rows, _values, "plain", in_form=True),
}
each_api = pytest.mark.parametrize("name", APIS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("wide")
    with serving(folder, iris(folder, IRIS, limits={"maxRequestBytes": LIMIT})) as started:
        yield started
        assert started.metric("dragoman_worker_restarts_total") == 0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.rest, timeout=30) as opened:
        yield opened


@pytest.fixture(autouse=True)
def serves_on(client: httpx.Client) -> Iterator[None]:
    """Whatever a test has sent: every API answers."""
    yield
    for name in APIS:
        assert sent(client, name, good(name)).status_code == 200


def good(name: str) -> bytes:
    api = APIS[name]
    return api.rows(api.row(b"5.125"))


def sent(client: httpx.Client, name: str, document: bytes) -> httpx.Response:
    api = APIS[name]
    body = b"client=test&json=" + quote_plus(document).encode() if api.in_form else document
    return client.post(api.path, content=body, headers=FORM if api.in_form else JSON)


def refused(reply: httpx.Response, name: str, status: int) -> None:
    assert reply.status_code == status, reply.text
    assert shape_of(reply) == APIS[name].shape, reply.text


# --- what is no JSON ---------------------------------------------------------------------------------------------

NO_JSON = {"mlup": 422}  # 400 in all others
NO_VALUES = {  # where a row's value should be
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "beyond a double": b"1e999",
    "5,000 digits": b"1" + b"0" * 5000,
    "a leading zero": b"05",
    "a plus": b"+5",
    "no digit before the point": b".5",
    "no digit after the point": b"5.",
    "hexadecimal": b"0x5",
    "nothing": b"",
    "a comment": b"5/**/",
    "single quotes": b"'5'",
    "a lone surrogate": rb'"\ud800"',
    "half a surrogate pair": rb'"\ude00\ud83d"',
    "a bare control character": b'"\x01"',
    "Latin-1": b'"\xe9"',
    "lists 5,000 deep": b"[" * 5000 + b"]" * 5000,
    "objects 5,000 deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
}
NO_BODIES: dict[str, Callable[[bytes], bytes]] = {  # made of a good one
    "empty": lambda good: b"",
    "blank": lambda good: b" \r\n\t ",
    "without its end": lambda good: good[:-1],
    "half of it": lambda good: good[: len(good) // 2],
    "its first byte": lambda good: good[:1],
    "with more behind it": lambda good: good + b"x",
    "with a NUL behind it": lambda good: good + b"\0",
    "twice": lambda good: good * 2,
    "with a comma behind it": lambda good: good + b",",
    "a byte order mark alone": lambda good: b"\xef\xbb\xbf",
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "no UTF-8": lambda good: good.replace(b"5.125", b'"\xff"'),
    "lists that never end": lambda good: b"[" * 5000,
    "lists 5,000 deep": lambda good: b"[" * 5000 + b"]" * 5000,
    "objects 5,000 deep": lambda good: b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "NaN alone": lambda good: b"NaN",
    "null": lambda good: b"null",  # JSON, but of nobody's
}


@each_api
def test_what_is_no_json_is_refused(client: httpx.Client, name: str) -> None:
    api, status = APIS[name], NO_JSON.get(name, 400)
    bodies = {what: api.rows(api.row(value)) for what, value in NO_VALUES.items()}
    bodies |= {what: made(good(name)) for what, made in NO_BODIES.items()}
    for body in bodies.values():
        refused(sent(client, name, body), name, status)


# --- JSON that does not fit --------------------------------------------------------------------------------------

UNFIT = {"porter": 422}  # 400 in all others; mlup holds no rule of its own against rows: what it says then is below
UNFIT_VALUES = {
    "text": b'"wide"',
    "null": b"null",
    "an object": b"{}",
    "a list": b"[]",
    "a list of one": b"[5]",
    "an emoji": rb'"\ud83d\ude00"',
    "NUL": rb'"\u0000"',
}
UNFIT_ROWS = {"null": b"null", "text": b'"text"', "a number": b"1", "a list of a list": b"[[]]", "a row in a row": b"[[5,3,1,0]]"}
MLUPS_OWN = {"predict_error", "predict_transform_data_error"}  # its 500s: the model's word, or that the rows cannot be made what it takes


@each_api
def test_rows_that_do_not_fit_are_refused(client: httpx.Client, name: str) -> None:
    api = APIS[name]
    for body in [api.rows(api.row(value)) for value in UNFIT_VALUES.values()] + [api.rows(row) for row in UNFIT_ROWS.values()]:
        reply = sent(client, name, body)
        refused(reply, name, 500 if name == "mlup" else UNFIT.get(name, 400))
        if name == "mlup":
            (found,) = reply.json()["detail"]
            assert found["type"] in MLUPS_OWN
            assert "internal error" not in found["msg"]


DOCUMENTS = (b"true", b"1", b'"text"', b"[]", b"{}", b"[[]]", b"[{}]", b"[null]", b"[[null]]")
STATUSES = {  # of these; 400 in all others
    "porter": dict.fromkeys(DOCUMENTS, 422) | {b"[]": 200},
    "datarobot": {b"{}": 422, b"[{}]": 422, b"[]": 200},  # features that are missing; no rows
    "mlup": dict.fromkeys(DOCUMENTS, 422),
}


@each_api
def test_documents_of_another_form_are_refused(client: httpx.Client, name: str) -> None:
    for document in DOCUMENTS:
        reply = sent(client, name, document)
        status = STATUSES.get(name, {}).get(document, 400)
        if status == 200:
            assert reply.status_code == 200
            assert reply.json().get("predictions", reply.json().get("data")) == []
        else:
            refused(reply, name, status)


# --- JSON that is odd, and answered ------------------------------------------------------------------------------


def answer_to(client: httpx.Client, name: str, document: bytes) -> Any:
    """Of what a reply says, the part that is the model's."""
    reply = sent(client, name, document)
    assert reply.status_code == 200, reply.text
    keys = ("predictions", "outputs", "data", "payload", "predict_result")
    (found,) = (reply.json()[key] for key in keys if key in reply.json())
    return found


@each_api
def test_of_a_key_that_is_there_twice_the_last_counts(client: httpx.Client, name: str) -> None:
    api, expected = APIS[name], answer_to(client, name, good(name))
    if api.row is _object:
        assert answer_to(client, name, api.rows(api.row(b'"wide","sepal_length":5.125'))) == expected
    else:
        first, _, rest = good(name).partition(b":")
        assert answer_to(client, name, first + b":null," + first[1:] + b":" + rest) == expected


@each_api
def test_numbers_may_be_large_small_and_written_in_any_way_that_json_has(client: httpx.Client, name: str) -> None:
    api = APIS[name]
    expected = answer_to(client, name, good(name))
    for same in (b"5125e-3", b"0.05125E+2", b"5.12500000000000000000000000000000000000000000000000000001", b" \n5.125\t"):
        assert answer_to(client, name, api.rows(api.row(same))) == expected
    for equal in ((b"0", b"-0", b"0e9", b"1e-999"), (b"1e20", b"1" + b"0" * 20), (b"1e40", b"1" + b"0" * 40)):
        answers = [answer_to(client, name, api.rows(api.row(value))) for value in equal]
        assert answers == answers[:1] * len(equal)


def test_an_id_of_any_kind_comes_back_as_it_was_sent(client: httpx.Client) -> None:
    """porter's rows have ids, which no double must touch."""
    for identity in (b"9223372036854775808", b"1" + b"0" * 400, b"null", rb'"\ud83d\ude00"', b'["a",{"b":[]}]', b"1.5"):
        reply = sent(client, "porter", b"[%b]" % _object(b"5.125").replace(b"7", identity, 1))
        assert reply.status_code == 200, reply.text
        assert json.loads(reply.content)["predictions"][0]["id"] == json.loads(identity)


def test_a_byte_order_mark_is_passed_over_where_the_original_passes_over_it(client: httpx.Client) -> None:
    for name in APIS:
        reply = sent(client, name, b"\xef\xbb\xbf" + good(name))
        if name in ("porter", "datarobot"):
            assert reply.status_code == 200
        else:
            refused(reply, name, NO_JSON.get(name, 400))


# --- anything at all ---------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.sampled_from(
    [*FEATURES, "id", "instances", "inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "payload", "X", "predictions"]
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5), max_leaves=15
)
wide = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def answered_or_refused(client: httpx.Client, name: str, body: bytes) -> None:
    reply = sent(client, name, body)
    if reply.status_code == 200:
        json.loads(reply.content, parse_constant=pytest.fail)
        return
    assert shape_of(reply) == APIS[name].shape, reply.text
    if name == "mlup" and reply.status_code == 500:
        assert {found["type"] for found in reply.json()["detail"]} <= MLUPS_OWN
        assert "internal error" not in reply.text
    else:
        assert 400 <= reply.status_code < 500, reply.text


@each_api
def test_any_json_is_answered_or_refused(client: httpx.Client, name: str) -> None:
    api = APIS[name]

    @wide
    @given(document=ANYTHING, where=st.sampled_from(["whole", "rows", "row"]))
    def any_json(document: Any, where: str) -> None:
        written = json.dumps(document).encode()
        answered_or_refused(client, name, {"whole": written, "rows": api.rows(written), "row": api.rows(api.row(written))}[where])

    any_json()


@each_api
def test_any_bytes_are_answered_or_refused(client: httpx.Client, name: str) -> None:
    whole = good(name)

    @wide
    @given(at=st.integers(0, len(whole)), cut=st.integers(0, 4), put=st.binary(max_size=6))
    def damaged(at: int, cut: int, put: bytes) -> None:
        answered_or_refused(client, name, whole[:at] + put + whole[at + cut :])

    damaged()


# --- bodies that are larger than they look -----------------------------------------------------------------------

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 9),
    "deflate": lambda body: zlib.compress(body, 9),
    "bz2": lambda body: bz2.compress(body, 9),
}


def packed(client: httpx.Client, name: str, encoding: str, body: bytes) -> httpx.Response:
    api = APIS[name]
    return client.post(api.path, content=body, headers=(FORM if api.in_form else JSON) | {"content-encoding": encoding})


@pytest.mark.parametrize(("name", "encoding"), [(name, encoding) for name, api in APIS.items() for encoding in sorted(api.encodings)])
def test_a_bomb_is_refused_at_the_limit(client: httpx.Client, name: str, encoding: str) -> None:
    bomb = PACKED[encoding](BOMB)
    assert len(bomb) < LIMIT
    reply = packed(client, name, encoding, bomb)
    refused(reply, name, 413)
    if name != "porter":  # which says no more than that
        assert f"larger than {LIMIT} bytes (serving.limits.maxRequestBytes)" in reply.text
    twice = PACKED[encoding](b" " * (LIMIT // 2 + 1)) * 2
    if encoding != "deflate":  # of which there is one member
        refused(packed(client, name, encoding, twice), name, 413)
    body = b"client=a&json=" + quote_plus(good(name)).encode() if APIS[name].in_form else good(name)
    assert packed(client, name, encoding, PACKED[encoding](body)).status_code == 200


@each_api
def test_what_is_not_packed_as_it_says_is_refused(client: httpx.Client, name: str) -> None:
    api = APIS[name]
    for encoding, pack in PACKED.items():
        if encoding in api.encodings:
            for body in (good(name), pack(good(name))[:-5], b""):
                assert packed(client, name, encoding, body).status_code in (400, 422)
                assert shape_of(packed(client, name, encoding, body)) == api.shape
        else:
            refused(packed(client, name, encoding, pack(good(name))), name, 415)
