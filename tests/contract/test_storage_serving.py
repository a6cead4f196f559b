"""From object storage to a prediction, end to end: what the server says while it fetches, and how it ends when it cannot."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from tests.servers.behaviour import answers, breaks, stalls
from tests.servers.hostile import hostile_http
from tests.servers.objects import ObjectServer
from tests.support.serving import Server, command, environment, eventually, manifest, run, serving

from dragoman.storage.digest import digest_of

IRIS = Path(__file__).parents[2] / "examples/iris/model.joblib"
ROW = [5.1, 3.5, 1.4, 0.2]
PORTS = ("--port", "0", "--grpc-port", "0", "--management-port", "0")


@pytest.fixture(params=["s3_server", "azure_server", "gcs_server"])
def store(request: pytest.FixtureRequest) -> ObjectServer:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The iris model, with 4 MB of weights that it does not need."""
    model = joblib.load(IRIS)
    model.padding_ = np.random.default_rng(0).bytes(4_000_000)
    path = tmp_path_factory.mktemp("large") / "model.joblib"
    joblib.dump(model, path)
    return path.read_bytes()


def assert_serves(server: Server) -> None:
    assert server.predict("model", [ROW]).json() == {"predictions": [0]}


def model_of(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.status()["models"][0]
    return found


def assert_ends(
    tmp_path: Path, target: Path, code: int, reason: str, *words: str, env: Mapping[str, str] | None = None, limit: str = "unlimited"
) -> None:
    """`dragoman serve` ends with this code, and says why in one sentence on the terminal and in the termination log."""
    log = tmp_path / "termination-log"
    limited = ["sh", "-c", f'ulimit -f {limit}; exec "$@"', "sh"]
    done = subprocess.run(
        [*limited, *command("serve", target, *PORTS, "--log-format", "text")],
        env=environment(tmp_path, {"DRAGOMAN_TERMINATION_LOG": str(log), **(env or {})}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    said = json.loads(log.read_text())
    assert said["reason"] == reason
    for word in words:
        assert word in said["message"], said["message"]
    assert said["message"] in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


# --- what serves -----------------------------------------------------------------------------------------------------------------


def test_a_folder_in_a_bucket_is_served_and_no_secret_is_told(store: ObjectServer, tmp_path: Path) -> None:
    store.put("serving/iris/model.joblib", IRIS)
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model.joblib").write_bytes(IRIS.read_bytes())
    model = {"digest": digest_of(tmp_path / "trained"), "storage": {"options": dict(store.options)}}
    with serving(tmp_path, manifest(tmp_path, "model", store.uri("serving/iris/"), model=model)) as server:
        assert_serves(server)
        assert model_of(server)["digest"] == model["digest"]
        told = server.log.read_text() + json.dumps(server.status())
        assert not [value for name, value in store.options.items() if "key" in name and value in told]


def test_an_archive_on_a_web_server_that_is_down_at_first_is_waited_for_and_served(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(IRIS, "iris-1.0/model.joblib")
    with (
        hostile_http({"iris.tar.gz": packed.getvalue()}, [answers(503), answers(500), breaks(after=10)]) as web,
        serving(tmp_path, manifest(tmp_path, "model", web.uri("iris.tar.gz"))) as server,
    ):
        assert_serves(server)
        assert model_of(server)["format"] == "sklearn"
        assert "trying again (1 of 7)" in server.log.read_text()


def test_a_fetch_in_progress_is_told_and_a_server_that_makes_progress_is_live(tmp_path: Path, large: bytes) -> None:
    with (
        hostile_http({"model.joblib": large}, stalls(after=1_000_000)) as web,
        serving(tmp_path, manifest(tmp_path, "model", web.uri("model.joblib")), wait=False) as server,
    ):
        eventually(lambda: model_of(server).get("bytes"))
        status = server.status()
        assert (status["phase"], status["ready"]) == ("Fetching", False)
        model = status["models"][0]
        assert (model["state"], model["totalBytes"]) == ("Fetching", len(large))
        assert 0 < model["bytes"] < len(large)
        assert httpx.get(f"{server.management}/livez").status_code == 200
        assert httpx.get(f"{server.management}/readyz").status_code == 503
        web.resume()
        eventually(lambda: httpx.get(f"{server.management}/readyz").status_code == 200)
        assert model_of(server)["bytes"] == len(large)
        assert_serves(server)


def test_a_fetch_that_fails_is_tried_again_and_its_retries_are_told(tmp_path: Path, large: bytes) -> None:
    with (
        hostile_http({"model.joblib": large}, stalls(after=1_000_000)) as web,
        serving(tmp_path, manifest(tmp_path, "model", web.uri("model.joblib")), wait=False) as server,
    ):
        eventually(lambda: model_of(server).get("bytes"))
        os.kill(_fetcher_of(server), signal.SIGKILL)
        eventually(lambda: model_of(server).get("retries") == 1)
        model = model_of(server)
        assert (model["state"], model["lastError"]["reason"]) == ("Fetching", "StorageUnavailable")
        assert "SIGKILL" in model["lastError"]["message"]
        web.resume()
        eventually(lambda: server.status()["ready"])
        assert "lastError" not in model_of(server)
        assert_serves(server)


# --- what does not ---------------------------------------------------------------------------------------------------------------


def test_what_is_not_there_ends_the_process(store: ObjectServer, tmp_path: Path) -> None:
    target = manifest(tmp_path, "model", store.uri("serving/nothing/"))
    assert_ends(tmp_path, target, 11, "ModelNotFound", store.uri("serving/nothing/"), env=store.env)


@pytest.mark.parametrize("store", ["s3_server", "azure_server"], indirect=True)  # the third lets anybody in
def test_a_denied_access_ends_the_process(store: ObjectServer, tmp_path: Path) -> None:
    uri = store.put("serving/secret/model.joblib", IRIS)
    options = {**store.options, **(store.refused_options or {})}
    target = manifest(tmp_path, "model", uri, model={"storage": {"options": options}})
    assert_ends(tmp_path, target, 12, "AccessDenied", uri)


def test_an_object_that_was_overwritten_is_served_from_the_cache_as_pinned_or_not_at_all(s3_server: ObjectServer, tmp_path: Path) -> None:
    uri = s3_server.put("serving/overwritten/model.joblib", IRIS)
    target = manifest(tmp_path, "model", uri, model={"digest": digest_of(IRIS)})
    assert run(tmp_path, "inspect", target, env=s3_server.env).returncode == 0  # which brings it into the cache
    s3_server.put("serving/overwritten/model.joblib", IRIS.read_bytes() + b"\0")
    with serving(tmp_path, target, env=s3_server.env) as server:
        assert_serves(server)
    elsewhere = {"DRAGOMAN_CACHE_DIR": str(tmp_path / "another"), **s3_server.env}
    assert_ends(tmp_path, target, 13, "DigestMismatch", uri, digest_of(IRIS), env=elsewhere)


def test_a_file_that_was_cut_short_ends_the_process(s3_server: ObjectServer, tmp_path: Path) -> None:
    uri = s3_server.put("serving/corrupt/model.joblib", IRIS.read_bytes()[:-200])
    assert_ends(tmp_path, manifest(tmp_path, "model", uri), 17, "ModelLoadFailed", "model.joblib", env=s3_server.env)


def test_a_full_disk_ends_the_process(tmp_path: Path, large: bytes) -> None:
    """The largest file that a process may write is as good as a full disk, and needs no disk of its own."""
    with hostile_http({"model.joblib": large}) as web:
        target = manifest(tmp_path, "model", web.uri("model.joblib"))
        assert_ends(tmp_path, target, 21, "DiskFull", str(tmp_path / "cache"), limit="4000")


def test_a_storage_that_does_not_get_better_is_given_up_after_the_time_for_loading(tmp_path: Path, large: bytes) -> None:
    limits = {"limits": {"loadTimeoutSeconds": 1}}
    with hostile_http({"model.joblib": large}, stalls(after=1_000_000)) as web:
        uri = web.uri("model.joblib")
        with serving(tmp_path, manifest(tmp_path, "model", uri, serving=limits), wait=False) as server:
            eventually(lambda: model_of(server).get("bytes"))
            os.kill(_fetcher_of(server), signal.SIGKILL)
            assert server.process.wait(30) == 20
            assert f"{uri}: the process that fetches it was ended by SIGKILL" in server.log.read_text()


def _fetcher_of(server: Server) -> int:
    [fetcher] = [pid for pid in _children(server.process.pid) if "dragoman.storage.fetcher" in _command_line(pid)]
    return fetcher


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
