"""What all tests share. It stands here, and not in tests/, because pytest takes plugins only from the topmost conftest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Property tests try the same examples in every run, however slow the machine is; `pytest --hypothesis-profile explore` tries others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("same")

pytest_plugins = ["tests.servers.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files, to be read in the diff")


class Golden:
    """Rendered text beside a file that a person has read."""

    def __init__(self, folder: Path, update: bool) -> None:
        self._folder, self._update = folder, update

    def check(self, name: str, text: str) -> None:
        file = self._folder / name
        if self._update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{file} differs; if that is meant: pytest --update-golden, and read the diff"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The folder `golden` beside the test's file."""
    return Golden(request.path.parent / "golden", request.config.getoption("--update-golden"))
