"""Our images as a cluster's tests want them: built from the Dockerfiles when something that goes into them has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from tests.cluster.binaries import CACHE, debian
from tests.cluster.errors import ClusterError
from tests.cluster.images import ARCHIVES, BASE_IMAGE, archive_of, stored_base

REPOSITORY = Path(__file__).resolve().parents[2]
WHEELS = CACHE / "image" / "wheels"
REGISTRY, TAG = "localhost", "test"
RUNTIME_IMAGE = f"{REGISTRY}/dragoman-runtime:{TAG}"
OPERATOR_IMAGE = f"{REGISTRY}/dragoman-operator:{TAG}"
CUSTOM_IMAGE = f"{REGISTRY}/dragoman-custom:{TAG}"
CUSTOM = REPOSITORY / "examples" / "custom-image"


@cache
def runtime_archive() -> Path:
    """RUNTIME_IMAGE as an OCI archive. A minute and a half when its packages have changed, ten seconds when only our code has."""
    return _archive("runtime", RUNTIME_IMAGE, _parts("runtime"), lambda: _build("runtime"))


@cache
def operator_archive() -> Path:
    """OPERATOR_IMAGE as an OCI archive."""
    return _archive("operator", OPERATOR_IMAGE, _parts("operator"), lambda: _build("operator"))


@cache
def custom_archive() -> Path:
    """CUSTOM_IMAGE, examples/custom-image FROM the runtime's, as an OCI archive."""
    runtime_archive()
    return _archive("custom", CUSTOM_IMAGE, [*_parts("runtime"), *sorted(CUSTOM.iterdir())], _build_custom)


def _parts(kind: str) -> list[Path]:
    """Everything that goes into an image."""
    named = (f"Dockerfile.{kind}", ".dockerignore", f"{kind}/pyproject.toml", "requirements/build.txt", f"requirements/{kind}.txt")
    sources = (path for path in (REPOSITORY / kind / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [*(REPOSITORY / name for name in named), *sorted(sources)]


def _build(kind: str) -> None:
    options = ("--engine=buildah", f"--registry={REGISTRY}", f"--tag={TAG}", f"--base={BASE_IMAGE}", f"--wheels={WHEELS}")
    _run("nice", sys.executable, REPOSITORY / "tools" / "image.py", *options, kind)


def _build_custom() -> None:
    wheels = WHEELS.with_name("custom-wheels")
    options = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version=3.11", f"--dest={wheels}")
    _run(sys.executable, "-m", "pip", "download", "--quiet", *options, "--requirement", CUSTOM / "requirements.txt")
    arguments = (f"--build-arg=RUNTIME={RUNTIME_IMAGE}", "--build-arg=PIP_OPTIONS=--no-index --find-links /wheels")
    _run("nice", debian("buildah"), "bud", "--layers", f"--volume={wheels}:/wheels:ro", *arguments, f"--tag={CUSTOM_IMAGE}", CUSTOM)


def _archive(name: str, image: str, parts: Iterable[Path], build: Callable[[], None]) -> Path:
    """One process at a time builds it; it stays until one of its parts has changed."""
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    archive, stamp = ARCHIVES / f"{name}.tar", ARCHIVES / f"{name}.recipe"
    with (ARCHIVES / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        recipe = _digest(parts)
        if archive.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == recipe:
            return archive
        stamp.unlink(missing_ok=True)
        stored_base()
        build()
        archive_of(image, archive)
        stamp.write_text(recipe, encoding="utf-8")
    return archive


def _digest(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        found.update(f"{file.relative_to(REPOSITORY)}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def _run(*command: str | Path) -> None:
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-30:]
        raise ClusterError(f"{' '.join(map(str, command))}: exit code {done.returncode}:\n" + "\n".join(told))
