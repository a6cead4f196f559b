"""Builds the images: `python tools/image.py runtime operator`. See docs/images.md; `make image` runs it.

With docker where its daemon answers, else with buildah. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BASE = "docker.io/library/python:3.11-slim-bookworm"
IMAGES = ("runtime", "operator")
LOCKS = {"runtime": ("build", "runtime"), "operator": ("build", "operator")}  # requirements/*.txt that an image installs


@dataclass(frozen=True)
class Build:
    """What is built, from what. `name` is the image's whole reference."""

    name: str
    dockerfile: Path
    context: Path = REPOSITORY
    arguments: Mapping[str, str] = field(default_factory=dict)
    wheels: Path | None = None  # packages come from this folder, and from nowhere else


def image(
    kind: str, registry: str = "localhost", tag: str = "", base: str = BASE, pip_options: str = "", wheels: Path | None = None
) -> Build:
    """One of our own. Without `tag`, the version in its pyproject.toml."""
    version = tomllib.loads((REPOSITORY / kind / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return Build(
        name=f"{registry.rstrip('/')}/dragoman-{kind}:{tag or version}",
        dockerfile=REPOSITORY / f"Dockerfile.{kind}",
        arguments={"BASE": base, "PIP_OPTIONS": pip_options, "VERSION": version, "REVISION": _commit()},
        wheels=wheels,
    )


def download(requirements: Sequence[Path], wheels: Path) -> None:
    """Fills the folder with the wheels that locks name, for the images' Python: for builds that reach no index."""
    wheels.mkdir(parents=True, exist_ok=True)
    for lock in requirements:
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--python-version", "3.11", "--dest", str(wheels)]
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options, "--requirement", str(lock)])


def build(wanted: Build, engine: str = "") -> None:
    engine = engine or _engine()
    arguments = dict(wanted.arguments)
    verb = ["buildah", "bud", "--layers"] if engine == "buildah" else ["docker", "build"]
    if wanted.wheels is not None:
        verb += ["--build-context", f"wheels={wanted.wheels.resolve()}"]
        arguments["PIP_OPTIONS"] = "--no-index --find-links /wheels"
    given = [word for name, value in arguments.items() if value for word in ("--build-arg", f"{name}={value}")]
    _run([*verb, *given, "--tag", wanted.name, "--file", str(wanted.dockerfile), str(wanted.context)])


def _engine() -> str:
    """docker's images are where `kind load` and `docker run` look for them, so it goes first; without its daemon it builds nothing."""
    if shutil.which("docker") and subprocess.run(("docker", "info"), capture_output=True, check=False).returncode == 0:
        return "docker"
    if shutil.which("buildah"):
        return "buildah"
    sys.exit("docker with its daemon running, or buildah, builds images: neither is on this machine (apt-get install buildah)")


def _run(command: Sequence[str]) -> None:
    environment = dict(os.environ)
    if command[0] == "buildah" and os.geteuid() == 0:
        environment.setdefault("BUILDAH_ISOLATION", "chroot")  # the only one that works inside of a container
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")


def _commit() -> str:
    found = subprocess.run(("git", "rev-parse", "HEAD"), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the images.")
    parser.add_argument("kinds", nargs="+", choices=IMAGES, metavar="|".join(IMAGES))
    parser.add_argument("--registry", default="localhost", help="what the names begin with (default: localhost)")
    parser.add_argument("--tag", default="", help="default: the version")
    parser.add_argument("--base", default=BASE, help="an image with Python 3.11 and its venv (default: %(default)s)")
    parser.add_argument("--pip-options", default="", help="for example --index-url=https://…")
    parser.add_argument(
        "--wheels", type=Path, help="download the packages into this folder here, and take none from elsewhere in the build"
    )
    parser.add_argument(
        "--engine", default="", choices=("docker", "buildah"), help="default: docker where its daemon answers, else buildah"
    )
    given = parser.parse_args()
    for kind in given.kinds:
        wanted = image(kind, given.registry, given.tag, given.base, given.pip_options, given.wheels)
        if given.wheels is not None:
            download([REPOSITORY / "requirements" / f"{lock}.txt" for lock in LOCKS[kind]], given.wheels)
        build(wanted, given.engine)
        sys.stdout.write(f"{wanted.name}\n")


if __name__ == "__main__":
    main()
