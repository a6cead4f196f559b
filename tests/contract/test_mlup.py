"""mlup over a real socket: its page, row by row, with a plain HTTP client; and the walk of docs/dialects/mlup.md."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import joblib
import pandas as pd
import pytest
from tests.support.serving import Server, manifest, run, serving

ROOT = Path(__file__).parents[2]
IRIS = ROOT / "examples/iris/model.joblib"
JSON = "application/json"
ROW = [5.1, 3.5, 1.4, 0.2]
ROWS = [ROW, [6.0, 3.0, 5.0, 1.8], [5.7, 2.9, 4.2, 1.3]]
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
OBJECTS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
COLUMNS = [{"name": name, "type": "float"} for name in NAMES]
EXPECTED: list[int] = joblib.load(IRIS).predict(pd.DataFrame(ROWS, columns=NAMES)).tolist()


def mlup(tmp_path_factory: pytest.TempPathFactory, limits: Any = None, **options: Any) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mlup")
    given = {"dialects": {"mlup": options}, "limits": limits or {}}
    with serving(folder, manifest(folder, "iris", IRIS, serving=given)) as started:
        yield started


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The defaults, but for a bound on rows, and on bodies."""
    yield from mlup(tmp_path_factory, {"maxRequestBytes": 1000}, throttlingMaxRequestLen=3)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Rows held against columns, as data frames; /info says everything; replies of 0.4; no docs."""
    columns = [*COLUMNS[:3], {"name": "petal_width", "type": "float", "required": False, "default": 0.2}]
    options = {"debug": True, "compatibility": "0.4", "showDocs": False, "dataTransformerForPredict": "pandas"}
    yield from mlup(tmp_path_factory, columns=columns, columnValidation=True, predictMethodName="predict_proba", **options)


def ask(server: Server, method: str, path: str, body: bytes | None = None, content_type: str = JSON) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(httpx.URL(server.rest).netloc.decode(), timeout=30)
    connection.request(method, path, body, {"content-type": content_type} if body is not None else {})
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply, content


def predict(server: Server, document: Any) -> Any:
    reply, content = ask(server, "POST", "/predict", json.dumps(document).encode())
    assert reply.status == 200, content
    assert reply.getheader("content-type") == JSON
    uuid.UUID(reply.getheader("x-predict-id"), version=4)
    return json.loads(content)


# --- the page's table of paths -----------------------------------------------------------------------------------

INFO = {
    "model_info": {"name": "MyFirstMLupModel", "version": "1.0.0.0", "type": "sklearn", "columns": None},
    "web_app_info": {"version": "1.0.0.0"},
}
NOT_FOUND, NOT_ALLOWED = {"detail": "Not Found"}, {"detail": "Method Not Allowed"}
PATHS = (
    ("GET", "/health", 200, {"status_code": 200}),
    ("OPTIONS", "/health", 200, {"status_code": 200}),
    ("HEAD", "/health", 200, None),
    ("POST", "/health", 405, NOT_ALLOWED),
    ("GET", "/info", 200, INFO),
    ("POST", "/info", 405, NOT_ALLOWED),
    ("GET", "/predict", 405, NOT_ALLOWED),
    ("PUT", "/predict", 405, NOT_ALLOWED),
    ("GET", "/get-predict/7d9bea07-7505-45ec-a700-40417842025b", 404, NOT_FOUND),  # not without is_long_predict
    ("GET", "/nothing", 404, NOT_FOUND),
    ("GET", "/predict/", 404, NOT_FOUND),
    ("POST", "/info/more", 404, NOT_FOUND),
)


@pytest.mark.parametrize(("method", "path", "status", "document"), PATHS)
def test_a_path_answers_as_the_page_says(plain: Server, method: str, path: str, status: int, document: Any) -> None:
    reply, content = ask(plain, method, path)
    assert (reply.status, reply.getheader("content-type")) == (status, JSON)
    assert (json.loads(content) if content else None) == document
    assert (reply.getheader("x-predict-id") is not None) == (path == "/predict")


def test_docs_show_the_api_with_an_example_that_works(plain: Server) -> None:
    assert ask(plain, "GET", "/docs")[0].status == 200
    document = json.loads(ask(plain, "GET", "/openapi.json")[1])
    assert set(document["paths"]) == {"/health", "/info", "/predict"}
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"][JSON]["example"]
    assert len(predict(plain, example)["predict_result"]) == 1


# --- results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [{"X": ROWS}, {"X": OBJECTS}, {"X": ROWS, "more": 1, "check_input": None}])
def test_rows_are_lists_or_objects_and_extra_keys_are_passed_over(plain: Server, document: Any) -> None:
    assert predict(plain, document) == {"predict_result": EXPECTED}


def test_no_rows_have_no_results(plain: Server) -> None:
    assert predict(plain, {"X": []}) == {"predict_result": []}


def test_every_reply_has_an_id_of_its_own(plain: Server) -> None:
    assert len({ask(plain, "POST", "/predict", body)[0].getheader("x-predict-id") for body in [b'{"X":[]}', b"{}"] * 5}) == 10


def test_a_body_is_json_whatever_its_media_type_says_and_may_be_compressed(plain: Server) -> None:
    body = json.dumps({"X": ROWS}).encode()
    for content_type in ("", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        assert json.loads(ask(plain, "POST", "/predict", body, content_type)[1]) == {"predict_result": EXPECTED}
    reply = httpx.post(f"{plain.rest}/predict", content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert reply.json() == {"predict_result": EXPECTED}


def test_rows_by_name_in_any_order_with_defaults_and_text_for_numbers(strict: Server) -> None:
    wanted = joblib.load(IRIS).predict_proba(pd.DataFrame([ROW], columns=NAMES)).tolist()
    row = {"petal_length": "1.4", "sepal_width": 3.5, "sepal_length": 5.1, "more": None}
    (found,) = predict(strict, {"X": [row]})["predict_result"]
    assert found == pytest.approx(wanted[0], rel=1e-12)


def test_debug_says_every_option(strict: Server) -> None:
    document = json.loads(ask(strict, "GET", "/info")[1])
    columns = [*COLUMNS[:3], {"name": "petal_width", "type": "float", "required": False, "default": 0.2}]
    assert document == {
        "model_info": {"name": "MyFirstMLupModel", "version": "1.0.0.0", "type": "sklearn", "columns": columns},
        "web_app_info": {"version": "1.0.0.0"},
        "web_app_config": {
            "host": "localhost",
            "port": 8009,
            "web_app_version": "1.0.0.0",
            "column_validation": True,
            "custom_column_pydantic_model": None,
            "mode": "mlup.web.architecture.directly_to_predict.DirectlyToPredictArchitecture",
            "max_queue_size": 100,
            "ttl_predicted_data": 60,
            "ttl_client_wait": 30.0,
            "min_batch_len": 10,
            "batch_worker_timeout": 1.0,
            "is_long_predict": False,
            "show_docs": False,
            "debug": True,
            "throttling_max_requests": None,
            "throttling_max_request_len": None,
            "timeout_for_shutdown_daemon": 3.0,
            "item_id_col_name": "mlup_item_id",
        },
        "model_config": {
            "name": "MyFirstMLupModel",
            "version": "1.0.0.0",
            "type": "sklearn",
            "columns": columns,
            "predict_method_name": "predict_proba",
            "auto_detect_predict_params": True,
            "storage_type": "mlup.ml.storage.memory.MemoryStorage",
            "binarization_type": "auto",
            "use_thread_loop": True,
            "max_thread_loop_workers": None,
            "data_transformer_for_predict": "mlup.ml.data_transformers.pandas_data_transformer.PandasDataFrameTransformer",
            "data_transformer_for_predicted": "mlup.ml.data_transformers.numpy_data_transformer.NumpyDataTransformer",
            "dtype_for_predict": None,
        },
    }


def test_0_4_says_status(strict: Server) -> None:
    assert json.loads(ask(strict, "GET", "/health")[1]) == {"status": 200}


def test_docs_that_are_off_are_not_there(strict: Server) -> None:
    reply, content = ask(strict, "GET", "/docs")
    assert (reply.status, json.loads(content)) == (404, NOT_FOUND)


# --- the page's table of errors ----------------------------------------------------------------------------------


class Refused(NamedTuple):
    name: str
    body: bytes
    status: int
    details: list[tuple[list[Any], str, str]]  # loc, msg (a pattern where it begins with ^), type
    server: str = "plain"


def told(msg: str, type_: str, *loc: Any) -> list[tuple[list[Any], str, str]]:
    return [(list(loc), msg, type_)]


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


LIMIT = "The query exceeded the limit on the number of rows for the predict. Please downsize your request."
MODEL = "MLupModelColumns"
REFUSED = (
    Refused("no rows key", b"{}", 422, told("field required", "value_error.missing", "X")),
    Refused("rows that are no list", body({"X": {"a": 1}}), 422, told("value is not a valid list", "type_error.list", "X")),
    Refused("null for rows", body({"X": None}), 422, told("none is not an allowed value", "type_error.none.not_allowed", "X")),
    Refused("not json", b'{"X": [1', 422, told("^Invalid json data: ", "validation_error")),
    Refused("nothing", b"", 422, told("^Invalid json data: ", "validation_error")),
    Refused("NaN", b'{"X": [[NaN, 1, 1, 1]]}', 422, told("^Invalid json data: ", "validation_error")),
    Refused("not utf-8", b'{"X": "\xff"}', 422, told("^Invalid json data: ", "validation_error")),
    Refused("a list", b"[1]", 422, told("^Invalid json data: an object was expected, got a list$", "validation_error")),
    Refused("too many rows", body({"X": [ROW] * 4}), 429, told(LIMIT, "throttling_error")),
    Refused("ragged rows", body({"X": [ROW, ROW[1:]]}), 500, told("row 1: has 3 values, row 0 has 4", "predict_transform_data_error")),
    Refused("rows that are numbers", body({"X": [1, 2]}), 500, told("^row 0: must be a list", "predict_transform_data_error")),
    Refused("an object without a key", body({"X": [OBJECTS[0], {}]}), 500, told("^row 1: has no '", "predict_transform_data_error")),
    Refused("too narrow a row", body({"X": [[1, 2]]}), 500, told("^X has 2 features, but .* is expecting 4 features", "predict_error")),
    Refused(
        "text for a number", body({"X": [["wide", 1, 1, 1]]}), 500, told("^could not convert string to float: 'wide'", "predict_error")
    ),
    Refused("0.4: no rows key", b"{}", 422, told("Field required", "missing", "X"), "strict"),
    Refused(
        "0.4: rows that are no objects",
        body({"X": [ROW, {}]}),
        422,
        [
            (["X", 0], f"Input should be a valid dictionary or instance of {MODEL}", "model_type"),
            *((["X", 1, name], "Field required", "missing") for name in NAMES[:3]),
        ],
        "strict",
    ),
    Refused(
        "0.4: a field that is not a number, and one that is null",
        body({"X": [OBJECTS[0] | {"sepal_width": "wide", "petal_width": None}]}),
        422,
        [
            (["X", 0, "sepal_width"], "Input should be a valid number", "float_type"),
            (["X", 0, "petal_width"], "Input should be a valid number", "float_type"),
        ],
        "strict",
    ),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name.replace(" ", "-"))
def test_a_refusal_says_where_and_what(case: Refused, request: pytest.FixtureRequest) -> None:
    reply, content = ask(request.getfixturevalue(case.server), "POST", "/predict", case.body)
    document = json.loads(content)
    assert (reply.status, reply.getheader("content-type"), set(document)) == (case.status, JSON, {"detail", "predict_id"})
    assert document["predict_id"] == reply.getheader("x-predict-id")
    uuid.UUID(document["predict_id"], version=4)
    assert [(d["loc"], d["type"]) for d in document["detail"]] == [(loc, type_) for loc, _, type_ in case.details]
    for found, (_, msg, _) in zip(document["detail"], case.details, strict=True):
        assert set(found) == {"loc", "msg", "type"}
        assert re.match(msg, found["msg"], re.DOTALL) if msg.startswith("^") else found["msg"] == msg


def test_a_body_that_is_too_large_is_refused_in_this_shape_too(plain: Server) -> None:
    reply, content = ask(plain, "POST", "/predict", body({"X": [ROW] * 100}))
    assert reply.status == 413
    (found,) = json.loads(content)["detail"]
    assert (found["loc"], found["type"]) == ([], "request_error")
    assert "maxRequestBytes" in found["msg"]
    assert json.loads(content)["predict_id"] == reply.getheader("x-predict-id")


# --- shared ground -----------------------------------------------------------------------------------------------


def test_beside_other_apis_json_is_its_own_and_forms_are_seldons(tmp_path: Path) -> None:
    dialects: dict[str, Any] = {name: {} for name in ("mlup", "seldon", "certifai", "v1")}
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS, serving={"dialects": dialects})) as server:
        assert predict(server, {"X": ROWS}) == {"predict_result": EXPECTED}
        reply, content = ask(server, "POST", "/predict", b"a=1", "application/x-www-form-urlencoded")
        assert reply.getheader("x-predict-id") is None
        assert b"predict_id" not in content
        assert json.loads(ask(server, "GET", "/health")[1]) == {"status_code": 200}
        assert json.loads(ask(server, "GET", "/get-predict/x")[1]) == NOT_FOUND
        assert json.loads(ask(server, "POST", "/info")[1]) == NOT_ALLOWED
        assert set(json.loads(ask(server, "GET", "/nothing")[1])) == {"error"}


# --- what is refused at the start --------------------------------------------------------------------------------


def test_several_replicas_without_a_shared_store_end_the_start(tmp_path: Path) -> None:
    given = {"serving": {"dialects": {"mlup": {"isLongPredict": True}}}, "scale": {"replicas": 2}}
    done = run(tmp_path, "serve", manifest(tmp_path, "iris", IRIS, **given), "--port", "0")
    assert done.returncode == 10
    assert "`is_long_predict` needs `scale.replicas: 1` or a shared result store (memcached)" in done.stderr + done.stdout


def test_two_models_cannot_both_have_the_root(tmp_path: Path) -> None:
    for name in ("first", "second"):
        manifest(tmp_path, name, IRIS, serving={"dialects": {"mlup": {}}})
    done = run(tmp_path, "serve", tmp_path, "--port", "0")
    assert done.returncode == 10
    assert (done.stderr + done.stdout).count("models 'first' and 'second' both answer POST /predict in mlup") == 1


# --- docs --------------------------------------------------------------------------------------------------------


def test_the_walk_of_the_docs_page_works(tmp_path: Path) -> None:
    """Its manifest is served, and each of its commands, in one shell, answers what the page says."""
    page = (ROOT / "docs/dialects/mlup.md").read_text(encoding="utf-8")
    (document,) = re.findall(r"```yaml\n(apiVersion.*?)```", page, re.DOTALL)
    (walk,) = re.findall(r"```console\n(\$ curl.*?)```", page, re.DOTALL)
    file = tmp_path / "modeldeployment.yaml"
    file.write_text(document.replace("examples/", f"{ROOT}/examples/"), encoding="utf-8")
    steps = re.findall(r"^\$ (.*?[^\\])\n(.*?)(?=^\$ |\Z)", walk, re.DOTALL | re.MULTILINE)
    assert len(steps) >= 5
    with serving(tmp_path, file) as started:
        script = "\n".join(f"{command}\nprintf '\\0'" for command, _ in steps).replace("http://127.0.0.1:8080", started.rest)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
    for found, (command, answer) in zip(done.stdout.split("\0"), steps, strict=False):
        expected = ".*".join(map(re.escape, answer.strip().split("…")))
        assert re.fullmatch(expected, found.strip(), re.DOTALL), f"{command}: {found}"
