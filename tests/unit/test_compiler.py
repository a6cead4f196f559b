"""What is told of compiling before anything is tried."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dragoman import manifest
from dragoman.compiler import Compiler
from dragoman.manifest import ModelDeployment
from dragoman.messages import Load, Message
from dragoman.settings import Settings
from dragoman.status import ModelStatus


def deployment(*, auto: bool) -> ModelDeployment:
    plain = manifest.from_uri("./model.joblib", "iris")
    serving = msgspec.structs.replace(plain.spec.serving, compile="Auto" if auto else "Off")
    return msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, serving=serving))


def served(tmp_path: Path, *, auto: bool, cache_size: int | None = None, format_name: str = "sklearn") -> ModelStatus:
    """The status of a model that is served, of which nothing may be asked of the loader."""

    def tell(message: Message) -> None:
        raise AssertionError(message)

    model = ModelStatus(name="iris", uri="./model.joblib")
    settings = Settings(cache_size=cache_size, cache_dir=str(tmp_path))
    compiler = Compiler(
        {"iris": model}, {"iris": deployment(auto=auto)}, settings, tmp_path, tell_loader=tell, start=lambda work: work.close()
    )
    compiler.begin("iris", Load(model="iris", path="x", name="x", digest="sha256:1"), format_name)
    return model


def test_off_is_off(tmp_path: Path) -> None:
    assert served(tmp_path, auto=False).compiled.state == "Off"


def test_models_on_demand_are_not_compiled(tmp_path: Path) -> None:
    found = served(tmp_path, auto=True, cache_size=2).compiled
    assert (found.state, found.reason) == ("LeftOut", "models that are brought into memory when a request comes are not compiled")


@pytest.mark.parametrize("format_name", ["python", "onnx", "compiled"])
def test_what_cannot_gain_is_not_tried(tmp_path: Path, format_name: str) -> None:
    found = served(tmp_path, auto=True, format_name=format_name).compiled
    assert found.state == "LeftOut"
    assert found.reason


def test_others_wait_their_turn(tmp_path: Path) -> None:
    assert served(tmp_path, auto=True).compiled.state == "Waiting"
