"""The images: what is in them, how large they are, and that they serve, as a restricted pod with a read-only root runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import joblib
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_iris
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import OUTSIDE
from tests.cluster.errors import ClusterError, NotHere
from tests.cluster.images import base_archive
from tests.cluster.network import in_network_of
from tests.cluster.own_images import (
    CUSTOM,
    CUSTOM_IMAGE,
    OPERATOR_IMAGE,
    REPOSITORY,
    RUNTIME_IMAGE,
    custom_archive,
    operator_archive,
    runtime_archive,
)
from tests.cluster.s3 import S3

Object = dict[str, Any]
MB = 1_000_000
EXAMPLES = ("breast-cancer", "diabetes", "digits", "iris", "penguins", "wine")


@dataclass(frozen=True)
class Image:
    """An OCI archive's configuration, and what its layers add to a base."""

    config: Object
    files: dict[PurePosixPath, tarfile.TarInfo] = field(repr=False)

    @classmethod
    def read(cls, archive: Path, base: Path | None = None) -> Image:
        with tarfile.open(archive) as tar:
            config, layers = _described(tar)
            known = [] if base is None else Image.read(base).config["rootfs"]["diff_ids"]
            assert config["rootfs"]["diff_ids"][: len(known)] == known, "it is not made FROM the base"
            files: dict[PurePosixPath, tarfile.TarInfo] = {}
            if base is not None:
                for layer in layers[len(known) :]:
                    with tarfile.open(fileobj=tar.extractfile(_blob(layer)), mode="r:*") as content:
                        files |= {PurePosixPath("/", member.name): member for member in content}
        return cls(config, files)

    @property
    def added_bytes(self) -> int:
        return sum(member.size for member in self.files.values())

    @property
    def packages(self) -> set[str]:
        """The names of what is installed, as its metadata has them."""
        found = (path.name.removesuffix(".dist-info") for path in self.files if path.suffix == ".dist-info")
        return {name.rpartition("-")[0].lower().replace("_", "-") for name in found}


def _described(tar: tarfile.TarFile) -> tuple[Object, list[str]]:
    """An image's configuration, and the digests of its layers."""
    manifest = _json(tar, _blob(_json(tar, "index.json")["manifests"][0]["digest"]))
    return _json(tar, _blob(manifest["config"]["digest"])), [layer["digest"] for layer in manifest["layers"]]


def _json(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    assert file is not None
    return json.load(file)


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


@pytest.fixture(scope="module")
def runtime() -> Image:
    return _built(runtime_archive)


@pytest.fixture(scope="module")
def operator() -> Image:
    return _built(operator_archive)


def _built(archive: Callable[[], Path]) -> Image:
    try:
        return Image.read(archive(), base_archive())
    except NotHere as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def custom(pytestconfig: pytest.Config) -> Path:
    """The archive of examples/custom-image; its packages come from outside the cluster's network."""
    with in_network_of(pytestconfig.stash[OUTSIDE]):
        return custom_archive()


@pytest.fixture(params=["runtime", "operator"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found


class TestContent:
    def test_the_runtime_adds_at_most_600_mb(self, runtime: Image) -> None:
        assert runtime.added_bytes < 600 * MB

    def test_the_operator_adds_at_most_120_mb(self, operator: Image) -> None:
        assert operator.added_bytes < 120 * MB

    def test_every_package_is_one_that_its_lock_names(self, runtime: Image, operator: Image) -> None:
        assert runtime.packages == _locked("runtime") | {"dragoman", "pip"}
        assert operator.packages == _locked("operator") | {"dragoman-operator"}

    def test_no_compiler_no_tests_and_no_arrow(self, image: Image) -> None:
        names = {path.name for path in image.files}
        assert names.isdisjoint({"gcc", "cc", "g++", "clang", "make", "ld", "pyarrow"})
        assert [path for path in image.files if path.name == "tests" and "/opt/dragoman" in str(path)] == []

    def test_all_bytecode_is_there(self, image: Image) -> None:
        """A start would compile what is missing, again and again: the root is read-only."""
        sources = [path for path in image.files if path.suffix == ".py" and "site-packages" in path.parts]
        assert len(sources) > 500
        missing = [path for path in sources if path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc" not in image.files]
        assert missing == []

    def test_all_of_it_is_roots_and_readable_to_others(self, image: Image) -> None:
        ours = {path: member for path, member in image.files.items() if path.is_relative_to("/opt/dragoman") and not member.issym()}
        assert {(member.uid, member.gid) for member in ours.values()} == {(0, 0)}
        wrong = [path for path, member in ours.items() if member.mode & 0o022 or not member.mode & 0o004 or member.mode & 0o6000]
        assert wrong == []

    def test_nothing_tells_of_the_machine_that_built_it(self, image: Image) -> None:
        assert [path for path in image.files if path.name in ("pip.conf", "direct_url.json") or path.is_relative_to("/wheels")] == []
        assert [path for path in image.files if path.is_relative_to("/build") or path.is_relative_to("/root")] == []


class TestConfiguration:
    def test_the_runtime_serves(self, runtime: Image) -> None:
        assert runtime.config["config"]["Entrypoint"] == ["dragoman", "serve"]
        assert sorted(runtime.config["config"]["ExposedPorts"]) == ["8080/tcp", "9000/tcp", "9090/tcp"]
        environment = dict(pair.split("=", 1) for pair in runtime.config["config"]["Env"])
        assert environment.items() >= {"DRAGOMAN_HOST": "0.0.0.0", "DRAGOMAN_CACHE_DIR": "/cache", "DRAGOMAN_LOG_FORMAT": "json"}.items()

    def test_the_operator_operates(self, operator: Image) -> None:
        assert operator.config["config"]["Entrypoint"] == ["dragoman-operator"]

    def test_its_user_is_a_number_and_not_root(self, image: Image) -> None:
        """Kubernetes' runAsNonRoot looks at the number; a name would not do."""
        assert image.config["config"]["User"] == "65532"

    def test_its_labels_say_what_it_is(self, image: Image) -> None:
        labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image.config["config"]["Labels"].items()}
        assert labels["title"] in ("dragoman-runtime", "dragoman-operator")
        assert labels["version"] == "0.1.0"
        assert labels["licenses"] == "Apache-2.0"
        assert labels.keys() >= {"description", "revision", "base.name"}


class TestInAPod:
    def test_it_serves_every_format_from_s3(self, cluster: Cluster, namespace: str, s3: S3, images: None) -> None:
        """Its own entry point, with a folder of manifests: one process serves all of the examples."""
        bucket = s3.bucket("image-examples")
        for name in EXAMPLES:
            shutil.copytree(_trained(name), bucket / name, dirs_exist_ok=True)
        cluster.apply(_secret(namespace, s3.env))
        cluster.apply(_config_map(namespace, {f"{name}.yaml": _manifest(name) for name in EXAMPLES}))

        with _serving(cluster, namespace, RUNTIME_IMAGE, "/mnt/files") as address:
            models = httpx.get(f"http://{address}:9090/status").json()["models"]
            assert {model["name"]: (model["state"], model.get("warnings", [])) for model in models} == {
                name: ("Loaded", []) for name in EXAMPLES
            }
            rows = load_iris(return_X_y=True)[0]
            answer = httpx.post(f"http://{address}:8080/v1/models/iris:predict", json={"instances": rows.tolist()}).json()
            frame = pd.DataFrame(rows, columns=["sepal_length", "sepal_width", "petal_length", "petal_width"])
            assert answer["predictions"] == joblib.load(REPOSITORY / "examples" / "iris" / "model.joblib").predict(frame).tolist()

    def test_an_image_from_ours_serves_a_model_with_packages_of_its_own(self, cluster: Cluster, namespace: str, custom: Path) -> None:
        cluster.load_image(custom)
        cluster.apply(_secret(namespace, {}))
        cluster.apply(_config_map(namespace, {"model.py": (CUSTOM / "model.py").read_text(encoding="utf-8")}))

        with _serving(cluster, namespace, CUSTOM_IMAGE, "/mnt/files/model.py") as address:
            ask = {"instances": [{"name": "Kopenhagen"}, {"name": "edinbrugh"}]}
            answer = httpx.post(f"http://{address}:8080/v1/models/model:predict", json=ask).json()
            assert answer["predictions"] == ["Copenhagen", "Edinburgh"]
        ask_it = "import os, joblib; print(joblib.__version__, os.getuid(), os.getgid())"
        told = cluster.kubectl("exec", "-n", namespace, "served", "--", "python", "-c", ask_it)
        assert told.split() == ["1.4.2", "65532", "65532"]

    def test_the_operator_says_what_it_misses(self, cluster: Cluster, namespace: str, images: None) -> None:
        cluster.apply(_pod(namespace, OPERATOR_IMAGE))
        cluster.kubectl("wait", "pod/served", "-n", namespace, "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
        assert "InvalidSettings" in cluster.kubectl("logs", "-n", namespace, "served")


def _locked(kind: str) -> set[str]:
    """The packages of a lock that are for this system, by their names."""
    from packaging.requirements import Requirement

    lines = (REPOSITORY / "requirements" / f"{kind}.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.rstrip("\\ ")) for line in lines if "==" in line and not line.startswith((" ", "#"))]
    here = {"python_full_version": "3.11.2", "python_version": "3.11"}
    return {one.name.lower().replace("_", "-") for one in wanted if one.marker is None or one.marker.evaluate(here)}


def _trained(name: str) -> Path:
    """An example's folder, with its model in it."""
    folder = REPOSITORY / "examples" / name
    if not any((folder / model).exists() for model in ("model", "model.joblib", "model.json", "model.onnx")):
        subprocess.run((sys.executable, folder / "train.py"), check=True, capture_output=True)
    return folder


def _manifest(name: str) -> str:
    """An example's manifest, with its model in the bucket."""
    found = yaml.safe_load((REPOSITORY / "examples" / name / "modeldeployment.yaml").read_text(encoding="utf-8"))
    found["spec"]["model"]["uri"] = f"s3://image-examples/{name}/{found['spec']['model']['uri'].removeprefix('./')}"
    return yaml.safe_dump(found)


@contextmanager
def _serving(cluster: Cluster, namespace: str, image: str, target: str) -> Iterator[str]:
    """A pod that is ready; gives its address."""
    mounts = [{"name": name, "mountPath": path} for name, path in (("files", "/mnt/files"), ("cache", "/cache"), ("tmp", "/tmp"))]
    ready = {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1, "timeoutSeconds": 5}
    storage = [{"secretRef": {"name": "storage"}}]
    cluster.apply(_pod(namespace, image, target, volumeMounts=mounts, readinessProbe=ready, envFrom=storage))
    try:
        cluster.kubectl("wait", "pod/served", "-n", namespace, "--for=condition=Ready", "--timeout=120s")
    except ClusterError as error:
        raise AssertionError(f"{error}\n{cluster.kubectl('logs', '-n', namespace, 'served')}") from None
    address: str = cluster.get("pod", "served", "-n", namespace)["status"]["podIP"]
    yield address


def _secret(namespace: str, values: dict[str, str]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "storage", "namespace": namespace}, "stringData": values})


def _config_map(namespace: str, files: dict[str, str]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files", "namespace": namespace}, "data": files})


def _pod(namespace: str, image: str, *arguments: str, **fields: Any) -> str:
    """Restricted, as the operator makes them; by the image's own entry point."""
    container = {
        "name": "served",
        "image": image,
        "imagePullPolicy": "Never",
        "args": arguments,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        **fields,
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "files", "configMap": {"name": "files", "optional": True}},
            {"name": "cache", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "served", "namespace": namespace}, "spec": spec})
