"""What each server takes on disk: its packages with all that they need, without bytecode; and our image, where one was built here."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from bench.findings import Results
from bench.servers.server import VENVS
from packaging.requirements import Requirement

_FLOOR = ("starlette", "uvicorn", "httptools", "orjson", "joblib", "scikit-learn")


def measure(results: Results, packages: list[str]) -> None:
    """Fills `sizes_mb` and `versions`, of ours and of so many environments."""
    results.sizes_mb["floor"] = of_packages(*_FLOOR)
    results.sizes_mb["ours[sklearn]"] = of_packages("dragoman[sklearn]")
    results.sizes_mb["ours, compiled only"] = of_packages("dragoman", "onnxruntime", "treelite")
    results.sizes_mb["ours[all]"] = of_packages("dragoman[all]")
    for name in ("dragoman", "scikit-learn", "numpy", "uvicorn", "starlette"):
        results.versions[name] = metadata.version(name)
    for name in packages:
        found = next(iter((VENVS / name).glob("lib/python*/site-packages")), None)
        if found is not None:
            results.sizes_mb[name] = of_folder(found)
            one = next(iter(metadata.distributions(name=name, path=[str(found)])), None)
            results.versions[name] = one.version if one else "?"
    image = of_image()
    if image:
        results.sizes_mb["our image"] = image


def of_folder(folder: Path) -> float:
    """MB."""
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts) / 1e6, 1)


def of_packages(*names: str) -> float:
    """MB of installed distributions and of what they require, each once."""
    waiting, total = [Requirement(name) for name in names], 0
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        key = (one.name.lower().replace("_", "-"), frozenset(one.extras))
        if key in seen:
            continue
        counted = any(name == key[0] for name, _ in seen)
        seen.add(key)
        try:
            found = metadata.distribution(one.name)
        except metadata.PackageNotFoundError:
            continue
        if not counted:
            files = (Path(str(file.locate())) for file in found.files or () if "__pycache__" not in file.parts)
            total += sum(path.stat().st_size for path in files if path.is_file())
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in one.extras or {""}):
                waiting.append(needed)
    return round(total / 1e6, 1)


def of_image(repository: str = "localhost/dragoman-runtime") -> float | None:
    """MB of the newest one that buildah knows; None where there is none."""
    if shutil.which("buildah") is None:
        return None
    told = subprocess.run(["buildah", "images", "--json"], capture_output=True, text=True, check=False)
    images = json.loads(told.stdout or "[]") if told.returncode == 0 else []
    ours = [image for image in images or [] if any(name.startswith(repository + ":") for name in image.get("names") or ())]
    if not ours:
        return None
    size = str(max(ours, key=lambda image: image["createdatraw"])["size"]).split()
    return float(size[0]) * {"KB": 0.001, "MB": 1.0, "GB": 1000.0}[size[1]]
