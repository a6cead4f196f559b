"""A recommender and a pipeline, saved with `dragoman.seldon`, served by its one-liners and by `dragoman serve folder/`."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.servers.memcached import memcached
from tests.servers.running import free_ports
from tests.support.seldon_page import classify, request_with, values
from tests.support.serving import environment, eventually, serving

from dragoman.seldon import save_pipeline

ROOT = Path(__file__).parents[2]
RECOMMENDER = """
from dragoman.seldon import Recommender, save_recommender

class Nearest(Recommender):
    def recommend(self, user, ids, recent_interactions, limit, client):
        return [(item, 1 / (1 + abs(item - user))) for item in ids or range(100)]

save_recommender(Nearest(), "recommender_folder")
"""


@contextmanager
def script(folder: Path, source: str, management: int) -> Iterator[None]:
    """A script of the author's, run until the block ends, from when its server is ready."""
    (folder / "app.py").write_text(textwrap.dedent(source))
    with (folder / "app.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment(folder), stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _ready(management), 60)
        assert process.poll() is None, (folder / "app.log").read_text()
        yield
        process.terminate()
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an author saved a recommender and a pipeline."""
    folder = tmp_path_factory.mktemp("authored")
    subprocess.run([sys.executable, "-c", RECOMMENDER], cwd=folder, check=True, timeout=60)
    rows, species = load_iris(return_X_y=True)
    frame = pd.DataFrame(rows, columns=["f1", "f2", "f3", "f4"])
    save_pipeline(LogisticRegression(max_iter=1000).fit(frame, species), folder / "pipeline")
    return folder


def test_one_line_serves_a_recommender_with_memcached(home: Path, tmp_path: Path) -> None:
    port, grpc_port, management = free_ports()
    with memcached(tmp_path) as store:
        store.put("near", b"[7, 8, 50]")
        source = f"""
        from dragoman.seldon import Microservices

        m = Microservices()
        app = m.create_recommendation_microservice("recommender_folder", memcache_servers=["{store.address}"])
        raise SystemExit(app.run(host="127.0.0.1", port={port}, debug=False, grpc_port={grpc_port}, management_port={management}))
        """
        with script(home, source, management):
            asked = {"client": "test1", "user_id": "8", "limit": "2", "data_key": "near"}
            reply = httpx.get(f"http://127.0.0.1:{port}/recommend", params=asked, timeout=30)
    assert reply.json() == {"recommended": [{"item": 8, "score": 1.0}, {"item": 7, "score": 0.5}]}


def test_one_line_serves_a_pipeline_over_rest_and_grpc(home: Path) -> None:
    port, grpc_port, management = free_ports()
    source = f"""
    from dragoman.seldon import create_prediction_microservice

    app = create_prediction_microservice("./pipeline", "test_model")
    raise SystemExit(app.run(host="127.0.0.1", port={port}, grpc_port={grpc_port}, management_port={management}))
    """
    with script(home, source, management):
        asked = {"client": "test1", "json": '{"f1":4.8,"f2":3.0,"f3":1.4,"f4":0.1}'}
        reply = httpx.get(f"http://127.0.0.1:{port}/predict", params=asked, timeout=30)
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            classified = classify(channel, request_with(values(4.8, 3.0, 1.4, 0.1)))
    assert [element["classId"] for element in reply.json()["predictions"]] == ["0", "1", "2"]
    assert classified.meta.modelName == "test_model"


def test_a_one_line_server_without_its_folder_ends_with_the_reasons_code(tmp_path: Path) -> None:
    port, grpc_port, management = free_ports()
    source = f"""
    from dragoman.seldon import Microservices

    app = Microservices().create_recommendation_microservice("nowhere")
    app.run(port={port}, grpc_port={grpc_port}, management_port={management})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (11, False)
    assert f"{tmp_path}/nowhere: no such file or folder" in done.stderr


def test_a_one_line_server_whose_port_is_taken_says_which_parameter_chooses_another(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        source = f"""
        from dragoman.seldon import Microservices

        app = Microservices().create_recommendation_microservice("recommender_folder")
        app.run(port=0, grpc_port=0, management_port={port})
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(source)], cwd=home, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, "Traceback" in done.stderr) == (22, False)
    assert f"127.0.0.1:{port} is in use: choose another with management_port=" in done.stderr


def test_a_recommenders_folder_is_served_as_it_is(home: Path, tmp_path: Path) -> None:
    """Without a manifest the dialect that the code is written for is on."""
    with serving(tmp_path, home / "recommender_folder") as server:
        asked = {"client": "test1", "user_id": "8", "limit": "1"}
        reply = httpx.get(f"{server.rest}/recommend", params=asked, timeout=30)
        assert reply.json() == {"recommended": [{"item": 8, "score": 1.0}]}
        (model,) = server.status()["models"]
        assert (model["format"], model.get("warnings", [])) == ("cloudpickle", [])


def test_the_walk_of_the_docs_page_works(tmp_path: Path) -> None:
    """Its manifests are served, and each of its commands answers what the page says."""
    page = (ROOT / "docs/dialects/seldon.md").read_text(encoding="utf-8")
    (documents,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (walk,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    shutil.copytree(ROOT / "examples/gatherings", tmp_path / "gatherings")
    subprocess.run([sys.executable, str(tmp_path / "gatherings/train.py")], check=True, timeout=60, stdout=subprocess.DEVNULL)
    file = tmp_path / "modeldeployment.yaml"
    file.write_text(documents.replace("examples/gatherings", str(tmp_path / "gatherings")).replace("examples/", f"{ROOT}/examples/"))
    steps = re.findall(r"^\$ (curl .*?[^\\])\n(.*?)(?=^\$ |\Z)", walk, re.DOTALL | re.MULTILINE)
    assert len(steps) == 5
    with serving(tmp_path, file) as started:
        for command, answer in steps:
            here = command.replace("http://127.0.0.1:8080", started.rest)
            done = subprocess.run(here, shell=True, capture_output=True, text=True, timeout=30, check=True)
            expected = ".*".join(map(re.escape, answer.strip().split("…")))
            assert re.fullmatch(expected, done.stdout.strip()), done.stdout
