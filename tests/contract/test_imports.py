"""What a worker does not import: memory and start-up that nobody asked for."""

from __future__ import annotations

from pathlib import Path

from tests.support.serving import manifest, serving

MODELS = Path(__file__).parents[1] / "models"
HEAVY = {"pandas", "scipy", "sklearn", "pyarrow", "onnxruntime", "grpc", "starlette", "threadpoolctl"}


def test_a_worker_imports_what_it_serves_with_and_no_more(tmp_path: Path) -> None:
    target = manifest(tmp_path, "imported", MODELS / "imported.py", serving={"dialects": {"v1": {}}})
    with serving(tmp_path, target) as server:
        packages = set(server.predict("imported", [[1.0]]).json()["predictions"][0].split())
    assert {"dragoman", "numpy", "httptools"} <= packages
    assert "h11" not in packages, "uvicorn's slower protocol has come back: http_protocol.Protocol is to be named in server.py"
    assert not packages & HEAVY, "neither v1 nor this model needs these"
