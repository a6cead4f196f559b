"""What is kept when a test fails: every component's and every pod's log, events, and the objects as they were."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.cluster.binaries import CACHE, built
from tests.cluster.place import Place
from tests.cluster.process import inside

KEPT = CACHE / "cluster" / "failures"
QUESTIONS = {  # file: kubectl's arguments
    "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "pods.txt": ("get", "pods", "-A", "-o", "wide"),
    "pods-described.txt": ("describe", "pods", "-A"),
    "objects.yaml": ("get", "modeldeployments,deployments,replicasets,services,configmaps,poddisruptionbudgets", "-A", "-o", "yaml"),
    "workloads.yaml": ("get", "all", "-A", "-o", "yaml"),
}


def keep(place: Place, occasion: str) -> Path:
    """Copies it all to .cache/cluster/failures/OCCASION, which it gives; what cannot be had is left out."""
    folder = KEPT / re.sub(r"[^-\w.]+", "_", occasion)[:150]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source, name in ((place.logs, "components"), (place.state / "pod-logs", "pods")):
        if source.exists():
            shutil.copytree(source, folder / name, symlinks=False, ignore_dangling_symlinks=True)
    kubectl = (*inside(place), str(built("kubectl")), f"--kubeconfig={place.kubeconfig}", "--request-timeout=10s")
    for file, question in QUESTIONS.items():
        with (folder / file).open("w", encoding="utf-8") as output:
            subprocess.run((*kubectl, *question), stdout=output, stderr=subprocess.STDOUT, check=False)
    return folder
