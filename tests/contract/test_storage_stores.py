"""Models come from S3, Azure Blob Storage and Google Cloud Storage: real servers, and credentials as each cloud's own tools find them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.servers.hostile import hostile_http
from tests.servers.objects import ObjectServer

from dragoman.errors import AccessDenied, DigestMismatch, InvalidSpec, ModelNotFound, UnsupportedFormat
from dragoman.storage.digest import digest_of
from dragoman.storage.fetch import fetch
from dragoman.storage.remote import PART_BYTES
from dragoman.storage.request import Bounds, Fetched, Progress, Request, Warned

Get = Callable[..., Fetched]
LISTING = b"""<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>models</Name><Prefix>iris/</Prefix><KeyCount>2</KeyCount>
<Contents><Key>iris/a</Key><Size>1</Size><ETag>"1"</ETag><LastModified>2020-01-01T00:00:00.000Z</LastModified></Contents>
<Contents><Key>iris/a/b</Key><Size>1</Size><ETag>"2"</ETag><LastModified>2020-01-01T00:00:00.000Z</LastModified></Contents>
</ListBucketResult>"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A developer's own cloud settings have no part in this."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(params=["s3_server", "azure_server", "gcs_server"])
def server(request: pytest.FixtureRequest) -> ObjectServer:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def get(tmp_path: Path) -> Get:
    def got(uri: str, options: Mapping[str, str] | None = None, digest: str | None = None, bounds: Bounds = Bounds()) -> Fetched:  # noqa: B008
        made = Request.of(uri, options=options, digest=digest, cache=tmp_path / "cache")
        request = Request(made.uri, made.cache, made.cache_bytes, made.options, made.digest, bounds)
        fetched = fetch(request)
        fetched.lease.release()
        return fetched

    return got


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "iris"
    for name, content in {"model.joblib": b"model", "sub/a b#?%41é.txt": b"x", "empty": b""}.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    return made


def test_an_object_is_fetched_in_parts_and_is_the_same(server: ObjectServer, get: Get, tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(os.urandom(2 * PART_BYTES + 12345))
    fetched = get(server.put("storage/parts/model.bin", model), server.options, digest_of(model))
    assert (fetched.name, fetched.bytes, digest_of(fetched.path)) == ("model.bin", model.stat().st_size, digest_of(model))


@pytest.mark.parametrize("slash", ["/", ""])
def test_a_folder_is_fetched_with_and_without_a_slash_and_has_its_local_digest(
    server: ObjectServer, get: Get, folder: Path, slash: str
) -> None:
    uri = server.put_folder("storage/folders/iris", folder).rstrip("/") + slash
    server.put("storage/folders/iris-2/model.joblib", b"another model")
    fetched = get(uri, server.options)
    assert (fetched.name, fetched.bytes, fetched.digest) == ("iris", 6, digest_of(folder))
    assert digest_of(fetched.path) == digest_of(folder)


def test_a_folders_own_marker_is_no_file(server: ObjectServer, get: Get, folder: Path) -> None:
    server.put("storage/marked/iris/", b"")
    assert get(server.put_folder("storage/marked/iris", folder), server.options).digest == digest_of(folder)


def test_an_object_that_is_also_a_folder_is_refused(get: Get) -> None:
    with hostile_http({"models/iris/a": b"1", "models/iris/a/b": b"2", "models": LISTING}) as web:
        options = {"endpoint": web.endpoint, "skip_signature": "true"}
        with pytest.raises(UnsupportedFormat, match="'a/b' is both a file and a folder"):
            get("s3://models/iris/", options)


def test_an_empty_object_is_a_model_of_no_bytes(server: ObjectServer, get: Get) -> None:
    assert get(server.put("storage/nothing", b""), server.options).path.read_bytes() == b""


def test_an_object_that_did_not_change_is_not_read_again_and_a_changed_one_is(server: ObjectServer, tmp_path: Path) -> None:
    uri = server.put("storage/changing/model", b"one")
    request = Request.of(uri, options=server.options, cache=tmp_path / "cache")
    first = fetch(request)
    told: list[Progress | Warned] = []
    assert fetch(request, told.append).path == first.path
    assert [event.bytes for event in told if isinstance(event, Progress)] in ([], [0])
    server.put("storage/changing/model", b"two")
    assert fetch(request).path.read_bytes() == b"two"


def test_a_folder_that_did_not_change_is_not_read_again_and_a_changed_one_is(server: ObjectServer, folder: Path, tmp_path: Path) -> None:
    request = Request.of(server.put_folder("storage/changing/iris", folder), options=server.options, cache=tmp_path / "cache")
    first = fetch(request)
    told: list[Progress | Warned] = []
    assert fetch(request, told.append).path == first.path
    assert [event.bytes for event in told if isinstance(event, Progress)] in ([], [0])
    (folder / "model.joblib").write_bytes(b"other")
    server.put_folder("storage/changing/iris", folder)
    assert fetch(request).digest == digest_of(folder) != first.digest


@pytest.mark.parametrize("uri", ["storage/missing", "storage/missing/", "storage/folder-of/missing.joblib"])
def test_what_is_not_there_is_model_not_found(server: ObjectServer, get: Get, uri: str) -> None:
    with pytest.raises(ModelNotFound, match=f"^{server.uri(uri)}: not found"):
        get(server.uri(uri), server.options)


def test_a_wrong_key_is_access_denied_and_is_not_repeated(server: ObjectServer, get: Get) -> None:
    if server.refused_options is None:
        assert server.scheme == "gs"  # this server lets anybody in
        return
    with pytest.raises(AccessDenied) as denied:
        get(server.put("storage/secret/model", b"1"), {**server.options, **server.refused_options})
    assert denied.value.message.startswith(f"{server.uri('storage/secret/model')}: access denied (403 Forbidden")
    for secret in (*server.refused_options.values(), *(v for k, v in server.options.items() if "key" in k)):
        assert secret not in denied.value.message


def test_a_wrong_region_is_told(s3_server: ObjectServer, get: Get) -> None:
    with pytest.raises(InvalidSpec, match="in another region; set AWS_REGION or the storage option region"):
        get(s3_server.put("storage/elsewhere", b"1"), {**s3_server.options, "region": "mars-north-1"})


def test_a_wrong_digest_names_both(server: ObjectServer, get: Get) -> None:
    with pytest.raises(DigestMismatch, match=r"its digest is sha256:6b86b273.*, but sha256:0{64} is pinned"):
        get(server.put("storage/pinned/model", b"1"), server.options, "sha256:" + "0" * 64)


def test_an_option_that_is_none_is_named(server: ObjectServer, get: Get) -> None:
    with pytest.raises(InvalidSpec, match="'endpont' is not an option of"):
        get(server.uri("storage/x"), {**server.options, "endpont": "x"})


def test_more_objects_than_a_model_has_are_refused(server: ObjectServer, get: Get, folder: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="more than 2 objects; give the folder of one model"):
        get(server.put_folder("storage/many", folder), server.options, bounds=Bounds(files=2))


def test_the_environment_opens_the_store(server: ObjectServer, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    assert get(server.put("storage/by-environment", b"1")).path.read_bytes() == b"1"


def test_plain_http_need_not_be_allowed_for_an_endpoint_that_is_plain_http(
    s3_server: ObjectServer, azure_server: ObjectServer, get: Get
) -> None:
    for server in (s3_server, azure_server):
        options = {name: value for name, value in server.options.items() if name != "allow_http"}
        assert get(server.put("storage/plain", b"1"), options).path.read_bytes() == b"1"


def test_azures_own_names_open_the_store(azure_server: ObjectServer, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = azure_server.put("storage/by-name", b"1")
    account, key, endpoint = (azure_server.options[name] for name in ("account_name", "account_key", "endpoint"))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", account)
    monkeypatch.setenv("AZURE_STORAGE_KEY", key)
    assert get(uri, {"endpoint": endpoint}).path.read_bytes() == b"1"
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT")
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName={account};AccountKey={key};BlobEndpoint={endpoint}")
    azure_server.put("storage/by-name", b"2")
    assert get(uri).path.read_bytes() == b"2"


def test_googles_emulator_host_opens_the_store_without_credentials(
    gcs_server: ObjectServer, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.endpoint.removeprefix("http://"))
    assert get(gcs_server.put("storage/emulated", b"1")).path.read_bytes() == b"1"


def test_an_aws_profile_gives_key_region_and_endpoint(
    s3_server: ObjectServer, get: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = s3_server.options
    keys = f"aws_access_key_id = {options['access_key_id']}\naws_secret_access_key = {options['secret_access_key']}\n"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[profile dev]\nregion = {options['region']}\nendpoint_url = {options['endpoint']}\n"
        f"[default]\nregion = {options['region']}\nendpoint_url = {options['endpoint']}\n"
    )
    (tmp_path / ".aws" / "credentials").write_text(f"[dev]\n{keys}[default]\naws_access_key_id = none\naws_secret_access_key = none\n")
    uri = s3_server.put("storage/by-profile", b"1")
    with pytest.raises(AccessDenied):  # the default profile's, since a profile file is there
        get(uri)
    monkeypatch.setenv("AWS_PROFILE", "dev")
    assert get(uri).path.read_bytes() == b"1"
    monkeypatch.delenv("AWS_PROFILE")
    s3_server.put("storage/by-profile", b"2")
    assert get(uri, {"profile": "dev"}).path.read_bytes() == b"2"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("[profile other]\n", "profile .dev. could not be found"),
        (
            "[profile dev]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
            "[sso-session s]\nsso_start_url = https://sso.invalid\nsso_region = eu-west-1\n",
            "try `aws sso login --profile dev`",
        ),
    ],
)
def test_a_profile_that_gives_no_credentials_says_why(
    get: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, why: str
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(config)
    monkeypatch.setenv("AWS_PROFILE", "dev")
    with pytest.raises(AccessDenied, match=why):
        get("s3://models/x")


def test_an_anonymous_request_is_not_signed_and_asks_by_path(get: Get) -> None:
    with hostile_http({"models/iris/model.joblib": b"1"}) as web:
        options = {"endpoint": web.endpoint, "skip_signature": "true"}
        assert get("s3://models/iris/model.joblib", options).path.read_bytes() == b"1"
    assert [(r.path, "authorization" in r.headers) for r in web.requests] == [("models/iris/model.joblib", False)]


def test_an_anonymous_request_that_is_refused_is_access_denied(s3_server: ObjectServer, get: Get) -> None:
    with pytest.raises(AccessDenied, match="or it is not there, and they may not list the bucket"):
        get(s3_server.put("storage/private", b"1"), {"endpoint": s3_server.endpoint, "skip_signature": "true"})


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections, and never answers: what a metadata address can be on a laptop."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                kept.append(connection)
                if connection.recv(1) == b"":
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    ("uri", "variable", "mend"),
    [
        ("s3://models/x", "AWS_METADATA_ENDPOINT", "set AWS_ACCESS_KEY_ID"),
        ("s3://models/x", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "set AWS_ACCESS_KEY_ID"),
        ("az://models/x", "AZURE_MSI_ENDPOINT", "set AZURE_STORAGE_ACCOUNT"),
    ],
)
def test_a_metadata_server_that_is_silent_is_given_up(
    get: Get, monkeypatch: pytest.MonkeyPatch, uri: str, variable: str, mend: str
) -> None:
    with silent_server() as metadata:
        monkeypatch.setenv(variable, metadata)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        with pytest.raises(AccessDenied, match=f"^{uri}: no credentials were found.*{mend}.*skip_signature"):
            get(uri)


@pytest.mark.parametrize(
    ("uri", "options", "environ", "why"),
    [
        ("s3://models/x", {"endpoint": "nonsense"}, {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "k"}, "the endpoint must be a URL"),
        ("s3://models/x", {"skip_signature": "maybe"}, {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "k"}, "failed to parse"),
        ("s3://models/x", {"timeout": "10 parsecs"}, {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "k"}, "failed to parse"),
        ("az://models/x", {"skip_signature": "true"}, {}, "Account must be specified"),
        ("gs://models/x", {"service_account": "/none.json"}, {}, "/none.json"),
        ("https://127.0.0.1:1/x", {"region": "eu"}, {}, "'region' is not an option of https"),
    ],
)
def test_settings_that_cannot_be_are_invalid_spec(
    get: Get, monkeypatch: pytest.MonkeyPatch, uri: str, options: dict[str, str], environ: dict[str, str], why: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSpec, match=f"^{uri}: .*{why}"):
        get(uri, options)
