"""Container images without a registry: built by buildah, carried as OCI archives, cached in .cache.

No public registry is reached, so the base of our images is made here by debootstrap; for ordinary users it is a public one.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.binaries import CACHE, debian
from tests.cluster.errors import ClusterError

ARCHIVES = CACHE / "cluster" / "images"
BASE_IMAGE = "localhost/base:bookworm"
PAUSE_IMAGE = "localhost/pause:1"
SUITE = "bookworm"  # its python3 is 3.11, the version that the wheels are locked for
PACKAGES = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")  # what the public python:3.11-slim has, pip included
LEFT_OUT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def pause_archive() -> Path:
    """The image whose only program waits: it holds a pod's namespaces."""
    source = Path(__file__).with_name("pause.c")
    with _cached("pause", source.read_text(encoding="utf-8")) as (archive, missing):
        if missing:
            with tempfile.TemporaryDirectory(prefix="dragoman-pause-") as folder:
                program = Path(folder) / "pause"
                _run(debian("gcc"), "-static", "-Os", "-s", "-o", program, source)
                _commit(archive, PAUSE_IMAGE, program, "/pause", entrypoint='["/pause"]')
    return archive


def base_archive() -> Path:
    """Debian with its Python; stands for the public base image that the Dockerfiles name. Takes about a minute the first time."""
    recipe = " ".join((SUITE, *PACKAGES, *LEFT_OUT))
    with _cached("base", recipe) as (archive, missing):
        if missing:
            with tempfile.TemporaryDirectory(prefix="dragoman-base-") as folder:
                root = Path(folder) / "root"
                mirror = [found] if (found := os.environ.get("DRAGOMAN_DEBIAN_MIRROR")) else []  # else debootstrap's own
                _run("nice", debian("debootstrap"), "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, *mirror)
                for name in LEFT_OUT:
                    shutil.rmtree(root / name, ignore_errors=True)
                    (root / name).mkdir(parents=True)
                _commit(archive, BASE_IMAGE, root, "/", command="python3")
    return archive


def stored_base() -> str:
    """The base image's name, in buildah's storage for `FROM`."""
    archive = base_archive()
    known = _run(debian("buildah"), "images", "--quiet", "--filter", f"reference={BASE_IMAGE}", check=False)
    if not known.strip():
        identity = _run(debian("buildah"), "pull", "--quiet", f"oci-archive:{archive}").strip()
        _run(debian("buildah"), "tag", identity.splitlines()[-1], BASE_IMAGE)
    return BASE_IMAGE


def archive_of(image: str, archive: Path) -> Path:
    """Writes an image from buildah's storage to a file that `Cluster.load_image` takes."""
    archive.unlink(missing_ok=True)
    _run(debian("buildah"), "push", image, f"oci-archive:{archive}:{image}")
    return archive


def renamed(archive: Path, image: str, to: Path) -> Path:
    """Writes the one image of an archive under another name to the file `to`."""
    with tarfile.open(archive) as given, tarfile.open(to, "w") as written:
        for member in given:
            content = given.extractfile(member)
            if content and member.name == "index.json":
                index = json.load(content)
                index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = image
                changed = json.dumps(index).encode()
                member.size, content = len(changed), io.BytesIO(changed)
            written.addfile(member, content)
    return to


@contextmanager
def _cached(name: str, recipe: str) -> Iterator[tuple[Path, bool]]:
    """The archive's path, and whether it has to be made: it was made by another recipe, or never. One process at a time makes it."""
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    archive, stamp = ARCHIVES / f"{name}.tar", ARCHIVES / f"{name}.recipe"
    with (ARCHIVES / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if archive.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == recipe:
            yield archive, False
            return
        stamp.unlink(missing_ok=True)
        archive.unlink(missing_ok=True)
        yield archive, True
        stamp.write_text(recipe, encoding="utf-8")


def _commit(archive: Path, image: str, content: Path, to: str, *, entrypoint: str | None = None, command: str | None = None) -> None:
    """An image of one layer."""
    buildah = debian("buildah")
    container = _run(buildah, "from", "scratch").strip()
    try:
        _run(buildah, "add", container, content, to)
        if entrypoint:
            _run(buildah, "config", "--entrypoint", entrypoint, container)
        if command:
            _run(buildah, "config", "--cmd", command, container)
        _run(buildah, "commit", "--quiet", container, image)
    finally:
        _run(buildah, "rm", container, check=False)
    archive_of(image, archive)


def _run(*command: str | Path, check: bool = True) -> str:
    """Runs a program and gives what it prints."""
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-20:]
        raise ClusterError(f"{' '.join(map(str, command))}: exit code {done.returncode}:\n" + "\n".join(told))
    return done.stdout
