"""Tokens over real sockets, in every dialect that there is: what asks for one and what does not, whose opens what, rotation."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.rpcs import rpcs_of
from tests.support.serving import Server, eventually, manifest, run, serving
from tests.unit.models import IRIS as IRIS_VIEW

from dragoman import manifest as manifests
from dragoman.dialects import DIALECTS
from dragoman.dialects.dialect import Surface
from dragoman.proto import open_inference as pb
from dragoman_operator.errors import Reason
from dragoman_operator.pods import _of_end

EXAMPLES = Path(__file__).parents[2] / "examples"
IRIS = EXAMPLES / "iris/model.joblib"
ROW = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
OURS, OTHERS, ADMINS, WRONG = "ours-3f9c1d", "others-77ab20", "admins-c0ffee", "wrong-000000"
OPTIONS = sorted({dialect.option for dialect in DIALECTS.values()})
REJECTED = "dragoman_requests_rejected_total"

HEALTH = {"/v2/health/live", "/v2/health/ready", "/v2/models/iris/ready", "/health", "/-/alive", "/-/ready"}
"""As each API names it; the model's own is health, too, in the Open Inference Protocol's words."""
HEALTH_RPCS = {f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady", "ModelReady")}


CONTEXT = httpx.create_ssl_context()  # made once: it costs ten times a request


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Place:
    """A path of a dialect, without patterns; and whether it is left open for everybody (health, and what browsers ask before they ask)."""

    dialect: str
    method: str
    path: str
    is_open: bool
    is_admin: bool = False


def surfaces() -> dict[str, Surface]:
    """Of every dialect, with its defaults, as a server of `iris` that speaks all of them shows it."""
    spec = {"model": {"uri": "s3://m"}, "serving": {"dialects": {name: {} for name in OPTIONS}}}
    parsed = manifests.parse({"apiVersion": manifests.API_VERSION, "kind": manifests.KIND, "metadata": {"name": "iris"}, "spec": spec})
    options = parsed.spec.serving.dialects.enabled()
    return {name: dialect.surface([(IRIS_VIEW, options[dialect.option])]) for name, dialect in DIALECTS.items()}


def every_path() -> list[Place]:
    found = []
    for name, surface in surfaces().items():
        found += [Place(name, predict.method, predict.path, False) for predict in surface.predicts]
        found += [Place(name, "GET", re.sub(r"\{\w+\}", "x", kept.path), False) for kept in surface.kept]
        found += [Place(name, a.method, re.sub(r"\{\w+\}", "x", a.path), not a.guarded, a.admin) for a in surface.answers]
    return [one for one in found if "/versions/" not in one.path and one.path != "/"]


PATHS = every_path()
RPCS = [(name, rpc) for name, surface in surfaces().items() for rpc in rpcs_of(surface)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`iris` with tokens, in every dialect; `other` with tokens of its own, and `open` without, in v1 and v2."""
    folder = tmp_path_factory.mktemp("auth")
    for name, token in (("ours", OURS), ("others", OTHERS), ("admins", ADMINS)):
        (folder / f"{name}.tokens").write_text(f"# of {name}\n{token}\n")
    tokens = {"tokens": {"file": "ours.tokens"}, "adminTokens": {"file": "admins.tokens"}}
    manifest(folder, "iris", IRIS, serving={"dialects": {name: {} for name in OPTIONS} | {"porter": {"exposeDocs": True}}, "auth": tokens})
    manifest(folder, "other", IRIS, serving={"auth": {"tokens": {"file": "others.tokens"}}})
    manifest(folder, "open", IRIS)
    with serving(folder, folder) as started:
        yield started
    log = started.log.read_text()
    assert not [token for token in (OURS, OTHERS, ADMINS, WRONG) if token in log], "a token was logged"


def asked(server: Server, method: str, path: str, token: str | None = None) -> httpx.Response:
    headers = {"content-type": "application/json"} | (bearing(token) if token else {})
    content = json.dumps(ROW) if method == "POST" else None
    return httpx.request(method, server.rest + path, headers=headers, content=content, timeout=30, verify=CONTEXT)


# --- REST --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [p for p in PATHS if not p.is_open and not p.is_admin], ids=lambda p: f"{p.dialect}-{p.method}-{p.path}")
def test_what_is_not_health_asks_for_a_token(server: Server, one: Place) -> None:
    for token in (None, WRONG, ADMINS):
        refused = asked(server, one.method, one.path, token)
        assert refused.status_code == 401, refused.text
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert asked(server, one.method, one.path, OURS).status_code != 401


@pytest.mark.parametrize("one", [p for p in PATHS if p.is_open], ids=lambda p: f"{p.dialect}-{p.method}-{p.path}")
def test_health_never_asks_for_a_token(server: Server, one: Place) -> None:
    assert one.path in HEALTH or one.method == "OPTIONS"
    for token in (None, WRONG):
        assert asked(server, one.method, one.path, token).status_code == 200


def test_health_is_mlups_where_it_is_on_beside_certifai(server: Server) -> None:
    assert asked(server, "GET", "/health").json() == {"status_code": 200}


def test_no_health_path_was_forgotten() -> None:
    assert {p.path for p in PATHS if p.path in HEALTH and not p.is_open} == set()
    assert {rpc.method for _, rpc in RPCS if not rpc.guarded} == HEALTH_RPCS


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/docs/assets/nothing"])
def test_docs_ask_for_a_token_of_any_model(server: Server, path: str) -> None:
    refused = asked(server, "GET", path)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer, Basic realm="Dragoman"')
    assert asked(server, "GET", path, WRONG).status_code == 401
    for token in (OURS, OTHERS):
        assert asked(server, "GET", path, token).status_code in (200, 307, 404)


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/_docs.json", "/assets/swagger-ui/swagger-ui.css"], ids=lambda path: path)
def test_a_browser_shows_the_docs_and_porters_with_the_token_as_password(server: Server, path: str) -> None:
    assert httpx.get(server.rest + path, auth=("anybody", OURS)).status_code == 200
    refused = httpx.get(server.rest + path, auth=("anybody", WRONG))
    assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)


def test_a_password_opens_pages_and_no_predictions(server: Server) -> None:
    assert httpx.get(f"{server.rest}/v1/models/iris", auth=("anybody", OURS)).status_code == 401


def test_openapi_says_what_needs_a_token(server: Server) -> None:
    document = asked(server, "GET", "/openapi.json", OURS).json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert document["security"] == [{"token": []}]
    paths = document["paths"]
    assert paths["/v2/health/live"]["get"]["security"] == []
    assert "security" not in paths["/v1/models/iris:predict"]["post"]
    assert "401" in paths["/v1/models/iris:predict"]["post"]["responses"]


UNKNOWN = (
    "/v1/models/wine:predict",
    "/v1/models/wine",
    "/v2/models/wine",
    "/v2/models/wine/infer",
    "/wine/predict",
    "/predApi/x",
    "/-/x",
    "/nothing",
)


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_is_here_is_not_told_without_a_token(server: Server, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert asked(server, method, path).status_code == 401
    assert asked(server, "GET", path, OURS).status_code in (404, 405)
    assert asked(server, "DELETE", "/v1/models/iris:predict").status_code == 401
    assert asked(server, "DELETE", "/v1/models/iris:predict", OURS).status_code == 405


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/iris:predict", {"error": "the token is not one that is accepted here"}),
        ("/v2/models/iris/infer", {"error": "the token is not one that is accepted here"}),
        ("/iris/predict", {"payload": {"success": False, "error": "the token is not one that is accepted here"}}),
        ("/predApi/v1.0/deployments/iris/predictions", {"message": "Invalid API token"}),
    ],
)
def test_each_dialect_refuses_in_its_own_shape(server: Server, path: str, body: Any) -> None:
    assert asked(server, "POST", path, WRONG).json() == body


def test_datarobot_clients_send_their_tokens_in_three_ways(server: Server) -> None:
    url = f"{server.rest}/predApi/v1.0/deployments/iris/predictions"
    columns = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    rows = [dict(zip(columns, ROW["instances"][0], strict=True))]
    for headers in (bearing(OURS), {"authorization": f"Token {OURS}"}):
        assert httpx.post(url, json=rows, headers=headers).status_code == 200
    assert httpx.post(url, json=rows, auth=("user@example.com", OURS)).status_code == 200
    assert httpx.post(url, json=rows).json() == {"message": "Invalid Authorization header. No credentials provided."}


def test_a_model_is_opened_by_its_own_tokens_alone(server: Server) -> None:
    statuses = {
        (model, token): asked(server, "POST", f"/v1/models/{model}:predict", token).status_code
        for model in ("iris", "other", "open")
        for token in (None, OURS, OTHERS)
    }
    wanted = {("iris", OURS), ("other", OTHERS), ("open", None), ("open", OURS), ("open", OTHERS)}
    assert statuses == {key: 200 if key in wanted else 401 for key in statuses}
    assert [asked(server, "GET", f"/v2/models/{name}", OTHERS).status_code for name in ("iris", "other")] == [401, 200]
    assert [asked(server, "GET", "/v1/models", token).status_code for token in (None, OURS, OTHERS)] == [401, 200, 200]


def test_loading_and_unloading_need_an_admin_token(server: Server) -> None:
    path = "/v2/repository/models/{}/load"
    assert [asked(server, "POST", path.format("iris"), token).status_code for token in (None, OURS, WRONG)] == [401, 401, 401]
    assert asked(server, "POST", path.format("iris"), ADMINS).status_code == 200
    assert asked(server, "POST", path.format("open")).status_code == 403
    assert [asked(server, "POST", path.format("other"), token).status_code for token in (None, OTHERS, ADMINS)] == [401, 403, 401]


def test_a_refused_request_is_counted_and_its_body_is_not_waited_for(server: Server) -> None:
    before = server.metric(REJECTED, reason="Unauthorized")
    address = httpx.URL(server.rest)
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        head = f"POST /v1/models/iris:predict HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {WRONG}\r\ncontent-length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + b'{"instances"')
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
    eventually(lambda: server.metric(REJECTED, reason="Unauthorized") == before + 1, seconds=5)
    assert server.metric("dragoman_request_duration_seconds_count", model="iris", dialect="v1", code="401") >= 1


def test_the_management_port_asks_for_nothing(server: Server) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/status"):
        assert httpx.get(server.management + path).status_code == 200
    assert OURS not in httpx.get(f"{server.management}/status").text


# --- gRPC --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


def code_of(channel: grpc.Channel, method: str, message: bytes = b"", token: str | None = None) -> grpc.StatusCode:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        channel.unary_unary(method)(message, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


REFUSED, OK = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK


@pytest.mark.parametrize(("dialect", "rpc"), RPCS, ids=lambda value: getattr(value, "method", value))
def test_rpcs_that_are_not_health_ask_for_a_token(channel: grpc.Channel, dialect: str, rpc: Any) -> None:
    codes = [code_of(channel, rpc.method, b"", token) for token in (None, WRONG)]
    if rpc.guarded:
        assert codes == [REFUSED, REFUSED]
        assert rpc.admin or code_of(channel, rpc.method, b"", OURS) != REFUSED
    else:
        assert REFUSED not in codes


def infer(model: str) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="input", datatype="FP64", shape=[1, 4]).contents.fp64_contents.extend(ROW["instances"][0])
    message: bytes = request.SerializeToString()
    return message


def test_over_grpc_a_model_is_opened_by_its_own_tokens_alone(channel: grpc.Channel) -> None:
    method = "/inference.GRPCInferenceService/ModelInfer"
    models, tokens = ("iris", "other", "open"), (None, OURS, OTHERS, ADMINS)
    codes = {(model, token): code_of(channel, method, infer(model), token) for model in models for token in tokens}
    wanted = {("iris", OURS), ("other", OTHERS), *(("open", token) for token in tokens)}
    assert codes == {key: OK if key in wanted else REFUSED for key in codes}
    unknown = [code_of(channel, method, infer("wine"), token) for token in (None, WRONG, OURS)]
    assert unknown == [REFUSED, REFUSED, grpc.StatusCode.NOT_FOUND]


def test_over_grpc_loading_needs_an_admin_token(channel: grpc.Channel) -> None:
    method = "/inference.GRPCInferenceService/RepositoryModelLoad"
    message = pb.RepositoryModelLoadRequest(model_name="iris").SerializeToString()
    assert [code_of(channel, method, message, token) for token in (None, OURS, WRONG, ADMINS)] == [REFUSED, REFUSED, REFUSED, OK]
    elsewhere = pb.RepositoryModelLoadRequest(model_name="open").SerializeToString()
    assert code_of(channel, method, elsewhere) == grpc.StatusCode.PERMISSION_DENIED


def test_standard_health_is_open_and_reflection_is_not(channel: grpc.Channel) -> None:
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    asking = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        next(stub.ServerReflectionInfo(iter([asking]), timeout=30))
    assert refused.value.code() == REFUSED
    answered = next(stub.ServerReflectionInfo(iter([asking]), timeout=30, metadata=(("authorization", f"Bearer {OURS}"),)))
    assert len(answered.list_services_response.service) >= 3


def test_a_refused_call_is_counted_and_has_an_id(server: Server, channel: grpc.Channel) -> None:
    before = server.metric(REJECTED, reason="Unauthorized")
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(
            infer("iris"), metadata=(("x-request-id", "find-me"),), timeout=30
        )
    assert ("x-request-id", "find-me") in [(key, value) for key, value in refused.value.trailing_metadata()]
    eventually(lambda: server.metric(REJECTED, reason="Unauthorized") == before + 1, seconds=5)


# --- rotation, and what ends a start -----------------------------------------------------------------------------


def test_tokens_are_rotated_while_serving(tmp_path: Path) -> None:
    """First old, then both, then new; and what is broken afterwards changes nothing."""
    tokens = tmp_path / "tokens"
    tokens.write_text("old\n")
    target = manifest(tmp_path, "iris", IRIS, serving={"auth": {"tokens": {"file": "tokens"}}, "workers": 2})
    method = "/inference.GRPCInferenceService/ModelInfer"
    with serving(tmp_path, target) as server, grpc.insecure_channel(server.grpc) as channel:

        def accepted(*, times: int = 8) -> set[str]:
            """Those tokens that every worker accepts, over REST and over gRPC."""
            found = set()
            for token in ("old", "new"):
                rest = {server.predict("iris", ROW["instances"], headers=bearing(token), verify=CONTEXT).status_code for _ in range(times)}
                if rest == {200} and code_of(channel, method, infer("iris"), token) == OK:
                    found.add(token)
            return found

        assert accepted() == {"old"}
        tokens.write_text("old\nnew\n")
        eventually(lambda: accepted() == {"old", "new"}, seconds=10)
        tokens.write_text("new\n")
        eventually(lambda: accepted() == {"new"}, seconds=10)
        tokens.write_text("")
        eventually(lambda: accepted() == {"new"} and "the tokens read before stay" in server.log.read_text(), seconds=10)
        tokens.unlink()
        eventually(lambda: accepted() == {"new"} and "no such file" in server.log.read_text(), seconds=10)
        assert code_of(channel, method, infer("iris")) == REFUSED


def test_the_walk_of_the_docs_page_works(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs/authentication.md").read_text(encoding="utf-8")
    (walk,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    make, serve, ask, _ = re.findall(r"^\$ (.*?[^\\])\n(?=\$|\Z)", walk, re.DOTALL | re.MULTILINE)
    subprocess.run(make, shell=True, cwd=tmp_path, check=True, timeout=30)
    assert serve == "dragoman serve modeldeployment.yaml"
    with serving(tmp_path, manifest(tmp_path, "iris", IRIS, serving={"auth": {"tokens": {"file": "clients.tokens"}}})) as server:
        for command, status in ((ask, "200"), (re.sub(r'-H "authorization[^"]*"', "", ask), "401")):
            telling = command.replace("http://127.0.0.1:8080", server.rest).replace("curl -s", "curl -s -o answer -w '%{http_code}'")
            done = subprocess.run(telling, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
            assert done.stdout == status, (tmp_path / "answer").read_text()


def test_what_serve_prints_can_be_pasted_where_a_token_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "our tokens").write_text(f"# of clients\n\n{OURS}\n")
    dialects = {"v1": {}, "seldon": {}, "datarobot": {"datarobotKeyEnv": "THEIR_KEY"}}
    target = manifest(tmp_path, "iris", IRIS, serving={"auth": {"tokens": {"file": "our tokens"}}, "dialects": dialects})
    key = {"THEIR_KEY": "theirs"}
    with serving(tmp_path, target, env=key, log_format="text") as server:
        printed = eventually(lambda: re.findall("^curl .*", server.log.read_text(), re.MULTILINE))
        for command in printed:
            telling = command.replace("curl ", "curl -o answer -w '%{http_code}' ", 1)
            ran = subprocess.run(telling, shell=True, cwd=tmp_path, env=os.environ | key, stdout=subprocess.PIPE, timeout=30, check=True)
            assert ran.stdout == b"200", (tmp_path / "answer").read_text()
        assert len(printed) == 3
        assert OURS not in server.log.read_text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"file": "nowhere"}, r"iris: spec.serving.auth.tokens: \S+/nowhere: no such file; write the tokens into it, one a line"),
        ({"file": "empty"}, r"iris: spec.serving.auth.tokens: \S+/empty: the file holds no token: write one a line"),
        ({"secretName": "clients"}, "iris: spec.serving.auth.tokens.secretName: a Secret is read on a cluster; here, name a file"),
    ],
)
def test_a_server_does_not_start_without_the_tokens_that_it_is_to_ask_for(tmp_path: Path, source: dict[str, str], message: str) -> None:
    (tmp_path / "empty").write_text("# to be written\n")
    words = tmp_path / "last-words"
    target = manifest(tmp_path, "iris", IRIS, serving={"auth": {"tokens": source}})
    done = run(tmp_path, "serve", target, "--port", "0", "--termination-log", words)
    assert done.returncode == 10
    assert re.search(message, " ".join(done.stderr.split()))
    said = json.loads(words.read_text())
    assert said["reason"] == "InvalidSpec"
    assert re.match(message, said["message"])


def test_the_operator_understands_a_mounted_secret_that_is_empty(tmp_path: Path) -> None:
    """The runtime's last words of it, as they are, are what the operator tells a missing Secret by."""
    (tmp_path / "mounted").mkdir()
    words = tmp_path / "last-words"
    target = manifest(tmp_path, "iris", IRIS, serving={"auth": {"adminTokens": {"file": "mounted"}}})
    assert run(tmp_path, "serve", target, "--port", "0", "--termination-log", words).returncode == 10
    failure = _of_end("pod", {"exitCode": 10, "message": words.read_text()})
    assert failure.reason is Reason.SECRET_NOT_FOUND
    assert failure.message.startswith(
        "the Secret that spec.serving.auth.adminTokens names does not exist in this namespace, or holds no token"
    )
