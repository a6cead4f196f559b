"""What a server is to the contest."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cases import Case, agree
from bench.contest import HERE, WORK, started
from bench.wrk import Question

VENVS = WORK / "venvs"
APPS = HERE / "apps"
Read = Callable[[bytes, Mapping[str, str]], list[Any]]


@dataclass(frozen=True)
class Launch:
    """A process to come."""

    command: Sequence[str]
    base: str  # http://127.0.0.1:PORT
    ready: str  # the URL that answers 200 once it can predict
    environment: Mapping[str, str] = field(default_factory=dict)
    management: str = ""  # ours: the base URL of /status and /metrics


@dataclass(frozen=True)
class Asked:
    """How a case is put to it, and how its answer is read."""

    question: Question
    read: Read


@dataclass(frozen=True)
class Server:
    name: str
    label: str
    launch: Callable[[Case, int], Launch]  # of a case, with so many workers
    ask: Callable[[Case], Asked | None]  # None: it does not speak this form
    settle: Callable[[Launch], str] = lambda _: ""  # waits until it is at its best, and says what that is
    missing: Callable[[], str] = lambda: ""  # why it cannot be started here
    packages: str = ""  # the environment in bench/requirements that it runs in; "" is .venv


@dataclass(frozen=True)
class Up:
    """A server that answers as the model does."""

    server: Server
    launch: Launch
    question: Question
    pid: int
    ready_seconds: float  # from the command to readiness
    settled: str


@contextmanager
def up(server: Server, case: Case, workers: int, core: int | str | None) -> Iterator[Up]:
    """Started, ready, settled, its answer compared with the model's. Ends with an error where it is another."""
    asked = server.ask(case)
    if asked is None:
        raise SystemExit(f"{server.label} does not speak {case.form}")
    launch = server.launch(case, workers)
    name = f"suite-{case.name}-{server.name}"
    began = time.monotonic()
    with started(name, launch.command, launch.base, launch.ready, core=core, environment=launch.environment) as running:
        seconds = time.monotonic() - began
        check(server, case, launch.base, asked)
        yield Up(server, launch, asked.question, running.pid, seconds, server.settle(launch))


def check(server: Server, case: Case, base: str, asked: Asked) -> None:
    request = urllib.request.Request(base + asked.question.path, asked.question.body, dict(asked.question.headers))
    with urllib.request.urlopen(request, timeout=60) as reply:
        answers = asked.read(reply.read(), {name.lower(): value for name, value in reply.headers.items()})
    if not agree(case.expected, answers):
        raise SystemExit(f"{server.label}, case {case.name}: it answers {answers[:5]}, the model {case.expected[:5]}")


def python_of(packages: str) -> str:
    return str(VENVS / packages / "bin/python") if packages else sys.executable


def installed(packages: str) -> Callable[[], str]:
    """Why a server whose packages are in an environment of their own cannot be started."""

    def missing() -> str:
        return "" if (VENVS / packages / ".installed").exists() else f"not installed: make bench/.work/venvs/{packages}/.installed"

    return missing


def folder_of(name: str, case: Case) -> Path:
    """A folder for what a server wants on disk."""
    folder = WORK / "served" / f"{name}-{case.name}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
