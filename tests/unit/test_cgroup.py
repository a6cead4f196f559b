"""What the kernel's files say of a container's memory, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman import cgroup

V2 = {"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 500\ninactive_file 50\n"}
V1 = {
    "memory/memory.limit_in_bytes": "1000\n",
    "memory/memory.usage_in_bytes": "700\n",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
}


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (V2, 350),
        (V1, 350),
        (V2 | {"memory.max": "max\n"}, None),
        (V1 | {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        (V2 | {"memory.max": "600\n"}, 0),
        ({"memory.max": "1000\n", "memory.current": "700\n"}, 300),
        ({}, None),
    ],
)
def test_the_memory_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], left: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path)
    monkeypatch.setattr(cgroup, "_folder", lambda controller: tmp_path / controller)
    assert cgroup.memory_left() == left
