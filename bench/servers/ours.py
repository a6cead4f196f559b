"""Ours: as it is, without batching, compiled, and from a compiled folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from bench import contest
from bench.cases import Case, binary_outputs, binary_tensor, instances, predictions
from bench.contest import WORK
from bench.servers.server import Asked, Launch, Server, folder_of

from dragoman.manifest import Serving

COMPILES = "compile" in Serving.__struct_fields__
SETTLE_SECONDS = 120


def _launch(variant: str, serving: dict[str, Any]) -> Callable[[Case, int], Launch]:
    def launch(case: Case, workers: int) -> Launch:
        document = {
            "apiVersion": "dragoman.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": case.model},
            "spec": {"model": {"uri": str(case.path)}, "serving": serving | {"workers": workers}},
        }
        path = folder_of(variant, case) / "modeldeployment.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return _served(str(path))

    return launch


def _served(*arguments: str) -> Launch:
    command, base, management = contest.ours(*arguments)
    return Launch(command, base, management + "/readyz", management=management)


def _ask(case: Case) -> Asked:
    if case.form == "binary":
        return Asked(binary_tensor(case, f"/v2/models/{case.model}/infer"), binary_outputs)
    return Asked(instances(case, f"/v1/models/{case.model}:predict"), predictions)


def _status(launch: Launch) -> dict[str, Any]:
    with urllib.request.urlopen(launch.management + "/status", timeout=10) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


def _compiled(launch: Launch) -> str:
    """What /status says of the compiled model, once all workers use it, or once it says why there is none."""
    due = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < due:
        found = _status(launch)
        compiled = found["models"][0].get("compiled", {})
        state = compiled.get("state")
        if state in ("LeftOut", "Failed"):
            return f"{state}: {compiled.get('reason')}"
        if state == "Compiled" and len(compiled.get("workers", ())) == len(found["workers"]):
            return f"{compiled.get('engine')}, up to {compiled.get('fasterUpToRows')} rows"
        time.sleep(0.1)
    return f"not compiled after {SETTLE_SECONDS} s"


def _compiles() -> str:
    return "" if COMPILES else "spec.serving.compile is not there in this version"


@cache
def compiled_folder(case: Case) -> Path:
    """What `dragoman compile` wrote, once a run. Ends with an error when it refuses."""
    folder = WORK / "compiled" / case.name / case.model
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "dragoman", "compile", str(case.path), "--output", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SETTLE_SECONDS)
    if made.returncode:
        raise SystemExit(f"dragoman compile {case.path.name}: {(made.stderr or made.stdout).strip()}")
    return folder


def _launch_only_compiled(case: Case, workers: int) -> Launch:
    return _served(str(compiled_folder(case)), "--workers", str(workers))


def _has_compile() -> str:
    asked = subprocess.run([sys.executable, "-m", "dragoman", "compile", "--help"], capture_output=True, check=False)
    return "dragoman compile is not there in this version" if asked.returncode else ""


_OFF: dict[str, Any] = {"compile": "Off"} if COMPILES else {}

SERVERS = (
    Server("ours", "ours", _launch("ours", _OFF), _ask),
    Server("ours-unbatched", "ours, batching off", _launch("ours-unbatched", _OFF | {"batching": {"maxRows": 1}}), _ask),
    Server("compiled", "ours, compiled", _launch("compiled", {"compile": "Auto"}), _ask, _compiled, _compiles),
    Server("compiled-only", "ours, compiled only", _launch_only_compiled, _ask, missing=_has_compile),
)
